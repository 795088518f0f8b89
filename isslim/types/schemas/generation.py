"""Bodies of `/generate`: a prompt, and the texts that the variants add to it."""

from __future__ import annotations

from typing import Annotated, Literal

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
    SomeText,
    Variants,
)
from isslim.types.schemas.scores import TopToken

MAX_STOPS, MAX_STOP_CHARACTERS, MAX_TOP = 16, 256, 50
SEEDS = 1 << 63
Stop = Annotated[SomeText, Field(max_length=MAX_STOP_CHARACTERS)]


class GenerateRequest(BaseModel):
    """A prompt, or the state of a text, and how to go on with it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"model": "demo", "prompt": "return the", "max_tokens": 20, "seed": 1}
        },
    )

    model: PlainText = Field(
        max_length=128,
        description="id, alias or name of a model",
        examples=["demo"],
    )
    prompt: PlainText = Field(
        default="",
        description="what to continue; read behind the start token, or behind `state`",
        examples=["return the"],
    )
    state: PlainText | None = Field(
        default=None,
        max_length=MAX_STATE_CHARACTERS,
        description=STATE,
        examples=[SIGNED],
    )
    variants: Variants = Field(
        default=[],
        examples=[["original", "compressed-int8"]],
        description=f"{VARIANTS}; with `state`: those in it",
    )
    device: PlainText = Field(default="cpu", max_length=32, description=DEVICE, examples=["cpu"])
    max_tokens: int = Field(
        default=64,
        ge=0,
        description="most tokens of one text; 0 reads the prompt alone",
        examples=[20],
    )
    temperature: float = Field(
        default=1.0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="divides log-probabilities; 0: always the most likely token",
        examples=[0.7],
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="draws only from the fewest most likely tokens with this sum of probabilities",
        examples=[0.9],
    )
    top_k: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="draws only from so many most likely tokens; 0: from all",
        examples=[40],
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=SEEDS,
        description="of the random numbers, the same for every variant; null: a new one, or with "
        "`state` its own",
        examples=[1],
    )
    stop: list[Stop] = Field(
        default=[],
        max_length=MAX_STOPS,
        description="ends a text before any of these, compared with the text and with the "
        "spelling of tokens in the vocabulary",
        examples=[["\n", "<eos>"]],
    )
    log_probs: int | None = Field(
        default=None,
        ge=0,
        le=MAX_TOP,
        description="also returns each token's log-probability, with so many most likely tokens "
        "in its place",
        examples=[5],
    )
    return_state: bool = Field(
        default=False, description="whether the answer holds `state`", examples=[True]
    )
    stream: bool = Field(
        default=False, description="whether tokens are sent as they come", examples=[True]
    )


class GeneratedToken(BaseModel):
    """A token of a text."""

    token: str = Field(description="as the vocabulary writes it", examples=["list"])
    id: int = Field(description="its position in the vocabulary", examples=[17])
    text: str = Field(description="what it adds to the text", examples=[" list"])
    log_prob: float | None = Field(
        default=None,
        description="natural logarithm of its probability by the model, whatever the temperature; "
        "null: not requested",
        examples=[-1.3],
    )
    top: list[TopToken] = Field(
        default=[], description="the most likely tokens in its place, best first"
    )


class TokenEvent(GeneratedToken):
    """The event `token` of a stream."""

    variant: VariantName = Field(description="whose text it is of", examples=["compressed-int8"])


class GenerateTiming(BaseModel):
    """Milliseconds of each stage."""

    queue_ms: float = Field(description="waiting for turns, of the whole request", examples=[0.02])
    tokenize_ms: float = Field(description="from text to token ids", examples=[0.1])
    prompt_ms: float = Field(description="reading the prompt", examples=[0.9])
    run_ms: float = Field(description="all tokens: runs and draws", examples=[4.1])
    token_ms: float | None = Field(
        description="of them one token, the mean; null: there is none", examples=[0.2]
    )


class GeneratedText(BaseModel):
    """The text of one variant."""

    variant: VariantName = Field(description="which one", examples=["compressed-int8"])
    text: str = Field(
        description="what was added to the prompt, without the stop", examples=[" list of"]
    )
    finish_reason: Literal["stop", "length"] = Field(
        description="`stop`: a stop, or the token that ends texts; `length`: `max_tokens`",
        examples=["length"],
    )
    prompt_tokens: int = Field(description="tokens of the prompt", examples=[2])
    drawn: int = Field(description="tokens that were drawn, the stop included", examples=[20])
    tokens: list[GeneratedToken] = Field(description="of the text")
    speedup: float | None = Field(
        default=None,
        description="time per token of the first variant asked for / of this one, this once",
        examples=[4.1],
    )
    timing: GenerateTiming = Field(description="this once")


class GenerateResponse(BaseModel):
    """The texts, in the order of the variants requested."""

    model_id: str = Field(description="the bundle's id", examples=["5f0c1d2e3a4b5c6d"])
    model: str = Field(description="the model's name", examples=["demo"])
    device: str = Field(description="where it ran", examples=["cpu"])
    seed: int = Field(description="of the random numbers", examples=[1])
    variants: list[GeneratedText] = Field(description="in the order asked for")
    state: str | None = Field(
        default=None,
        description=RETURNED_STATE,
        examples=[SIGNED],
    )
