"""What the bodies of several requests have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

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


class TooMany(ValueError):
    """A list holds more items than are allowed in one request."""


def at_most(key: str, what: str) -> BeforeValidator:
    """Refuses a list that is too long as a whole, before any of its items is validated.

    Args:
        key: of the limit in the validation's context; a client has none.
        what: the name of the items, in the plural.

    Raises:
        TooMany: when it is used, in pydantic's `ValidationError`.
    """

    def check(value: object, info: ValidationInfo) -> object:
        limit = (info.context or {}).get(key)
        if limit is not None and isinstance(value, list) and len(value) > limit:
            raise TooMany(f"{len(value)} {what}; at most {limit} in one request")
        return value

    return BeforeValidator(check)


PlainText = Annotated[str, AfterValidator(_plain)]
SomeText = Annotated[str, Field(min_length=1), AfterValidator(_plain)]
"""Not empty; in this order the refusal is about characters."""
MAX_VARIANTS, MAX_OUTPUTS = 16, 1000
"""Limit for one request: more than any model has."""
Variants = Annotated[
    list[VariantName],
    Field(max_length=MAX_VARIANTS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_once),
]
VARIANTS = (
    "one, or several to compare; empty: the original and the recommended one, on a GPU of those "
    "in float32"
)
MAX_STATE_CHARACTERS = 1_400_000
"""More than the largest state that the service makes."""
STATE = (
    "as an earlier answer of `/score` or `/generate` returned it: its text goes on as if it had "
    "been one request, in constant time and memory"
)
RETURNED_STATE = "where the texts stand, for a later request; good for `ISS_STATE_SECONDS`"
SIGNED = "1.eyJtb2RlbCI6.Zm9v"
"""An example of a state."""
DEVICE = "`cpu`, or `cuda` where there is one"
TokenId = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""Any 64-bit number; the runtime checks whether the vocabulary has it."""
