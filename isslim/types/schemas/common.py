"""What the bodies of several requests have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from isslim.types.manifest import VariantName


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
