"""`report.json` of a bundle: the candidates tried, the verdict, and samples of answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from isslim.types.inspection import Inspection
from isslim.types.manifest import CurvePoint, EpochPoint, VariantName
from isslim.types.recipe import Optimize, StrictModel
from isslim.types.same_form import SameForm


class SampleAnswer(StrictModel):
    """A variant's answer to a sample, through the code that serves answers."""

    variant: VariantName = Field(description="which one", examples=["compressed-int8"])
    text: str = Field(description="the answer: `context[start:end]`", examples=["The cat"])
    score: float = Field(description="its probability, 0 to 1", examples=[0.83])
    start: int = Field(
        description="its first character's position in the context, in code points", examples=[0]
    )
    end: int = Field(description="the position after its last character", examples=[7])


class Sample(StrictModel):
    """A held-out question and the variants' answers to it."""

    asked: str = Field(description="the question", examples=["Who sat?"])
    context: str = Field(
        description="the whole context", examples=["The cat sat on the mat. It purred."]
    )
    golden: list[str] = Field(
        description="correct answers; empty where none was sent", examples=[["The cat"]]
    )
    golden_span: tuple[int, int] | None = Field(
        default=None,
        description="position of a correct answer in the context, as `start` and `end` of an "
        "answer; null: not known",
        examples=[(0, 7)],
    )
    answers: list[SampleAnswer] = Field(
        description="answer of the original, then that of the best compressed variant"
    )


class Conclusions(StrictModel):
    """Whether the result is worth using, and a sentence each on speed, size and quality."""

    variant: VariantName | None = Field(
        default=None,
        description="the recommended variant; null: none is within the budget",
        examples=["compressed"],
    )
    worth: bool = Field(
        description="whether it gains a tenth or more in speed or size over the original, and "
        "over int8 alone where that is within the budget",
        examples=[True],
    )
    rival: VariantName | None = Field(
        default=None,
        description="what it has to gain over beside the original: `original-int8`, int8 alone; "
        "`original` where int8 alone breaks the budget, is slower, or cannot be made; null: not "
        "recorded",
        examples=["original-int8"],
    )
    faster: bool | None = Field(
        default=None,
        description="significantly faster than both; null: not measured steadily",
        examples=[True],
    )
    smaller: bool = Field(
        default=False, description="a tenth or more smaller than both", examples=[True]
    )
    advice: str = Field(
        description="whether to use it",
        examples=["Worth pruning for size, not for speed: it is not much faster."],
    )
    speed: str = Field(
        default="",
        description="against int8 alone and the original, at the primary latency",
        examples=[
            "compressed-int8 is 1.60x (1.55 to 1.66) as fast as int8 alone and is 4.3x (4.2 to "
            "4.4) as fast as the original, for one text of 30 tokens on one thread."
        ],
    )
    further: list[str] = Field(
        default=[],
        description="the same at every other latency that was measured",
        examples=[
            [
                "For one text of 1 token it is 1.80x (1.71 to 1.90) as fast as int8 alone and is "
                "3.9x (3.8 to 4.0) as fast as the original."
            ]
        ],
    )
    size: str = Field(
        default="",
        description="against the original and int8 alone",
        examples=[
            "Its file is 0.8 MB: 12.7x smaller than the original, 3.1x smaller than int8 alone."
        ],
    )
    quality: str = Field(
        default="",
        description="on data that nothing was fitted to, with the size of the sample",
        examples=[
            "Perplexity rises by 4.40% (95 %: +3.90% to +4.90%, 10,000 tokens that nothing was "
            "fitted to)."
        ],
    )
    sizes: str = Field(
        default="",
        description="how the sizes were chosen; empty: by the closed form's own costs",
        examples=[
            "Sizes chosen by the time of one text of 30 tokens in int8, measured where the model "
            "was compressed."
        ],
    )
    instead: list[str] = Field(
        default=[],
        description="where it is not worth it: what would be, by what was measured",
        examples=[
            [
                "Int8 alone is 2.70x (2.65 to 2.75) as fast as the original, with nothing removed: "
                "take original-int8."
            ]
        ],
    )
    reservations: list[str] = Field(
        default=[],
        description="what the figures do not show, the most serious first",
        examples=[["Calibrated, evaluated and timed on random inputs."]],
    )

    @property
    def lines(self) -> list[str]:
        """Every sentence after the advice, in the order in which they are read."""
        found = [self.speed, *self.further, self.size, self.quality, self.sizes]
        return [each for each in (*found, *self.instead, *self.reservations) if each]

    @property
    def text(self) -> str:
        """All sentences as one text."""
        return " ".join((self.advice, *self.lines))


class AxisProbe(StrictModel):
    """What one axis loses when it alone is cut to a size."""

    axis: str = Field(description="which one", examples=["units:lstm0"])
    size: int = Field(description="components left", examples=[154])
    loss: float = Field(
        description="nats above the original's log-loss, or of an ONNX graph the squared relative "
        "change of its outputs; repaired in closed form",
        examples=[0.012],
    )


class AllocationRecord(StrictModel):
    """How the sizes of the axes were chosen: by losses and savings measured one axis at a time."""

    optimize: Optimize = Field(
        description="what the sizes were chosen for, as in the recipe", examples=["sentence"]
    )
    basis: Literal["time", "multiply-adds", "parameters"] = Field(
        description="what stood for it: time measured on the host, or a count", examples=["time"]
    )
    reason: str = Field(
        description="the basis in words, and why it is not time where that was asked for",
        examples=[
            "sizes chosen by the time of one text of 30 tokens in int8, measured where the model "
            "was compressed"
        ],
    )
    probes: list[AxisProbe] = Field(description="what was measured, axis by axis")


class Report(StrictModel):
    """The trade-off curve, what was left out, and samples, for the card and its readers."""

    inspection: Inspection | None = Field(
        default=None,
        description="what was understood of the upload; null: in bundles of earlier releases",
    )
    curve: list[CurvePoint] = Field(
        description="what was tried, from the least removed to the most"
    )
    original_value: float = Field(
        description="the original's value, by the same quick estimate", examples=[31.9]
    )
    epochs: list[EpochPoint] = Field(default=[], description="the epochs of `learn`")
    verdict: str = Field(
        description="what was gained, or why it is not worth it: the sentences of `conclusions`",
        examples=[
            "compressed-int8 is 1.60x (1.55 to 1.66) as fast as int8 alone and is 4.3x (4.2 to "
            "4.4) as fast as the original, for one text of 30 tokens on one thread."
        ],
    )
    conclusions: Conclusions | None = Field(
        default=None,
        description="the verdict in its parts; null: in a bundle made before there were any",
    )
    same_form: SameForm | None = Field(
        default=None,
        description="the state dict in the form of the upload, and the code that builds its "
        "module; null: there is none",
    )
    samples: list[Sample] = Field(
        default=[],
        description="samples spread over the held-out data; empty where a model gives no "
        "answers that a person could read",
    )
    allocation: AllocationRecord | None = Field(
        default=None,
        description="how the sizes were chosen; null: by the closed form's own costs",
    )
    notes: list[str] = Field(
        default=[], description="what could not shrink, and why", examples=[[]]
    )
    left_out: list[str] = Field(
        default=[], description="variants not published and why", examples=[[]]
    )
    cautions: list[str] = Field(
        default=[],
        description="where there are too few rows of calibration data, what replaces the removed "
        "components, and whether narrow layers were multiplied out",
        examples=[["only 400 rows of calibration data for the 385 inputs of `gru.forward`"]],
    )
