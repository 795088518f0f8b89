"""What goes in and out over HTTP. Fields that the store defines are the store's models."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from store.manifest import LatencyRecord, Manifest, VariantName, VariantRecord


class ScoreRequest(BaseModel):
    """Texts or token ids, and the variants to score them with."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"model": "demo", "texts": ["return the list"], "variants": ["original", "compressed-int8"]}
        },
    )

    model: str = Field(description="id or name of a model; of equal names the newest", examples=["demo"])
    texts: list[str] | None = Field(default=None, min_length=1, description="texts, each one stream")
    token_ids: list[list[int]] | None = Field(default=None, min_length=1, description="in place of `texts`")
    variants: list[VariantName] = Field(
        default=[], description="one, or several to compare; empty: the original and the most compressed one"
    )
    device: str = Field(default="cpu", examples=["cpu"])
    per_token: bool = Field(default=False, description="also return each token's log-probability")
    top_k: int = Field(
        default=0, ge=0, le=50, description="with `per_token`: that many most likely tokens in each place"
    )


class TopToken(BaseModel):
    """A likely token in some place."""

    token: str = Field(examples=["list"])
    id: int = Field(examples=[17])
    log_prob: float = Field(description="natural logarithm", examples=[-0.4])


class TokenScore(BaseModel):
    """One token of a text."""

    token: str = Field(examples=["list"])
    id: int = Field(examples=[17])
    log_prob: float | None = Field(description="natural logarithm; null: given, not scored", examples=[-1.3])
    top: list[TopToken] = Field(default=[], description="the most likely tokens in its place, best first")


class TextScore(BaseModel):
    """A text's score by one variant."""

    log_prob: float = Field(description="sum over the counted tokens, nats", examples=[-21.5])
    counted: int = Field(description="tokens with a log-probability", examples=[9])
    perplexity: float | None = Field(description="exp(-log_prob / counted); null: nothing was counted", examples=[10.9])
    unknown: int = Field(description="tokens that became the unknown token", examples=[0])
    tokens: list[TokenScore] | None = Field(default=None, description="with `per_token`")


class Timing(BaseModel):
    """Milliseconds of each stage; `serialize` is in the Server-Timing header, since it comes after the body."""

    queue_ms: float = Field(description="waiting for a free run", examples=[0.02])
    tokenize_ms: float = Field(examples=[0.1])
    run_ms: float = Field(description="in ONNX Runtime, with the carrying of states", examples=[0.9])


class VariantScore(BaseModel):
    """All texts by one variant."""

    variant: VariantName
    texts: list[TextScore]
    perplexity: float | None = Field(description="over all texts together", examples=[11.2])
    speedup: float | None = Field(
        default=None, description="run time of the first variant asked for / of this one, this once", examples=[6.1]
    )
    timing: Timing


class ScoreResponse(BaseModel):
    """The scores, in the order of the variants asked for."""

    model_id: str = Field(examples=["5f0c1d2e3a4b5c6d"])
    model: str = Field(examples=["demo"])
    device: str = Field(examples=["cpu"])
    variants: list[VariantScore]


class ModelSummary(BaseModel):
    """A model in the list."""

    id: str = Field(examples=["5f0c1d2e3a4b5c6d"])
    name: str = Field(examples=["demo"])
    created_at: datetime
    task: str = Field(examples=["language-model"])
    variants: list[VariantRecord]


class ModelDetail(BaseModel):
    """A model with its whole manifest."""

    id: str = Field(examples=["5f0c1d2e3a4b5c6d"])
    manifest: Manifest


class LatencyResponse(BaseModel):
    """A paired comparison on this host."""

    model_id: str = Field(examples=["5f0c1d2e3a4b5c6d"])
    measured_at: datetime
    cached: bool = Field(description="measured before, not now", examples=[False])
    baseline: VariantName = Field(examples=["original"])
    results: dict[str, list[LatencyRecord]] = Field(description="per variant, one record per device")


class Health(BaseModel):
    """Whether the service lives, or can answer."""

    status: str = Field(examples=["ok"])
    detail: str = Field(default="", examples=[""])
