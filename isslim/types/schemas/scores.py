"""Bodies of `/score`: texts or token ids, and their log-probabilities per variant."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from isslim.types.manifest import VariantName
from isslim.types.schemas.common import (
    DEVICE,
    MAX_STATE_CHARACTERS,
    RETURNED_STATE,
    SIGNED,
    STATE,
    VARIANTS,
    PlainText,
    TokenId,
    Variants,
    at_most,
)

TEXTS = "texts"
"""The key of the limit on texts, or on sequences of token ids, in a validation's context."""
Sequence = Annotated[list[TokenId], Field(fail_fast=True)]
"""For a long sequence of another type, one issue says as much as all of them."""


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
        description="id, alias or name of a model",
        examples=["demo"],
    )
    texts: Annotated[list[PlainText], at_most(TEXTS, "texts")] | None = Field(
        default=None,
        min_length=1,
        description="texts, each one stream",
        examples=[["return the list"]],
    )
    token_ids: Annotated[list[Sequence], at_most(TEXTS, "texts")] | None = Field(
        default=None, min_length=1, description="in place of `texts`", examples=[[[3, 17, 4]]]
    )
    variants: Variants = Field(
        default=[],
        examples=[["original", "compressed-int8"]],
        description=f"{VARIANTS}; with `state`: those in it",
    )
    state: PlainText | None = Field(
        default=None, max_length=MAX_STATE_CHARACTERS, description=STATE, examples=[SIGNED]
    )
    return_state: bool = Field(
        default=False,
        description="whether the answer holds `state`; of one text alone, as `state` is",
        examples=[True],
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
    """A likely token at some position."""

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
        default=[], description="the most likely tokens at its position, best first"
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
        default=None, description="with `per_token`; null: not requested"
    )


class Timing(BaseModel):
    """Milliseconds of each stage.

    `serialize` is in the Server-Timing header, since it comes after the body.
    """

    queue_ms: float = Field(
        description="waiting for turns, and for other requests in runs that were shared with them",
        examples=[0.02],
    )
    tokenize_ms: float = Field(description="from texts to token ids", examples=[0.1])
    run_ms: float = Field(
        description="running ONNX Runtime; of runs that were shared with other requests, the share "
        "of this one's tokens",
        examples=[0.9],
    )


class VariantScore(BaseModel):
    """One variant's scores of all texts."""

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
    """The scores, in the order of the variants requested."""

    model_id: str = Field(description="the bundle's id", examples=["5f0c1d2e3a4b5c6d"])
    model: str = Field(description="the model's name", examples=["demo"])
    device: str = Field(description="where it ran", examples=["cpu"])
    variants: list[VariantScore] = Field(description="in the order asked for")
    state: str | None = Field(default=None, description=RETURNED_STATE, examples=[SIGNED])
