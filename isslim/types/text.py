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
        description="stands before a text; null: its first token is given", examples=["<eos>"]
    )
    unknown_token: str | None = Field(
        description="what strange tokens become; null: refused", examples=["<unk>"]
    )
    newline_token: str | None = Field(
        description="what a line break becomes, word-level", examples=["<eos>"]
    )
