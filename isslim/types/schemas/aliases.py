"""Aliases: names that point at a variant of a model, and are moved by promotion alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from isslim.types.manifest import VariantName
from isslim.types.schemas.common import PlainText

Action = Literal["set", "promoted", "rolled back", "deleted"]
Note = Annotated[PlainText, Field(max_length=500)]
Share = Annotated[float, Field(gt=0, le=1)]


class Rule(BaseModel):
    """What a candidate has to show before it is promoted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    change_below: float = Field(
        gt=0,
        description="what the upper end of the 95 % interval of the mean change has to stay below: "
        "of a language model nats per token, of question answering the share of other answers",
        examples=[0.02],
    )
    requests: int = Field(
        ge=2, le=1_000_000, description="on at least so many requests", examples=[500]
    )


class Target(BaseModel):
    """A variant of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="id of the model", examples=["e4dff733c4d90e78"])
    variant: VariantName | None = Field(
        default=None,
        description="its variant; null: a request chooses, as if it named the model itself",
        examples=["compressed-int8"],
    )

    def __str__(self) -> str:
        return self.model if self.variant is None else f"{self.model}:{self.variant}"


class Candidate(Target):
    """A variant that is tried beside the alias's own."""

    share: Share = Field(description="share of the requests that try it", examples=[0.05])
    rule: Rule | None = Field(
        default=None, description="what promotes it, or ends the trial; null: nothing does"
    )

    @property
    def target(self) -> Target:
        """It alone."""
        return Target(model=self.model, variant=self.variant)


class AliasState(Target):
    """What an alias points at."""

    note: str = Field(default="", description="of who set it", examples=["perplexity +1.7 %"])
    shadow: Candidate | None = Field(
        default=None, description="runs after the answer was sent; only compared"
    )
    canary: Candidate | None = Field(default=None, description="answers a share of the requests")
    earlier: tuple[Target, ...] = Field(
        default=(), description="what it pointed at before, the latest last; `rollback` goes there"
    )

    @property
    def target(self) -> Target:
        """What it points at."""
        return Target(model=self.model, variant=self.variant)

    @property
    def models(self) -> set[str]:
        """Ids of the models that it needs."""
        return {each.model for each in (self, self.shadow, self.canary) if each is not None}


class Alias(AliasState):
    """An alias as the service reports it."""

    alias: str = Field(description="its name", examples=["prod"])
    version: int = Field(description="how often it was changed", examples=[3])
    changed_at: datetime = Field(
        description="when it was changed last", examples=["2026-11-24T12:00:00Z"]
    )

    @property
    def state(self) -> AliasState:
        """What it points at."""
        return AliasState(**{name: getattr(self, name) for name in AliasState.model_fields})


class AliasChange(BaseModel):
    """An entry of the audit trail."""

    version: int = Field(description="of the alias, after it", examples=[3])
    at: datetime = Field(description="when", examples=["2026-11-24T12:00:00Z"])
    action: Action = Field(
        description="`promoted` and `rolled back` name what was moved, whoever moved it",
        examples=["set"],
    )
    by: str = Field(
        description="id of the request, job or rule that did it", examples=["6f1c9d0e-deploy-17"]
    )
    remote: str = Field(description="address of the sender; empty: none", examples=["10.0.0.7"])
    note: str = Field(description="of the sender", examples=["perplexity +1.7 %"])
    before: AliasState | None = Field(description="null: there was no such alias")
    after: AliasState | None = Field(description="null: it was deleted")


class AliasDetail(Alias):
    """An alias with its audit trail."""

    history: list[AliasChange] = Field(description="the last 100 changes, newest first")
    owner: str | None = Field(
        default=None,
        description="name of the key that made it; null: none was asked for",
        examples=["lab"],
    )


class _CandidateRequest(BaseModel):
    """A variant to be tried."""

    model_config = ConfigDict(extra="forbid")

    model: PlainText | None = Field(
        default=None,
        max_length=128,
        description="id, name or alias of a model; null: the alias's own",
        examples=["e4dff733c4d90e78"],
    )
    variant: VariantName | None = Field(
        default=None, description="its variant; null: the last one", examples=["compressed-int8"]
    )
    rule: Rule | None = Field(
        default=None, description="what promotes it, or ends the trial; null: nothing does"
    )


class ShadowRequest(_CandidateRequest):
    """A variant that is run and compared after the answer was sent."""

    share: Share = Field(
        default=0.1, description="share of the requests that are run again", examples=[0.1]
    )


class CanaryRequest(_CandidateRequest):
    """A variant that answers a share of the requests."""

    share: Share = Field(
        default=0.05,
        description="share of the senders, by `x-user` or else the id of the request",
        examples=[0.05],
    )


class AliasRequest(BaseModel):
    """What an alias is to point at."""

    model_config = ConfigDict(extra="forbid")

    model: PlainText = Field(
        max_length=128, description="id, name or alias of a model", examples=["demo"]
    )
    variant: VariantName | None = Field(
        default=None,
        description="its variant; null: a request chooses; the last one where a variant is tried "
        "beside it",
        examples=["compressed-int8"],
    )
    note: Note = Field(
        default="", description="for the audit trail", examples=["perplexity +1.7 %"]
    )
    shadow: ShadowRequest | None = Field(
        default=None, description="run and compared after the answer was sent; null: none"
    )
    canary: CanaryRequest | None = Field(
        default=None, description="answers a share of the requests; null: none"
    )
