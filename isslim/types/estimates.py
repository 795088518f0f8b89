"""The interval of a loss of quality, and the two constants for comparing a loss with a budget."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from isslim.types.recipe import StrictModel

ENOUGH = 1000
"""A sample of fewer has to keep to a budget by the upper end of its interval, unless the budget
says otherwise."""
SLACK = 1e-9
"""Of a comparison with a budget: 1 - 98 / 100 is above 0.02, by a rounding."""


class Estimate(StrictModel):
    """The uncertainty of a loss of quality: its 95 % interval, and the sample behind it."""

    low: float = Field(description="lower end of the loss's 95 % interval", examples=[0.031])
    high: float = Field(description="upper end of it", examples=[0.057])
    count: int = Field(description="size of the sample", ge=0, examples=[10000])
    unit: Literal["tokens", "questions", "decisions", "rows", "sequences"] = Field(
        description="what was counted", examples=["tokens"]
    )
    method: Literal["wilson", "block bootstrap"] = Field(
        description="of the interval", examples=["block bootstrap"]
    )


def counted(estimate: Estimate) -> str:
    """The size of a sample, such as `82,430 tokens`."""
    unit = estimate.unit.removesuffix("s") if estimate.count == 1 else estimate.unit
    return f"{estimate.count:,} {unit}"
