"""The text of tokens as they come, one piece each: pieces joined are the text of all."""

from __future__ import annotations

from collections.abc import Sequence

from isslim.runtime.language.text import TextCodec

CONTEXT = 8
"""Tokens that may change how the next one is written: where a subword is several bytes of a
character, of which a token may hold one."""
INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""Decoded from the beginning of a character whose other bytes are yet to come."""
MAX_HELD = 32
"""Tokens after which an incomplete character is taken for one that never will be complete."""


class Detokenizer:
    """Decodes tokens one by one. Joined, the pieces and the rest are what `decode` makes of all.

    Args:
        codec: of the tokens.
        context: ids of the tokens before; the pieces continue their text.

    Attributes:
        complete: whether the pieces so far end with a whole character.
    """

    def __init__(self, codec: TextCodec, context: Sequence[int] = ()) -> None:
        self._codec, self.complete = codec, True
        self._ids = list(context[-CONTEXT:])
        self._given = len(self._decoded().removesuffix(INCOMPLETE))

    def add(self, token_id: int) -> str:
        """The text that the next token adds; empty while it ends within a character."""
        if self._codec.contract.unit != "subword":
            piece = self._codec.added(token_id, self._ids[-1] if self._ids else None)
            self._ids = [token_id]
            return piece
        self._ids.append(token_id)
        text = self._decoded()
        self.complete = not text.endswith(INCOMPLETE) or len(self._ids) > MAX_HELD
        if not self.complete:
            return self._new(text[:-1])
        piece = self._new(text)
        self._ids = self._ids[-CONTEXT:]
        self._given = len(self._decoded())
        return piece

    def end(self) -> str:
        """The rest, when no more tokens come."""
        return self._new(self._decoded()) if self._codec.contract.unit == "subword" else ""

    def _decoded(self) -> str:
        return self._codec.decode(self._ids)

    def _new(self, text: str) -> str:
        piece, self._given = text[self._given :], max(self._given, len(text))
        return piece
