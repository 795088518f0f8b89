"""Why an upload was refused, or why a job ended without a model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """Why a job ended without a bundle, in words for the person who uploaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="stable slug", examples=["unknown-architecture"])
    title: str = Field(
        description="what happened, in words", examples=["The model is not understood"]
    )
    detail: str = Field(
        description="what was found, what was expected, what to do",
        examples=["there is no recurrent layer"],
    )
    issues: list[str] = Field(
        default=[], description="everything found", examples=[["conv.weight (2, 2, 2)"]]
    )
