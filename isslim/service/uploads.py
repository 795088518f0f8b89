"""Receives uploads: stores files, removes those of failed requests, checks forms and text sizes."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, File, Form, Request, UploadFile
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from isslim.service.context import AppContext
from isslim.service.problems import RequestError, issues_of
from isslim.service.whole_forms import refuse_cut_off
from isslim.settings.service import ServiceSettings
from isslim.store.uploads import Made
from isslim.types.jobs import UploadRef
from isslim.types.kinds.uploads import UPLOAD_FIELDS, UploadField
from isslim.types.recipe import Recipe

CHUNK_BYTES = 1 << 20
MAX_NAMED, MAX_DIGITS = 1000, 12
"""Names of outputs in a recipe, and characters of each and of a token; digits of a number."""
Queued = TypeVar("Queued")
Value = TypeVar("Value")
RECIPE = TypeAdapter(Recipe)


def _form_parameter(field: UploadField) -> inspect.Parameter:
    """A file of the form as a parameter of a dependency."""
    sent = UploadFile if field.required else UploadFile | None
    shown = File(description=field.description, examples=[field.example])
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.required else None,
        annotation=Annotated[sent, shown],
    )


async def _sent(**files: UploadFile | None) -> dict[str, UploadFile | None]:
    return files


# The framework reads parameters from the signature, which is made from the list of fields.
_sent.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_form_parameter(field) for field in UPLOAD_FIELDS.values()]
)
Files = Annotated[dict[str, UploadFile | None], Depends(_sent)]
"""The files of an upload, by field of `isslim.types.kinds.uploads`; None where not sent."""
Options = Annotated[
    str,
    Form(
        description="the recipe as JSON",
        examples=['{"name": "mine", "budget": {"perplexity_rise": 0.05}}'],
    ),
]


async def accept_job(
    context: AppContext,
    files: Mapping[str, UploadFile | None],
    queue: Callable[[dict[str, UploadRef]], Queued],
) -> Queued:
    """Streams the given files into the store and hands their references to `queue`.

    Args:
        context: the service's parts.
        files: by field of `isslim.types.jobs.CompressionRequest`; None where not sent.
        queue: called in a thread with a reference for each file sent.

    Ensures:
        On any failure - a refusal, the database, a disconnected sender - the files are removed
        that were not there before, unless another request has brought the same since.
    """
    taken: dict[str, UploadRef] = {}
    made: Made = {}
    queued = False
    try:
        for name, file in files.items():
            if file is not None:
                taken[name] = await context.uploads.save(
                    _chunks(file), file.filename or "upload", made=made
                )
        result = await run_in_threadpool(queue, taken)
        queued = True
    finally:
        if not queued and made:
            await run_in_threadpool(context.uploads.forget, made)
    return result


async def refuse_unknown(request: Request, known: set[str]) -> None:
    """Refuses unknown fields, and fields that are sent twice: the framework would ignore a file.

    Args:
        request: whose form is read.
        known: names of all fields.

    Raises:
        RequestError: naming the fields that are not known, and those that are; or when the form is
            cut off.
    """
    sent = Counter(name for name, _ in (await request.form()).multi_items())
    refuse_cut_off(request)
    issues = dict.fromkeys(sorted(sent.keys() - known), "there is no such field")
    issues |= {name: f"it is sent {n} times" for name, n in sorted(sent.items()) if n > 1}
    if issues:
        listed = ", ".join(f"{name} ({detail})" for name, detail in issues.items())
        raise RequestError(
            "invalid-request",
            f"fields of the form: {listed}; each may be sent once: {', '.join(sorted(known))}",
            [{"pointer": f"/{name}", "detail": detail} for name, detail in issues.items()],
        )


def refuse_long(texts: Sequence[str], settings: ServiceSettings) -> None:
    """Refuses texts that would take too much memory to split.

    Args:
        texts: of one request.
        settings: with the limit on their characters together.

    Raises:
        RequestError: when they are longer than the limit, together.
    """
    characters = sum(map(len, texts))
    if characters > settings.characters_limit:
        raise RequestError(
            "too-large",
            f"{characters:,} characters; at most {settings.characters_limit:,} in one request",
        )


def read_form(field: str, text: str, adapter: TypeAdapter[Value]) -> Value:
    """A form field that holds JSON.

    Args:
        field: its name, for the issues.
        text: its content.
        adapter: what it has to be.

    Raises:
        RequestError: with every issue, each with a JSON pointer below the field's name; or naming
            the keys that an object holds twice, of which the parser would drop one.
    """
    try:
        value = adapter.validate_json(text)
    except ValidationError as error:
        raise refusal(field, error) from error
    repeated: set[str] = set()

    def noted(pairs: list[tuple[str, Any]]) -> None:
        repeated.update(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)

    # As floats: Python refuses to read integers of thousands of digits.
    json.loads(text, object_pairs_hook=noted, parse_int=float)
    if repeated:
        named = ", ".join(map(repr, sorted(repeated)))
        raise RequestError("invalid-request", f"{field}: sent twice in one object: {named}")
    return value


def refusal(field: str, error: ValidationError) -> RequestError:
    """The refusal of a form field.

    Args:
        field: its name.
        error: every issue with it.
    """
    issues = issues_of(error, field)
    return RequestError(
        "invalid-request", f"{field}: {issues[0]['pointer']}: {issues[0]['detail']}", issues
    )


def accepted(field: str, recipe: Recipe, settings: ServiceSettings) -> Recipe:
    """The recipe, if its budget names at most one limit, and it asks for no more than it may.

    Args:
        field: the form field that it was sent in.
        recipe: as it was sent.
        settings: with the operator's limits on epochs and minutes.

    Raises:
        RequestError: when it names several limits, or more than lists of jobs can repeat;
            (recipe-too-long) when it asks for more.
    """
    limits = recipe.budget.limits
    if len(limits) > 1:
        raise RequestError(
            "invalid-request",
            f"{field}: the budget names {len(limits)} limits ({', '.join(limits)}); name one",
        )
    _refuse_too_long(field, recipe, settings)
    _refuse_too_large(field, recipe)
    return recipe


def _refuse_too_long(field: str, recipe: Recipe, settings: ServiceSettings) -> None:
    """Refuses what would occupy a worker for longer than its operator allows."""
    if recipe.mode == "learn":
        name, asked, most = "learn_epochs", recipe.learn_epochs, settings.epochs_limit
    else:  # without minutes the worker takes no more than it may
        name, asked, most = "minutes", recipe.minutes or 0.0, settings.minutes_limit
    if asked > most:
        detail = (
            f"{field}: `{name}` is {asked:g}, and in the mode `{recipe.mode}` at most {most:g} may "
            f"be asked for here: ask for {most:g} or fewer; the operator can raise "
            f"ISS_{name.removeprefix('learn_').upper()}_LIMIT"
        )
        raise RequestError(
            "recipe-too-long", detail, [{"pointer": f"/{field}/{name}", "detail": detail}]
        )


def _refuse_too_large(field: str, recipe: Recipe) -> None:
    """Refuses what would fill every answer that shows the recipe.

    The recipe's own schema allows it, since recipes of earlier releases are read by it.
    """
    sizes = {
        "outputs": (len(recipe.outputs), "names"),
        "start_token": (len(recipe.start_token or ""), "characters"),
        "published_tokens": (len(str(recipe.published_tokens or 0)), "digits"),
    } | {f"outputs/{n}": (len(name), "characters") for n, name in enumerate(recipe.outputs)}
    for name, (size, unit) in sizes.items():
        most = MAX_DIGITS if unit == "digits" else MAX_NAMED
        if size > most:
            detail = f"{field}: `{name}` has {size:,} {unit}, and at most {most:,} are taken"
            raise RequestError(
                "invalid-request", detail, [{"pointer": f"/{field}/{name}", "detail": detail}]
            )


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk
