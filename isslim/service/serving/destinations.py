"""What a model's name in a request means: a model, or what an alias sends this request to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isslim.store.errors import ModelGone, NotFound
from isslim.types.manifest import VariantName
from isslim.types.schemas.aliases import Alias, Candidate, Target


@dataclass(frozen=True)
class Destination:
    """Where a request goes.

    Attributes:
        model: id of the model.
        variant: that the alias names; None: the request chooses.
        alias: that was asked, if one was.
        is_canary: whether the alias's canary answers.
    """

    model: str
    variant: VariantName | None = None
    alias: Alias | None = None
    is_canary: bool = False

    @contextmanager
    def there(self) -> Iterator[None]:
        """Says what is wrong where an alias still points at a model that is gone.

        Raises:
            ModelGone: in place of `NotFound`.
        """
        try:
            yield
        except NotFound as error:
            if self.alias is None:
                raise
            raise ModelGone(self.alias.alias, self.model) from error


def destination(meaning: Alias | str, key: str, continued: str | None = None) -> Destination:
    """Where a request goes.

    Args:
        meaning: of the name: the id of a model, or an alias.
        key: of the sender, or else of the request; equal ones go to the same model.
        continued: id of the model that has read the text so far, where that is known: of the
            alias's two it is the one that can go on.
    """
    if isinstance(meaning, str):
        return Destination(meaning)
    canary = meaning.canary
    chosen: Target = meaning
    if canary is not None:
        is_known = canary.model != meaning.model and continued in (canary.model, meaning.model)
        is_chosen = is_among(key, canary, f"canary of {meaning.alias}")
        chosen = canary if (continued == canary.model if is_known else is_chosen) else meaning
    return Destination(chosen.model, chosen.variant, meaning, chosen is canary)


def is_among(key: str, candidate: Candidate, purpose: str) -> bool:
    """Whether a request is of the share that tries a candidate.

    Args:
        key: of the sender or the request.
        candidate: with its share; each is tried by others.
        purpose: each has a share of its own.
    """
    text = f"{purpose}\n{candidate}\n{key}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) < candidate.share * 2**64
