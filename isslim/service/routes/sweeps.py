"""`/sweeps`: one upload under several recipes, and the Pareto front of all their curves."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import TypeAdapter, ValidationError

from isslim.service import uploads as intake
from isslim.service.access.caller import caller_of
from isslim.service.context import Context
from isslim.service.ownership import Asking, admit_jobs, require_owner, sweep_of
from isslim.service.parameters import SweepId
from isslim.service.problems import RequestError
from isslim.service.routing import checked_router
from isslim.settings.service import ServiceSettings
from isslim.store.sweeps import MAX_VARIATIONS
from isslim.types.jobs import CompressionRequest, Sweep, UploadRef
from isslim.types.recipe import Recipe
from isslim.types.schemas.problems import ProblemDocument

router = checked_router("/sweeps", tag="sweeps")
VARIATIONS = TypeAdapter(list[dict[str, Any]])


@router.post(
    "",
    status_code=202,
    summary="Compress an uploaded model under several recipes",
    responses={
        status: {"model": ProblemDocument} for status in (400, 403, 413, 415, 422, 429, 503, 507)
    },
)
async def begin_sweep(
    context: Context,
    request: Request,
    response: Response,
    files: intake.Files,
    variations: Annotated[
        str,
        Form(
            description="a JSON list; each entry's fields replace those of `options`",
            examples=[
                '[{"budget": {"perplexity_rise": 0.02}}, {"budget": {"perplexity_rise": 0.1}}]'
            ],
        ),
    ],
    options: intake.Options = "{}",
) -> Sweep:
    """Queues a job for each variation and returns immediately.

    The same request again is the same sweep.
    """
    base = intake.read_form("options", options, intake.RECIPE)
    caller = caller_of(request)
    recipes = _recipes(
        base, intake.read_form("variations", variations, VARIATIONS), context.settings
    )

    def queue(uploads: dict[str, UploadRef]) -> Sweep:
        requests = [
            CompressionRequest.model_validate({**uploads, "recipe": recipe}) for recipe in recipes
        ]
        owner = admit_jobs(context, caller, requests)
        sweep = context.sweeps.begin(base.name, requests, owner)
        if owner is not None:
            context.owners.claim("sweep", sweep.id, owner)
        return sweep_of(context, caller, sweep)

    await intake.refuse_unknown(request, {*files, "options", "variations"})
    sweep = await intake.accept_job(context, files, queue)
    response.headers["location"] = f"/sweeps/{sweep.id}"
    return sweep


@router.get("", summary="All sweeps, newest first")
def list_sweeps(context: Context, caller: Asking) -> list[Sweep]:
    """All sweeps with their jobs and fronts; with a key, its own."""
    return [sweep_of(context, caller, each) for each in context.sweeps.all(caller.sees)]


@router.get("/{sweep_id}", summary="One sweep", responses={404: {"model": ProblemDocument}})
def get_sweep(sweep_id: SweepId, context: Context, caller: Asking) -> Sweep:
    """Its jobs, and the Pareto front of their results so far."""
    require_owner(context, caller, "sweep", sweep_id)
    return sweep_of(context, caller, context.sweeps.get(sweep_id))


@router.delete("/{sweep_id}", summary="Cancel a sweep", responses={404: {"model": ProblemDocument}})
def cancel_sweep(sweep_id: SweepId, context: Context, caller: Asking) -> Sweep:
    """Cancels its jobs that have not ended."""
    require_owner(context, caller, "sweep", sweep_id)
    return sweep_of(context, caller, context.sweeps.cancel(sweep_id))


def _recipes(
    base: Recipe, variations: list[dict[str, Any]], settings: ServiceSettings
) -> list[Recipe]:
    """A recipe for each variation, named after the base unless it names itself.

    Args:
        base: what the variations do not say.
        variations: fields of each.
        settings: of the service, with its limits.
    """
    if not 1 <= len(variations) <= MAX_VARIATIONS:
        raise RequestError(
            "invalid-request",
            f"variations: {len(variations)} of them; 1 to {MAX_VARIATIONS} make a sweep",
        )
    recipes = []
    for index, variation in enumerate(variations):
        field = f"variations/{index}"
        try:
            recipe = Recipe.model_validate(
                base.model_dump() | {"name": f"{base.name}-{index + 1}"} | variation
            )
        except ValidationError as error:
            raise intake.refusal(field, error) from error
        recipes.append(intake.accepted(field, recipe, settings))
    _check_promoted(recipes)
    return recipes


def _check_promoted(recipes: list[Recipe]) -> None:
    """Refuses an alias that several jobs would be promoted to: whichever ended last had it.

    Raises:
        RequestError: (invalid-request) with the alias.
    """
    counts = Counter(each.promote for each in recipes if each.promote is not None)
    for alias, count in counts.items():
        if count > 1:
            detail = (
                f"promote: {count} models of the sweep would be promoted to '{alias}', one after "
                f"the other: promote the best one when the sweep has ended (PUT /aliases/{alias}), "
                "or name an alias in a single variation"
            )
            raise RequestError(
                "invalid-request", detail, [{"pointer": "/options/promote", "detail": detail}]
            )
