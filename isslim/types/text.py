"""How a text becomes scored tokens, as a bundle records it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from isslim.types.recipe import StrictModel


class TextContract(StrictModel):
    """How a text becomes scored tokens, recorded so that a score can be repeated.

    `isslim/runtime/language/text.py` says what each field does.
    """

    unit: Literal["word", "character", "subword"] = Field(
        description="what one token is", examples=["word"]
    )
    vocabulary: int = Field(description="number of tokens", examples=[10000])
    start_token: str | None = Field(
        description="token that precedes a text; null: the first token is given, not scored",
        examples=["<eos>"],
    )
    unknown_token: str | None = Field(
        description="token that replaces unknown ones; null: they are refused", examples=["<unk>"]
    )
    newline_token: str | None = Field(
        description="token that replaces a line break, word-level", examples=["<eos>"]
    )
