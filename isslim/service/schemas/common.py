"""What goes in and out over HTTP. Fields that the store defines are the store's models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from isslim.types.manifest import LatencyRecord, Manifest, Metric, Task, VariantName, VariantRecord


def _plain(text: str) -> str:
    """Refuses lone surrogates, which JSON can write as an escape and no text holds."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"not Unicode text: a lone surrogate at character {error.start}"
        ) from error
    return text


def _once(names: list[VariantName]) -> list[VariantName]:
    """Refuses a name given twice."""
    if len(set(names)) < len(names):
        raise ValueError("a variant is named twice")
    return names


PlainText = Annotated[str, AfterValidator(_plain)]
SomeText = Annotated[str, Field(min_length=1), AfterValidator(_plain)]
"""Not empty; in this order the refusal speaks of characters."""
Variants = Annotated[list[VariantName], AfterValidator(_once)]
VARIANTS = "one, or several to compare; empty: the original and the most compressed one, on a GPU of those in float32"
DEVICE = "`cpu`, or `cuda` where there is one"
TokenId = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""Any 64-bit number; whether the vocabulary has it is for the runtime to say."""
ModelName = Annotated[
    str, Path(description="id or name of a model; of equal names the newest", examples=["demo"])
]
JobId = Annotated[
    str, Path(description="as `POST /compress` answered it", examples=["419642ce19b52b52119a"])
]
InspectionId = Annotated[
    str,
    Path(
        description="as `Location` of `POST /inspect` names it", examples=["419642ce19b52b52119a"]
    ),
]
SweepId = Annotated[
    str, Path(description="as `POST /sweeps` answered it", examples=["7d0a2b9f3c1e4a5b6c7d"])
]
FilePath = Annotated[
    str, Path(description="plain relative path of a file in the bundle", examples=["curve.svg"])
]


class ScoreRequest(BaseModel):
    """Texts or token ids, and the variants to score them with."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": "demo",
                "texts": ["return the list"],
                "variants": ["original", "compressed-int8"],
            }
        },
    )

    model: PlainText = Field(
        max_length=128,
        description="id or name of a model; of equal names the newest",
        examples=["demo"],
    )
    texts: list[PlainText] | None = Field(
        default=None,
        min_length=1,
        description="texts, each one stream",
        examples=[["return the list"]],
    )
    token_ids: list[list[TokenId]] | None = Field(
        default=None, min_length=1, description="in place of `texts`", examples=[[[3, 17, 4]]]
    )
    variants: Variants = Field(
        default=[],
        examples=[["original", "compressed-int8"]],
        description=VARIANTS,
    )
    device: PlainText = Field(default="cpu", max_length=32, description=DEVICE, examples=["cpu"])
    per_token: bool = Field(
        default=False, description="also return each token's log-probability", examples=[True]
    )
    top_k: int = Field(
        default=0,
        ge=0,
        le=50,
        description="with `per_token`: that many most likely tokens in each place",
        examples=[5],
    )


class TopToken(BaseModel):
    """A likely token in some place."""

    token: str = Field(description="as the vocabulary writes it", examples=["list"])
    id: int = Field(description="its position in the vocabulary", examples=[17])
    log_prob: float = Field(description="natural logarithm", examples=[-0.4])


class TokenScore(BaseModel):
    """One token of a text."""

    token: str = Field(description="as the vocabulary writes it", examples=["list"])
    id: int = Field(description="its position in the vocabulary", examples=[17])
    log_prob: float | None = Field(
        description="natural logarithm; null: given, not scored", examples=[-1.3]
    )
    top: list[TopToken] = Field(
        default=[], description="the most likely tokens in its place, best first"
    )


class TextScore(BaseModel):
    """A text's score by one variant."""

    log_prob: float = Field(description="sum over the counted tokens, nats", examples=[-21.5])
    counted: int = Field(description="tokens with a log-probability", examples=[9])
    perplexity: float | None = Field(
        description="exp(-log_prob / counted); null: nothing was counted", examples=[10.9]
    )
    unknown: int = Field(description="tokens that became the unknown token", examples=[0])
    tokens: list[TokenScore] | None = Field(
        default=None, description="with `per_token`; null: not asked for"
    )


class Timing(BaseModel):
    """Milliseconds of each stage; `serialize` is in the Server-Timing header, since it comes after the body."""

    queue_ms: float = Field(description="waiting for a free run", examples=[0.02])
    tokenize_ms: float = Field(description="from texts to token ids", examples=[0.1])
    run_ms: float = Field(
        description="in ONNX Runtime, with the carrying of states", examples=[0.9]
    )


class VariantScore(BaseModel):
    """All texts by one variant."""

    variant: VariantName = Field(description="which one", examples=["compressed-int8"])
    texts: list[TextScore] = Field(description="in the order of the request")
    perplexity: float | None = Field(description="over all texts together", examples=[11.2])
    speedup: float | None = Field(
        default=None,
        description="run time of the first variant asked for / of this one, this once",
        examples=[6.1],
    )
    timing: Timing = Field(description="this once")


class ScoreResponse(BaseModel):
    """The scores, in the order of the variants asked for."""

    model_id: str = Field(description="the bundle's id", examples=["5f0c1d2e3a4b5c6d"])
    model: str = Field(description="the model's name", examples=["demo"])
    device: str = Field(description="where it ran", examples=["cpu"])
    variants: list[VariantScore] = Field(description="in the order asked for")


class ModelSummary(BaseModel):
    """A model in the list."""

    id: str = Field(
        description="the bundle's id, made of its content", examples=["5f0c1d2e3a4b5c6d"]
    )
    name: str = Field(
        description="as its recipe called it; a damaged manifest: its id", examples=["demo"]
    )
    created_at: datetime | None = Field(
        description="when it was made; null: its manifest is damaged",
        examples=["2026-11-24T12:00:00Z"],
    )
    task: Task | None = Field(
        description="what the model does; null: its manifest is damaged",
        examples=["language-model"],
    )
    metric: Metric | None = Field(
        description="what the variants' losses are about; null: its manifest is damaged",
        examples=["perplexity"],
    )
    variants: list[VariantRecord] = Field(description="what was published, the original first")
    random_inputs: bool = Field(
        default=False,
        description="it was observed and timed on random inputs, as none were sent",
        examples=[False],
    )
    not_judged: str | None = Field(
        default=None,
        description="why no figure of its quality stands on data that was not observed; null: it does",
        examples=["one recorded run was sent, which had to be observed"],
    )
    issues: list[str] = Field(
        default=[],
        description="why it cannot be used, such as a file that was changed on disk; empty: nothing is known",
        examples=[["original.onnx has another SHA-256"]],
    )


class ModelDetail(BaseModel):
    """A model with its whole manifest."""

    id: str = Field(
        description="the bundle's id, made of its content", examples=["5f0c1d2e3a4b5c6d"]
    )
    manifest: Manifest = Field(description="the bundle's manifest")


class LatencyResponse(BaseModel):
    """A paired comparison on this host."""

    model_id: str = Field(description="the bundle's id", examples=["5f0c1d2e3a4b5c6d"])
    measured_at: datetime = Field(description="when", examples=["2026-11-24T12:00:00Z"])
    cached: bool = Field(description="measured before, not now", examples=[False])
    baseline: VariantName = Field(
        description="whose time is divided by the others'", examples=["original"]
    )
    results: dict[str, list[LatencyRecord]] = Field(
        description="per variant, one record per device"
    )


class Health(BaseModel):
    """Whether the service lives, or can answer."""

    status: str = Field(description="`ok`", examples=["ok"])
    detail: str = Field(
        default="", description="what there is", examples=["1 models, 0 jobs queued"]
    )
