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
        media_type: of the body.
        schema: of the body.
        of: the answer to a request that was refused.
    """

    media_type: str
    schema: type[BaseModel]
    of: Callable[[ProblemDocument], ShapedError]


PROBLEM = ErrorShape(
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


SHAPES: tuple[tuple[str, ErrorShape], ...] = (
    ("/v2", ErrorShape("application/json", InferenceError, _inference_error)),
)
"""Regular expressions of whole beginnings of paths, and the shape of errors there."""


def shape_of(path: str) -> ErrorShape:
    """The shape of errors at a path, or at the template of a route: a problem unless it is listed.

    `/v2` is the beginning of `/v2` and `/v2/models`, not of `/v2x`.
    """
    return next((shape for begin, shape in SHAPES if re.match(f"{begin}(/|$)", path)), PROBLEM)
