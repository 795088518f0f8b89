"""`report.json` of a bundle: what was tried, what came of it, and samples of what the variants answer."""

from __future__ import annotations

from pydantic import Field

from store.inspection import Inspection
from store.manifest import CurvePoint, EpochPoint, VariantName
from store.recipe import Frozen


class SampleAnswer(Frozen):
    """What a variant answers to a sample, through the code that the service answers with."""

    variant: VariantName = Field(description="which one", examples=["compressed-int8"])
    text: str = Field(description="the answer: `context[start:end]`", examples=["The cat"])
    score: float = Field(description="its probability, 0 to 1", examples=[0.83])
    start: int = Field(description="its first character's position in the context, in code points", examples=[0])
    end: int = Field(description="the position behind its last character", examples=[7])


class Sample(Frozen):
    """Something held out that was asked, and what variants answer."""

    asked: str = Field(description="the question", examples=["Who sat?"])
    context: str = Field(description="what it is about, whole", examples=["The cat sat on the mat. It purred."])
    golden: list[str] = Field(description="right answers; empty where none was sent", examples=[["The cat"]])
    golden_span: tuple[int, int] | None = Field(
        default=None,
        description="where a right answer stands in the context, as `start` and `end` of an answer; null: not known",
        examples=[(0, 7)],
    )
    answers: list[SampleAnswer] = Field(description="the original's first, then that of the best compressed variant")


class Report(Frozen):
    """The trade-off curve, what was left out and samples, for the card and the reader's questions."""

    inspection: Inspection | None = Field(
        default=None, description="what was understood of the upload; null: in bundles of earlier releases"
    )
    curve: list[CurvePoint] = Field(description="what was tried, from the least removed to the most")
    original_value: float = Field(description="of the original, by the same quick estimate", examples=[31.9])
    epochs: list[EpochPoint] = Field(default=[], description="of `learn`")
    verdict: str = Field(
        description="what was gained, or why it is not worth it: sentences on speed, size and quality",
        examples=["compressed-int8 is 4.1x as fast"],
    )
    samples: list[Sample] = Field(
        default=[],
        description="spread over the held-out data; empty where a model answers nothing that a person could read",
    )
    notes: list[str] = Field(default=[], description="what could not shrink, and why", examples=[[]])
    left_out: list[str] = Field(default=[], description="variants not published and why", examples=[[]])
