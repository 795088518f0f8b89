"""Bodies of `/models/{model}/run`: inputs and outputs of a graph by name, per variant."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from isslim.types.manifest import VariantName
from isslim.types.schemas.common import DEVICE, MAX_OUTPUTS, VARIANTS, PlainText, Variants

OUTPUTS = "which of the graph's outputs; empty: all"


class GraphRequest(BaseModel):
    """Inputs of one run, and the variants to run."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"inputs": {"x": [[3], [17]]}, "variants": ["original", "compressed-int8"]}
        },
    )

    inputs: dict[PlainText, Any] = Field(
        description="every input of the graph by its name: a number, or lists of numbers as deep "
        "as its "
        "shape",
        examples=[{"x": [[3], [17]]}],
    )
    variants: Variants = Field(
        default=[], description=VARIANTS, examples=[["original", "compressed-int8"]]
    )
    outputs: list[PlainText] = Field(
        default=[], max_length=MAX_OUTPUTS, description=OUTPUTS, examples=[["logits"]]
    )
    device: PlainText = Field(default="cpu", description=DEVICE, examples=["cpu"])


class RunTimes(BaseModel):
    """Milliseconds of each stage.

    `read` and `serialize` are in the Server-Timing header: all variants share them.
    """

    queue_ms: float = Field(description="waiting for its turns", examples=[0.02])
    run_ms: float = Field(description="running ONNX Runtime", examples=[1.3])


class VariantRun(BaseModel):
    """One run by one variant."""

    variant: VariantName = Field(description="name of the variant", examples=["compressed-int8"])
    outputs: dict[str, Any] = Field(
        description="nested lists by output; a number that is not finite is null",
        examples=[{"logits": [[0.1, 2.5]]}],
    )
    not_finite: dict[str, int] = Field(
        description="how many numbers of an output are null because they are not finite; only "
        "outputs that have any",
        examples=[{}],
    )
    change: dict[str, float | None] | None = Field(
        default=None,
        description="for each numeric output: root mean square of the difference from the "
        "first variant requested, relative to the standard deviation of the "
        "latter's output; null: the shapes differ, or only one is finite. Null "
        "for the first variant",
        examples=[{"logits": 0.013}],
    )
    speedup: float | None = Field(
        default=None,
        description="run time of the first variant requested / of this one, in this request alone",
        examples=[3.4],
    )
    timing: RunTimes = Field(description="times of this request")


class GraphResponse(BaseModel):
    """The runs, in the order of the variants requested."""

    model_id: str = Field(description="the bundle's id", examples=["5f0c1d2e3a4b5c6d"])
    model: str = Field(description="the model's name", examples=["tagger"])
    device: str = Field(description="the device on which it ran", examples=["cpu"])
    variants: list[VariantRun] = Field(description="in the order requested")
