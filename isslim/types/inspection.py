"""What was understood of an upload: the result of `POST /inspect` and of a job's first stage.

An upload that is refused is an answer too: `understood` is false, `problem` is the one that a job
would end with, and the other fields hold what was understood before it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, Field

from isslim.types.manifest import Architecture, Metric, Task, TextContract
from isslim.types.problem import Problem
from isslim.types.recipe import StrictModel


class LayerRecord(StrictModel):
    """A group of components that may be prunable: the units of a layer, or an embedding's width."""

    name: str = Field(description="name, as in the manifest's axes", examples=["units:lstm0"])
    size: int = Field(description="components in it", examples=[256])
    may_shrink: bool = Field(description="whether this recipe may remove some", examples=[True])


class RoundTrip(StrictModel):
    """Whether every token of the vocabulary, encoded as text, gets its own id back."""

    checked: int = Field(description="tokens that were tried", examples=[10000])
    failed: int = Field(
        description="tokens among them that are read as something else", examples=[0]
    )
    examples: list[str] = Field(
        default=[], description="a few of the failed ones", examples=[["'##ing'"]]
    )


class TextRecord(StrictModel):
    """One uploaded text, counted in tokens of the vocabulary."""

    field: str = Field(description="the form field that it was sent in", examples=["held_out"])
    tokens: int = Field(description="tokens of the whole text", examples=[82430])
    unknown: int = Field(
        description="tokens among them that the vocabulary does not have", examples=[0]
    )

    @property
    def unknown_share(self) -> float:
        """Unknown tokens as a share of all."""
        return self.unknown / self.tokens if self.tokens else 0.0


class CheckResult(StrictModel):
    """One of the sender's own checks that the model passed: what was compared and found."""

    name: str = Field(description="what was compared", examples=["perplexity of `held_out`"])
    expected: str = Field(description="value that was sent", examples=["83.80"])
    found: str = Field(description="value of the model as it was read", examples=["83.79"])
    tolerance: str = Field(description="the largest difference allowed", examples=["1 %"])


class Inspection(StrictModel):
    """What was understood of an upload, before anything is compressed.

    Second names are those of earlier releases, whose bundles and jobs are still read.
    """

    understood: bool = Field(description="false: a job would end with `problem`", examples=[True])
    kind: Task | None = Field(
        default=None,
        description="kind of model; null: not known",
        examples=["language-model"],
    )
    architecture: Architecture | None = Field(
        default=None,
        description="architecture, as the manifest would name it; null: not known",
        examples=["lstm-language-model"],
    )
    layout: str = Field(
        default="",
        description="how the upload was read, in a line",
        examples=["embedding / LSTM / linear: 2 LSTM layers"],
    )
    layers: list[LayerRecord] = Field(
        default=[], description="the layers, from the input to the output"
    )
    parameters: int | None = Field(
        default=None,
        description="parameters of the whole model; null: not known",
        examples=[4653200],
    )
    mult_adds: int | None = Field(
        default=None,
        description="multiply-adds of one token or step; null: not known",
        examples=[4640000],
    )
    dropped: list[str] = Field(
        default=[],
        description="parts of the upload that are not used, and why",
        examples=[["'criterion.weight': loss weights"]],
    )
    assumed: list[str] = Field(
        default=[],
        description="assumptions about what the upload does not specify",
        examples=[["the layers run in the order of the file: rnn1, rnn2"]],
    )
    text: TextContract | None = Field(
        default=None,
        description="how texts become tokens; null: not a language model, or no vocabulary "
        "that fits",
    )
    round_trip: RoundTrip | None = Field(
        default=None,
        description="whether the vocabulary's tokens are read as their own ids; null: not checked",
    )
    texts: list[TextRecord] = Field(default=[], description="the uploaded texts as tokens")
    left_alone: list[str] = Field(
        default=[],
        description="groups of units that cannot shrink, and why",
        examples=[["lstm_2 (64 units): its states are outputs of the graph"]],
    )
    metric: Metric | None = Field(
        default=None,
        description="metric of quality; null: not known",
        examples=["perplexity"],
    )
    calibrated_on: str = Field(
        default="",
        validation_alias=AliasChoices("calibrated_on", "observed_on"),
        description="data on which a job will collect activations",
        examples=["uploaded text (10,000 tokens)"],
    )
    evaluated_on: str = Field(
        default="",
        validation_alias=AliasChoices("evaluated_on", "judged_on"),
        description="data on which a job will evaluate quality",
        examples=["uploaded text (82,430 tokens)"],
    )
    random_inputs: bool = Field(
        default=False,
        description="a job will calibrate and evaluate on random inputs, since none were sent",
        examples=[False],
    )
    not_evaluated: str | None = Field(
        default=None,
        validation_alias=AliasChoices("not_evaluated", "not_judged"),
        description="why quality will not be evaluated, in a line; null: it will be",
        examples=["one recorded run was sent, which calibration needs"],
    )
    checks: list[CheckResult] = Field(
        default=[], description="the sender's own checks that the model passed"
    )
    warnings: list[str] = Field(
        default=[],
        description="what to look at before a job is started; also options that have no effect",
        examples=[["12 % of the tokens of `held_out` are unknown"]],
    )
    problem: Problem | None = Field(
        default=None, description="why a job would fail; null: no reason is known"
    )


class PendingInspection(StrictModel):
    """An inspection that has not finished: request it again by its id."""

    id: str = Field(
        description="derived from the request: equal requests are one inspection",
        examples=["419642ce19b52b52119a"],
    )
    state: Literal["queued", "running"] = Field(
        description="state of the inspection", examples=["running"]
    )
    created_at: datetime = Field(
        description="when it was requested", examples=["2026-11-24T12:00:00Z"]
    )
