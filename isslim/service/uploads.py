"""What comes in: files taken into the store and forgotten when nothing came of them, forms, texts of a bearable length."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, File, Form, Request, UploadFile
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from isslim.service.context import AppContext
from isslim.service.problems import RequestError
from isslim.service.settings import ServiceSettings
from isslim.types.jobs import UploadRef
from isslim.types.recipe import Recipe

CHUNK_BYTES = 1 << 20
Queued = TypeVar("Queued")
Value = TypeVar("Value")
RECIPE = TypeAdapter(Recipe)
_Optional = UploadFile | None


async def _sent(
    model: Annotated[
        UploadFile,
        File(
            description="safetensors, a PyTorch checkpoint of weights, or an ONNX graph",
            examples=["model.pt"],
        ),
    ],
    model_data: Annotated[
        _Optional,
        File(
            description="the data file of an ONNX graph that was saved as two, as torch's exporter does",
            examples=["model.onnx.data"],
        ),
    ] = None,
    config: Annotated[
        _Optional, File(description="optional JSON beside the weights", examples=["config.json"])
    ] = None,
    vocabulary: Annotated[
        _Optional,
        File(description="words or characters by id, or tokenizer.json", examples=["words.txt"]),
    ] = None,
    vectors: Annotated[
        _Optional,
        File(
            description="word vectors of a question-answering model (npy)", examples=["vectors.npy"]
        ),
    ] = None,
    characters: Annotated[
        _Optional,
        File(description="characters of a question-answering model", examples=["characters.txt"]),
    ] = None,
    train: Annotated[
        _Optional,
        File(description="text or questions to learn and fine-tune on", examples=["train.txt"]),
    ] = None,
    calibration: Annotated[
        _Optional,
        File(
            description="text or questions to observe; also trained on where no `train` is sent",
            examples=["calibration.txt"],
        ),
    ] = None,
    held_out: Annotated[
        _Optional, File(description="text or questions to judge on", examples=["valid.txt"])
    ] = None,
    check: Annotated[
        _Optional,
        File(
            description="text that the perplexity in `check` of the options is of; not sent: it is of `held_out`",
            examples=["test.txt"],
        ),
    ] = None,
    check_graph: Annotated[
        _Optional,
        File(
            description="ONNX export of the same language model: the checkpoint is refused where it is read as another one",
            examples=["export.onnx"],
        ),
    ] = None,
    check_graph_data: Annotated[
        _Optional,
        File(
            description="the data file of a `check_graph` saved as two",
            examples=["export.onnx.data"],
        ),
    ] = None,
) -> dict[str, UploadFile | None]:
    return {
        "model": model, "model_data": model_data, "config": config, "vocabulary": vocabulary, "vectors": vectors,
        "characters": characters, "train": train, "calibration": calibration, "held_out": held_out,
        "check": check, "check_graph": check_graph, "check_graph_data": check_graph_data,
    }  # fmt: skip


Files = Annotated[dict[str, UploadFile | None], Depends(_sent)]
"""The files of a request that uploads, by field of `isslim.types.jobs.CompressionRequest`; None:
not sent."""
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
        files: by field of `isslim.types.jobs.CompressionRequest`; None: not sent.
        queue: called in a thread with a reference for each file sent.

    Ensures:
        When anything fails - a refusal, a database, a sender who left - the files are removed,
        unless a job needs them.
    """
    taken: dict[str, UploadRef] = {}
    queued = False
    try:
        for name, file in files.items():
            if file is not None:
                taken[name] = await context.uploads.save(_chunks(file), file.filename or "upload")
        result = await run_in_threadpool(queue, taken)
        queued = True
    finally:
        if not queued and taken:
            await run_in_threadpool(_forget, context, {upload.sha256 for upload in taken.values()})
    return result


async def refuse_unknown(request: Request, known: set[str]) -> None:
    """A misspelt field would be ignored by the framework, and a text of the sender's with it.

    Raises:
        RequestError: naming the fields that are not known, and those that are.
    """
    unknown = sorted(set(await request.form()) - known)
    if unknown:
        issues = [{"pointer": f"/{name}", "detail": "there is no such field"} for name in unknown]
        raise RequestError(
            "invalid-request",
            f"unknown fields: {', '.join(unknown)}; there are: {', '.join(sorted(known))}",
            issues,
        )


def refuse_long(texts: Sequence[str], settings: ServiceSettings) -> None:
    """Refuses texts that it would take too much memory to split.

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

    Raises:
        RequestError: with every issue, each with a JSON pointer below the field's name.
    """
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise refusal(field, error) from error


def refusal(field: str, error: ValidationError) -> RequestError:
    """What was wrong with a field."""
    issues: list[dict[str, Any]] = [
        {"pointer": f"/{field}/" + "/".join(map(str, each["loc"])), "detail": each["msg"]}
        for each in error.errors()
    ]
    return RequestError(
        "invalid-request", f"{field}: {issues[0]['pointer']}: {issues[0]['detail']}", issues
    )


def one_budget(field: str, recipe: Recipe) -> Recipe:
    """The recipe, if its budget names at most one limit.

    Raises:
        RequestError: when it names several.
    """
    limits = recipe.budget.limits
    if len(limits) > 1:
        raise RequestError(
            "invalid-request",
            f"{field}: the budget names {len(limits)} limits ({', '.join(limits)}); name one",
        )
    return recipe


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk


def _forget(context: AppContext, hashes: set[str]) -> None:
    for sha256 in hashes - context.queue.needed_uploads():
        context.uploads.delete(sha256)
