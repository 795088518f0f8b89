"""The form of every error: RFC 9457."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ProblemDocument(BaseModel):
    """The form of every error."""

    type: str = Field(description="stable slug of the kind of problem", examples=["not-found"])
    title: str = Field(
        description="the kind of problem in words", examples=["There is no such thing"]
    )
    status: int = Field(description="HTTP status", examples=[404])
    detail: str = Field(
        description="what is wrong with this request", examples=["there is no model 'nope'"]
    )
    errors: list[dict[str, Any]] = Field(
        default=[], description="every issue found", examples=[[{"detail": "..."}]]
    )
    request_id: str | None = Field(
        default=None,
        description="as the header `x-request-id`, and in the service's log",
        examples=["6f1f0c5b0c0d4a7f9c6f8f7f3d1b2a90"],
    )
