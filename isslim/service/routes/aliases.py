"""`/aliases`: names that point at a variant of a model, and are moved by promotion alone."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from isslim.runtime.errors import UnknownVariant
from isslim.service.access.caller import Caller, caller_of
from isslim.service.bodies import ROOM, BodyLimits, json_content
from isslim.service.context import AppContext, Context, context_of
from isslim.service.openapi import body_of
from isslim.service.ownership import Asking, admit_alias, keep_alias, require_alias
from isslim.service.problems import RequestError
from isslim.service.request_id import request_id
from isslim.service.routing import checked_router
from isslim.service.serving.trial_report import COMPARED
from isslim.store.aliases import Author
from isslim.store.errors import ModelGone
from isslim.types.manifest import Manifest, VariantName
from isslim.types.names import ALIAS, NAME, is_model_id
from isslim.types.schemas.aliases import (
    Alias,
    AliasDetail,
    AliasRequest,
    AliasState,
    CanaryRequest,
    Candidate,
    Note,
    ShadowRequest,
)
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.trials import TrialReport

router = checked_router("/aliases", tag="aliases")
AliasName = Annotated[
    str,
    Path(
        description="name of an alias",
        examples=["prod"],
        # Checked by `_put`, which says more than the framework would: here for the document alone.
        json_schema_extra={"pattern": ALIAS},
    ),
]
QueryNote = Annotated[Note, Query(description="for the audit trail", examples=["too slow"])]
MISSING: dict[int | str, dict[str, Any]] = {404: {"model": ProblemDocument}}


@router.get("", summary="All aliases")
def list_aliases(context: Context) -> list[Alias]:
    """Every alias with what it points at, by name."""
    return context.models.aliases.all()


@router.put(
    "/{alias}",
    response_model=Alias,
    summary="Point an alias at a model",
    responses={
        status: {"model": ProblemDocument} for status in (400, 403, 404, 409, 413, 415, 422, 503)
    },
    openapi_extra=body_of(AliasRequest),
)
async def put_alias(alias: AliasName, http: Request) -> Alias:
    """Makes the alias, or promotes the model to it; requests follow within a second.

    Shadow and canary are replaced too: those that are not named end.
    """
    context, content = context_of(http), await json_content(http)
    request = await context.bodies.read(content, AliasRequest, BodyLimits(ROOM, {}))
    author = _author(http, request.note)
    return await run_in_threadpool(_put, context, caller_of(http), alias, request, author)


@router.get("/{alias}", summary="An alias and its history", responses=MISSING)
def get_alias(alias: AliasName, context: Context, caller: Asking) -> AliasDetail:
    """What it points at, and the trail of its changes; addresses in it are for its owner alone."""
    found, owner = context.models.aliases.get(alias), context.owners.owner_of("alias", alias)
    history = context.models.aliases.history(alias)
    if not caller.owns(owner):
        history = [each.model_copy(update={"remote": ""}) for each in history]
    return AliasDetail(**dict(found), history=history, owner=owner)


@router.get("/{alias}/shadow", summary="What a shadow or canary has shown", responses=MISSING)
async def get_trials(alias: AliasName, context: Context) -> TrialReport:
    """Counts, means and 95 % intervals over all processes since the alias was last changed."""
    return await context.trials.report(await run_in_threadpool(context.models.aliases.get, alias))


@router.post(
    "/{alias}/rollback",
    summary="Undo the last promotion",
    responses={status: {"model": ProblemDocument} for status in (404, 409)},
)
def roll_back(
    alias: AliasName, request: Request, context: Context, caller: Asking, note: QueryNote = ""
) -> Alias:
    """Ends the canary where there is one; otherwise the alias points at what it did before.

    Asked again, it goes back further, over models that were deleted since.
    """
    require_alias(context, caller, alias)
    author, models = _author(request, note), context.models
    found = models.aliases.roll_back(alias, author, models.bundles.exists)
    models.forget_meanings()
    return found


@router.delete("/{alias}", status_code=204, summary="Delete an alias", responses=MISSING)
def delete_alias(
    alias: AliasName, request: Request, context: Context, caller: Asking, note: QueryNote = ""
) -> Response:
    """Its trail stays: an alias that is made again under the name continues it."""
    require_alias(context, caller, alias)
    context.models.aliases.delete(alias, _author(request, note))
    context.models.forget_meanings()
    return Response(status_code=204)


def _author(request: Request, note: str) -> Author:
    return Author(request_id() or "", request.client.host if request.client else "", note)


def _put(
    context: AppContext, caller: Caller, alias: str, request: AliasRequest, author: Author
) -> Alias:
    if re.fullmatch(NAME, alias) is None or is_model_id(alias):
        raise _invalid(
            "path/alias",
            f"'{alias}' cannot be an alias: use at most 64 letters, digits, dots, underscores and "
            "hyphens, the first a letter or digit, and not the form of a model's id",
        )
    model_id, manifest, variant = _meant(context, request.model, request.variant)
    shadow = _candidate(context, "shadow", request.shadow, (model_id, manifest))
    canary = _candidate(context, "canary", request.canary, (model_id, manifest))
    if variant is None and (shadow is not None or canary is not None):
        variant = manifest.variants[-1].name
    state = AliasState(
        model=model_id, variant=variant, note=request.note, shadow=shadow, canary=canary
    )
    for role, candidate in (("shadow", shadow), ("canary", canary)):
        if candidate is not None and candidate.target == state.target:
            raise _invalid(f"body/{role}", f"it is {state.target}, as what it is to be tried for")
    if shadow is not None and canary is not None and shadow.target == canary.target:
        raise _invalid(
            "body/shadow", f"it is {shadow.target}, as the canary, which is compared too"
        )
    admit_alias(context, caller, alias)
    found = context.models.aliases.point(alias, state, author)
    keep_alias(context, caller, alias)
    context.models.forget_meanings()
    return found


def _candidate(
    context: AppContext,
    role: str,
    request: ShadowRequest | CanaryRequest | None,
    own: tuple[str, Manifest],
) -> Candidate | None:
    """A shadow or canary, checked.

    Args:
        context: of the app.
        role: its field.
        request: what is asked for; None: none.
        own: id and manifest of the alias's model.
    """
    if request is None:
        return None
    model_id, manifest, variant = _meant(context, request.model or own[0], request.variant)
    if manifest.task != own[1].task:
        raise _invalid(
            f"body/{role}/model",
            f"'{manifest.name}' is of the kind {manifest.task}, and the alias's model of the kind "
            f"{own[1].task}: they cannot take the same requests",
        )
    if request.rule is not None and manifest.task not in COMPARED:
        raise _invalid(
            f"body/{role}/rule",
            f"answers of the kind {manifest.task} are not compared, only those of "
            f"{' and '.join(COMPARED)}: leave the rule out",
        )
    tried = variant or manifest.variants[-1].name
    return Candidate(model=model_id, variant=tried, share=request.share, rule=request.rule)


def _meant(
    context: AppContext, name: str, variant: VariantName | None
) -> tuple[str, Manifest, VariantName | None]:
    """Id, manifest and variant of what is to be promoted; of an alias what it points at.

    Args:
        context: of the app.
        name: id, alias or name of a model.
        variant: that is asked for.

    Raises:
        UnknownVariant: when the model has no such variant.
        ModelGone: when an alias points at one that was deleted.
    """
    meaning = context.models.meaning(name)
    if isinstance(meaning, Alias):
        if not context.models.bundles.exists(meaning.model):
            raise ModelGone(meaning.alias, meaning.model)
        name, variant = meaning.model, variant or meaning.variant
    model_id, manifest = context.models.manifest(name)
    if variant is not None and manifest.variant(variant) is None:
        raise UnknownVariant(variant, [each.name for each in manifest.variants])
    return model_id, manifest, variant


def _invalid(pointer: str, detail: str) -> RequestError:
    return RequestError("invalid-request", detail, [{"pointer": f"/{pointer}", "detail": detail}])
