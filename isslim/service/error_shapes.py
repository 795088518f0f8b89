"""The shape of an error, by the path that was asked: a problem document, or that of a protocol.

Whatever refuses a request describes it as a problem (`problems.py`); here it becomes what the
protocol's clients read: unknown paths, wrong methods and bodies that are too large included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from isslim.types.schemas.problems import ProblemDocument

GRPC = "open-inference-grpc"
"""The protocol of what comes over gRPC."""


@dataclass(frozen=True)
class ShapedError:
    """An error as it is answered.

    Attributes:
        status: of the response.
        body: sent as JSON.
        headers: in addition to those of every error.
    """

    status: int
    body: BaseModel
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorShape:
    """How a protocol tells its clients of errors.

    Attributes:
        protocol: its name, a label of metrics.
        media_type: of the body.
        schema: of the body.
        of: the answer to a request that was refused.
    """

    protocol: str
    media_type: str
    schema: type[BaseModel]
    of: Callable[[ProblemDocument], ShapedError]


PROBLEM = ErrorShape(
    "isslim",
    "application/problem+json",
    ProblemDocument,
    lambda problem: ShapedError(problem.status, problem),
)


class InferenceError(BaseModel):
    """An error of the Open Inference Protocol."""

    error: str = Field(
        description="what is wrong with this request", examples=["there is no model 'nope'"]
    )


def _inference_error(problem: ProblemDocument) -> ShapedError:
    """What is invalid is 400: the protocol has no 422."""
    status = 400 if problem.status == 422 else problem.status
    return ShapedError(status, InferenceError(error=problem.detail))


class CompletionFault(BaseModel):
    """What is wrong with a request."""

    message: str = Field(
        description="what was found, and what to do", examples=["there is no model 'nope'"]
    )
    type: str = Field(description="whose fault it is", examples=["invalid_request_error"])
    param: str | None = Field(description="the field", examples=["model"])
    code: str | None = Field(description="what it is, for programs", examples=["model_not_found"])


class CompletionError(BaseModel):
    """An error of the OpenAI API."""

    error: CompletionFault = Field(description="what is wrong")


_NO_MODEL = ("not-found", "unknown-variant", "wrong-task")
_IN_VAIN = ("corrupt-bundle", "unknown-kind", "deadline-exceeded", "out-of-space", "graph-refused")
"""Kinds of problems that another try does not solve; clients retry all of 409 and from 500 on."""
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def completion_error(problem: ProblemDocument) -> ShapedError:
    """An error as clients of the OpenAI API read it: 400 in place of 422, 500 in place of 409."""
    kind, status, code = problem.type, problem.status, _CODES.get(problem.status)
    pointer = str(problem.errors[0].get("pointer", "")) if problem.errors else ""
    param = pointer.removeprefix("/body/").partition("/")[0] if pointer[:6] == "/body/" else None
    if kind in _NO_MODEL:
        status, code, param = 404, "model_not_found", "model"
    elif kind == "too-large" and param is not None:
        status, code = 400, "context_length_exceeded"
    elif kind == "overloaded":
        code = "overloaded"
    status = {409: 500, 422: 400}.get(status, status)
    blame = "invalid_request_error" if status < 500 else "server_error"
    fault = CompletionFault(message=problem.detail, type=blame, param=param, code=code)
    headers = {"x-should-retry": "false"} if kind in _IN_VAIN else {}
    return ShapedError(status, CompletionError(error=fault), headers)


SHAPES: tuple[tuple[str, ErrorShape], ...] = (
    ("/v2", ErrorShape("open-inference", "application/json", InferenceError, _inference_error)),
    (
        "(/models/[^/]+)?/(v1|tokenize|detokenize|tokenizer_info)",
        ErrorShape("openai", "application/json", CompletionError, completion_error),
    ),
)
"""Regular expressions of whole beginnings of paths, and the shape of errors there."""


def shape_of(path: str) -> ErrorShape:
    """The shape of errors at a path, or at the template of a route: a problem unless it is listed.

    `/v2` is the beginning of `/v2` and `/v2/models`, not of `/v2x`.
    """
    return next((shape for begin, shape in SHAPES if re.match(f"{begin}(/|$)", path)), PROBLEM)


def protocol_of(path: str | None) -> str:
    """The protocol of a path; None: of a call over gRPC, which has none."""
    return GRPC if path is None else shape_of(path).protocol
