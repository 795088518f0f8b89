"""The budget of a compression: the one limit that the result must keep to."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

_FIELDS = {"quality": "loss", "size": "size_ratio", "speed": "speedup"}
"""Keys of a budget that names the quantity it limits."""


class StrictModel(BaseModel):
    """A value read from or written to disk: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Budget(StrictModel):
    """The one limit that the compressed model must keep to; by default that of its kind.

    It is also read as `{"limit": "quality" | "size" | "speed", "value": ...}`, whatever the kind.
    """

    perplexity_rise: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="largest allowed relative rise in perplexity",
        examples=[0.05],
    )
    f1_fall: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="largest allowed fall in F1, in points out of 100",
        examples=[1.0],
    )
    output_change: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="for a graph: largest allowed loss in `Recipe.metric`",
        examples=[0.02],
    )
    loss: float | None = Field(
        default=None,
        ge=0,
        le=100,
        exclude_if=lambda value: value is None,  # a request without it has the id it always had
        description="for any kind of model: largest allowed loss in its own metric",
        examples=[0.02],
    )
    size_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="parameters of the compressed model / of the original",
        examples=[0.4],
    )
    speedup: float | None = Field(
        default=None,
        gt=1,
        le=1000,
        description="original / compressed latency, both float32, one thread",
        examples=[3.0],
    )
    confident: bool | None = Field(
        default=None,
        description="for a budget on quality: whether the upper end of the loss's 95 % "
        "interval must stay within it; null: yes where the sample is small",
        examples=[True],
    )

    @model_validator(mode="before")
    @classmethod
    def _read_pair(cls, given: Any) -> Any:
        """Converts a limit given by its quantity to the field of that quantity."""
        if not isinstance(given, dict) or given.get("limit") not in _FIELDS or "value" not in given:
            return given
        rest = {name: value for name, value in given.items() if name not in ("limit", "value")}
        return {_FIELDS[given["limit"]]: given["value"], **rest}

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        found: dict[str, float] = self.model_dump(exclude_none=True, exclude={"confident"})
        return found

    @property
    def quality(self) -> float | None:
        """The largest allowed loss, in the task's metric; None for a budget of size or speed."""
        return next(
            (value for name, value in self.limits.items() if name not in ("size_ratio", "speedup")),
            None,
        )
