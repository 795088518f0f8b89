"""What was understood of an upload: the answer of `POST /inspect`, and the first news of a job.

An upload that is refused is an answer too: `understood` is false, `problem` is the one that a job
would end with, and the other fields hold what was understood before it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from isslim.types.manifest import Architecture, Metric, Task, TextContract
from isslim.types.problem import Problem
from isslim.types.recipe import StrictModel


class LayerRecord(StrictModel):
    """Components of which some may be removed: the units of a layer, or an embedding's width."""

    name: str = Field(description="as the manifest's axes call it", examples=["units:lstm0"])
    size: int = Field(description="components in it", examples=[256])
    may_shrink: bool = Field(description="whether this recipe may remove some", examples=[True])


class RoundTrip(StrictModel):
    """Whether every token of the vocabulary, given as text, is read as its own id."""

    checked: int = Field(description="tokens that were tried", examples=[10000])
    failed: int = Field(description="of them, those that are read as something else", examples=[0])
    examples: list[str] = Field(default=[], description="a few of those", examples=[["'##ing'"]])


class TextRecord(StrictModel):
    """What one uploaded text is with the vocabulary."""

    field: str = Field(description="the form field that it was sent in", examples=["held_out"])
    tokens: int = Field(description="in the whole text", examples=[82430])
    unknown: int = Field(
        description="of them, those that the vocabulary does not have", examples=[0]
    )

    @property
    def unknown_share(self) -> float:
        """Unknown tokens of all."""
        return self.unknown / self.tokens if self.tokens else 0.0


class CheckResult(StrictModel):
    """One check of the sender's own that the model passed: what was compared and found."""

    name: str = Field(description="what was compared", examples=["perplexity of `held_out`"])
    expected: str = Field(description="as it was sent", examples=["83.80"])
    found: str = Field(description="of the model as it was read", examples=["83.79"])
    tolerance: str = Field(description="the largest difference that is allowed", examples=["1 %"])


class Inspection(StrictModel):
    """What was understood of an upload, before anything is compressed."""

    understood: bool = Field(description="false: a job would end with `problem`", examples=[True])
    kind: Task | None = Field(
        default=None,
        description="what the model does; null: not known",
        examples=["language-model"],
    )
    architecture: Architecture | None = Field(
        default=None,
        description="what the manifest would call it; null: not known",
        examples=["lstm-language-model"],
    )
    layout: str = Field(
        default="",
        description="how the upload was read, in a line",
        examples=["embedding / LSTM / linear: 2 LSTM layers"],
    )
    layers: list[LayerRecord] = Field(default=[], description="from the input to the output")
    parameters: int | None = Field(
        default=None, description="of the whole model; null: not known", examples=[4653200]
    )
    mult_adds: int | None = Field(
        default=None,
        description="multiply-adds of one token or step; null: not known",
        examples=[4640000],
    )
    dropped: list[str] = Field(
        default=[],
        description="what of the upload is not used, and why",
        examples=[["'criterion.weight': loss weights"]],
    )
    assumed: list[str] = Field(
        default=[],
        description="what the upload does not say and was taken for granted",
        examples=[["the layers run in the order of the file: rnn1, rnn2"]],
    )
    text: TextContract | None = Field(
        default=None,
        description="how texts become tokens; null: no language model, or no vocabulary that fits",
    )
    round_trip: RoundTrip | None = Field(
        default=None, description="of the vocabulary; null: not checked"
    )
    texts: list[TextRecord] = Field(default=[], description="the uploaded texts as tokens")
    left_alone: list[str] = Field(
        default=[],
        description="groups of units that cannot shrink, and why",
        examples=[["lstm_2 (64 units): its states are outputs of the graph"]],
    )
    metric: Metric | None = Field(
        default=None,
        description="what quality is judged by; null: not known",
        examples=["perplexity"],
    )
    observed_on: str = Field(
        default="",
        description="what a job will observe",
        examples=["uploaded text (10,000 tokens)"],
    )
    judged_on: str = Field(
        default="",
        description="what a job will judge on",
        examples=["uploaded text (82,430 tokens)"],
    )
    random_inputs: bool = Field(
        default=False,
        description="a job will observe and judge on inputs drawn at random, since none were sent",
        examples=[False],
    )
    not_judged: str | None = Field(
        default=None,
        description="why nothing will be judged, in a line; null: something will be",
        examples=["one recorded run was sent, and it is observed"],
    )
    checks: list[CheckResult] = Field(
        default=[], description="checks of the sender's own that the model passed"
    )
    warnings: list[str] = Field(
        default=[],
        description="what should be looked at before a job is begun",
        examples=[["12 % of the tokens of `held_out` are unknown"]],
    )
    problem: Problem | None = Field(
        default=None, description="why a job would fail; null: nothing is known that would"
    )


class PendingInspection(StrictModel):
    """An inspection that is not done yet: ask for it again under its id."""

    id: str = Field(
        description="made of the request: equal requests are one inspection",
        examples=["419642ce19b52b52119a"],
    )
    state: Literal["queued", "running"] = Field(description="where it stands", examples=["running"])
    created_at: datetime = Field(
        description="when it was asked for", examples=["2026-11-24T12:00:00Z"]
    )
