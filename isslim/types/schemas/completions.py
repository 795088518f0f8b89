"""Bodies of the OpenAI API. Other fields of a request are ignored: clients add some every month.

A field that is null is one that is not there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from isslim.types.schemas.common import PlainText, TokenId
from isslim.types.schemas.generation import MAX_STOP_CHARACTERS, MAX_STOPS, MAX_TOP

Prompts = list[str | list[int]]
MODEL = "name or id of a model, and behind a colon of its variant; without one its last variant"


class _Request(BaseModel):
    """A body whose unknown fields are kept, to be named."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that have no meaning here."""
        return sorted(self.model_extra or {})


class StreamOptions(BaseModel):
    """How a stream is sent."""

    include_usage: bool | None = Field(
        default=None, description="whether `usage` is sent before the end", examples=[True]
    )


class CompletionRequest(_Request):
    """Prompts, and how to go on with them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"model": "demo:original", "prompt": "return the", "max_tokens": 20}
        }
    )

    model: PlainText = Field(
        default="", max_length=160, description=MODEL, examples=["demo:original"]
    )
    prompt: Any = Field(
        default="",
        validate_default=True,
        description="a text, token ids, or a list of either. A text is read behind the start "
        "token, ids as they are; nothing: the start token alone",
        examples=["return the", [1, 26, 101], ["return", "the"]],
    )
    max_tokens: int = Field(
        default=16, ge=0, description="most tokens of a text; 0 only with `echo`", examples=[20]
    )
    temperature: float = Field(
        default=1.0, ge=0, le=100, description="0: always the most likely token", examples=[0.7]
    )
    top_p: float = Field(default=1.0, gt=0, le=1, description="as of `/generate`", examples=[0.9])
    top_k: int = Field(
        default=0, ge=-1, lt=2**31, description="as of `/generate`; an extension", examples=[40]
    )
    seed: int | None = Field(
        default=None,
        ge=-(2**63),
        lt=2**63,
        description="repeats a text; not there: another one each time",
        examples=[1],
    )
    stop: str | list[str] = Field(
        default=[],
        description=f"up to {MAX_STOPS}, compared with the text and with the spelling of tokens",
        examples=[["\n"], "<eos>"],
    )
    logprobs: int | None = Field(
        default=None,
        ge=0,
        le=MAX_TOP,
        description="log-probabilities of the tokens, and so many most likely ones in their place",
        examples=[1],
    )
    echo: bool = Field(
        default=False,
        description="whether the prompt is a part of the answer. With `logprobs` texts are scored: "
        "they go on for `max_tokens`, whatever the tokens",
        examples=[True],
    )
    n: int = Field(default=1, ge=1, le=8, description="texts for each prompt", examples=[1])
    stream: bool = Field(
        default=False, description="whether tokens are sent as they come", examples=[True]
    )
    stream_options: StreamOptions = Field(
        default_factory=StreamOptions, description="how a stream is sent"
    )
    suffix: str = Field(default="", description="not offered", examples=[""])
    best_of: int | None = Field(default=None, description="`n` alone is offered", examples=[1])
    presence_penalty: float = Field(default=0, description="0 alone is offered", examples=[0])
    frequency_penalty: float = Field(default=0, description="0 alone is offered", examples=[0])
    logit_bias: dict[str, float] = Field(default={}, description="not offered", examples=[{}])

    @field_validator("prompt")
    @classmethod
    def _is_a_prompt(cls, value: Any) -> Prompts:
        if isinstance(value, str):
            return [_plain(value)]
        if isinstance(value, list):
            if not value or _is_ids(value):
                return [value]
            if all(isinstance(each, str) for each in value):
                return [_plain(each) for each in value]
            if all(isinstance(each, list) and _is_ids(each) for each in value):
                return value
        raise ValueError("expected a text, a list of token ids, or a list of texts or such lists")

    @field_validator("stop")
    @classmethod
    def _are_stops(cls, value: str | list[str]) -> list[str]:
        stops = [value] if isinstance(value, str) else value
        if len(stops) > MAX_STOPS:
            raise ValueError(f"{len(stops):,} stops; at most {MAX_STOPS}")
        if any(len(each) > MAX_STOP_CHARACTERS for each in stops):
            raise ValueError(f"a stop has more than {MAX_STOP_CHARACTERS} characters")
        return [_plain(each) for each in stops if each]

    @field_validator("suffix", "presence_penalty", "frequency_penalty", "logit_bias")
    @classmethod
    def _is_not_offered(cls, value: Any, info: ValidationInfo) -> Any:
        if value:
            raise ValueError(f"`{info.field_name}` is not offered: leave it out")
        return value

    @field_validator("best_of")
    @classmethod
    def _is_n(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value != info.data.get("n", value):
            raise ValueError("only as many texts as `n` are written: leave `best_of` out")
        return value

    @property
    def prompts(self) -> Prompts:
        """One or several: texts, or lists of token ids."""
        found: Prompts = self.prompt
        return found

    @property
    def stops(self) -> tuple[str, ...]:
        """None, one or several."""
        return tuple(self.stop)


def _is_ids(values: list[Any]) -> bool:
    return all(type(each) is int and -(2**63) <= each < 2**63 for each in values)


def _plain(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("not Unicode text: it holds a lone surrogate") from error
    return text


class LogProbs(BaseModel):
    """Log-probabilities of the tokens of a text."""

    tokens: list[str] = Field(description="as the vocabulary writes them", examples=[["the"]])
    token_logprobs: list[float | None] = Field(
        description="natural logarithms; null: a first token that is given", examples=[[-1.3]]
    )
    top_logprobs: list[dict[str, float] | None] | None = Field(
        default=None,
        description="the most likely tokens in each place",
        examples=[[{"the": -1.3}]],
    )
    text_offset: list[int] = Field(description="where each begins in the text", examples=[[0]])

    @classmethod
    def empty(cls) -> LogProbs:
        """Of no tokens."""
        return cls(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])


class Choice(BaseModel):
    """A text."""

    index: int = Field(description="of all texts of the answer", examples=[0])
    text: str = Field(description="what was added to the prompt", examples=[" list of"])
    finish_reason: Literal["stop", "length"] | None = Field(
        default=None, description="null: it goes on", examples=["length"]
    )
    logprobs: LogProbs | None = Field(default=None, description="where they were asked for")


class Usage(BaseModel):
    """Numbers of tokens."""

    prompt_tokens: int = Field(description="of all prompts", examples=[3])
    completion_tokens: int = Field(description="that were drawn", examples=[16])
    total_tokens: int = Field(description="both", examples=[19])


class Completion(BaseModel):
    """An answer, or a part of one."""

    id: str = Field(description="of the answer", examples=["cmpl-9f0c"])
    object: Literal["text_completion"] = Field(
        default="text_completion", description="what it is", examples=["text_completion"]
    )
    created: int = Field(description="seconds since 1970", examples=[1795949831])
    model: str = Field(description="as it was asked for", examples=["demo:original"])
    system_fingerprint: str = Field(description="the bundle's id", examples=["e4dff733c4d90e78"])
    choices: list[Choice] = Field(description="the texts, prompt by prompt")
    usage: Usage | None = Field(default=None, description="how many tokens")


class Model(BaseModel):
    """A variant of a language model."""

    id: str = Field(description="for `model`", examples=["demo:compressed-int8"])
    object: Literal["model"] = Field(default="model", description="what it is", examples=["model"])
    created: int = Field(description="seconds since 1970", examples=[1795949831])
    owned_by: Literal["isslim"] = Field(
        default="isslim", description="who serves it", examples=["isslim"]
    )


class ModelList(BaseModel):
    """All variants of language models."""

    object: Literal["list"] = Field(default="list", description="what it is", examples=["list"])
    data: list[Model] = Field(description="the newest model first")


class TokenizerInfo(BaseModel):
    """The special tokens of a model."""

    eos_token: str | None = Field(description="the start token", examples=["<eos>"])
    bos_token: str | None = Field(description="the start token", examples=["<eos>"])
    pad_token: None = Field(default=None, description="there is none", examples=[None])
    chat_template: None = Field(default=None, description="there is none", examples=[None])


class TokenizeRequest(_Request):
    """A text."""

    prompt: PlainText = Field(
        description="a text, or a special token alone", examples=["return the"]
    )
    add_special_tokens: bool = Field(
        default=False, description="whether the start token comes first", examples=[False]
    )
    model: PlainText = Field(default="", max_length=160, description=MODEL, examples=["demo"])


class TokenizeResponse(BaseModel):
    """The token ids of a text."""

    tokens: list[int] = Field(description="ids", examples=[[26, 101]])
    count: int = Field(description="how many", examples=[2])
    max_model_len: int = Field(description="tokens that one request may have", examples=[200000])


class DetokenizeRequest(_Request):
    """Token ids."""

    tokens: Annotated[list[TokenId], Field(fail_fast=True)] = Field(
        description="ids", examples=[[26, 101]]
    )
    model: PlainText = Field(default="", max_length=160, description=MODEL, examples=["demo"])


class DetokenizeResponse(BaseModel):
    """The text of token ids."""

    prompt: str = Field(description="the text", examples=["return the"])
