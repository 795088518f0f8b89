"""Text that a model adds: tokens with their pieces of text, until a limit or a stop is reached.

A token is handed out once its text is certain: what may be the beginning of a stop is held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from isslim.runtime.language.detokenizing import Detokenizer
from isslim.runtime.language.generation import Drawn, TokenStream
from isslim.runtime.language.pieces import PieceScores
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Ends:
    """Where a text ends.

    Attributes:
        max_tokens: after so many.
        stops: before any of these: in the decoded text, or as a token's own spelling in the
            vocabulary; none is empty.
        end_id: before this token; None: no token ends a text.
    """

    max_tokens: int
    stops: Sequence[str] = ()
    end_id: int | None = None


class Written(NamedTuple):
    """A token with its text.

    Attributes:
        drawn: the token.
        text: what it adds; joined, these are the text.
    """

    drawn: Drawn
    text: str


class Completion:
    """What one model adds to one text.

    Args:
        stream: of the tokens; its position then is behind all that were drawn, the stop included.
        codec: of the tokens.
        ends: where it ends.

    Attributes:
        drawn: how many tokens were drawn.
        finish_reason: None: it goes on.
    """

    def __init__(self, stream: TokenStream, codec: TextCodec, ends: Ends) -> None:
        self.stream, self.drawn = stream, 0
        self.finish_reason: FinishReason | None = None if ends.max_tokens else "length"
        self._codec, self._ends = codec, ends
        self._pieces = Detokenizer(codec, stream.position.context)
        self._held: list[Written] = []

    def advance(self, session: LanguageSession) -> list[Written]:
        """Draws a token; returns those whose text is certain now. Not called after the end.

        Args:
            session: of the graph that writes.
        """
        return self._written(self.stream.draw(session))

    def take(self, scores: PieceScores) -> list[Written]:
        """As `advance`, from the results of the run that `stream.piece` asks for."""
        return self._written(self.stream.take(scores.of_all[0], scores.state))

    def _written(self, drawn: Drawn) -> list[Written]:
        self.drawn += 1
        if drawn.id == self._ends.end_id or self._codec.token(drawn.id) in self._ends.stops:
            self.finish_reason = "stop"
            return self._released()
        self._held.append(Written(drawn, self._pieces.add(drawn.id)))
        text = "".join(each.text for each in self._held)
        found = [at for stop in self._ends.stops if (at := text.find(stop)) >= 0]
        if found:
            self.finish_reason = "stop"
            return self._up_to(min(found))
        if self.drawn == self._ends.max_tokens:
            self.finish_reason = "length"
            return self._released()
        if not self._pieces.complete:
            return []
        return self._up_to(len(text) - _held_back(text, self._ends.stops))

    def _released(self) -> list[Written]:
        """All that is held, at the end; the last token takes what is left of the text."""
        released, self._held = self._held, []
        if released:
            released[-1] = released[-1]._replace(text=released[-1].text + self._pieces.end())
        return released

    def _up_to(self, length: int) -> list[Written]:
        """The tokens within so many characters of the held text.

        At the end, of the last one as much of its text as is within them.
        """
        ended, released = self.finish_reason is not None, list[Written]()
        for each in self._held:
            if len(each.text) > length:
                if ended and length > 0:
                    released.append(each._replace(text=each.text[:length]))
                break
            released.append(each)
            length -= len(each.text)
        self._held = [] if ended else self._held[len(released) :]
        return released


def _held_back(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of a stop."""
    most = min(len(text), max(map(len, stops), default=1) - 1)
    return next(
        (n for n in range(most, 0, -1) if any(stop.startswith(text[-n:]) for stop in stops)), 0
    )
