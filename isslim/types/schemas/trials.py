"""Trials of an alias's shadow or canary: what was compared, and what its rule makes of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from isslim.types.schemas.aliases import Rule, Target

Role = Literal["shadow", "canary"]
Decision = Literal["undecided", "held", "broken"]


class Figure(BaseModel):
    """A mean over the requests that were compared."""

    mean: float = Field(description="of the requests", examples=[0.012])
    low: float | None = Field(
        description="lower end of its 95 % interval; null: of one request", examples=[0.009]
    )
    high: float | None = Field(description="upper end of it", examples=[0.015])


class Trial(BaseModel):
    """A candidate, compared with what the alias points at, on the same requests."""

    role: Role = Field(description="whether it answers requests", examples=["shadow"])
    candidate: Target = Field(description="the variant that is tried")
    share: float = Field(description="share of the requests that try it", examples=[0.1])
    requests: int = Field(description="that were compared", examples=[500])
    failed: int = Field(description="that it alone failed to answer", examples=[0])
    dropped: int = Field(
        description="that were left out, as more than half of the queue was in use", examples=[3]
    )
    difference: Figure | None = Field(
        description="its mean log-probability per token minus the alias's, nats; null: nothing "
        "was compared, or it is no language model"
    )
    change: Figure | None = Field(
        description="what rules are about. Of a language model the absolute difference, of "
        "question answering the share of other answers, of a graph the change of its outputs, "
        "relative to their spread; null: nothing was compared"
    )
    same: Figure | None = Field(
        description="share of the same decisions: the most likely token at every position, the "
        "answer, or the largest of an output's last axis; null: nothing was compared"
    )
    time_ratio: Figure | None = Field(
        description="its time / the alias's, geometric mean; null: nothing was compared"
    )
    rule: Rule | None = Field(description="what promotes it, or ends the trial; null: none")
    decision: Decision | None = Field(
        description="by the rule; null: there is none", examples=["undecided"]
    )
    is_gone: bool = Field(
        default=False,
        description="whether its model was deleted: nothing is compared any more",
        examples=[False],
    )


class TrialReport(BaseModel):
    """All trials of an alias since it was last changed."""

    alias: str = Field(description="its name", examples=["prod"])
    version: int = Field(description="of the alias", examples=[3])
    target: Target = Field(description="what it points at")
    trials: list[Trial] = Field(description="shadow and canary, as far as there are any")
    compared: list[str] = Field(
        description="requests that are compared; of those of other paths and protocols only the "
        "failures of a canary count",
        examples=[["/score", "/generate", "/v1/completions"]],
    )
    lines: list[str] = Field(description="the same in words", examples=[["shadow ...: ..."]])
