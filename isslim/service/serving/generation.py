"""Texts that are written for one request: in turns, whose tokens are handed over together.

A switch to the connection's thread and back for every token would take as long as the token: a turn
lasts some milliseconds, and the next one begins when the sender has taken what there is. It
consists of runs, between which others have theirs.

A text with a seed shares no run: results that differ in their last bits may lead to other tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from isslim.runtime.language.completion import Completion, Written
from isslim.runtime.language.generation import Position, beginning, read_pieces
from isslim.runtime.language.pieces import Piece
from isslim.runtime.language.scoring import SequenceScore
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.runtime.run_control import RunControl
from isslim.service.problems import RequestError
from isslim.service.serving.admission import Ticket
from isslim.service.serving.batching import Job, Lane, Run
from isslim.service.serving.executor import Executor
from isslim.service.serving.runners import LanguageRunner
from isslim.settings.service import ServiceSettings

TURN_SECONDS, RUN_SECONDS = 0.02, 0.004
"""How long a turn lasts, and one run of a text that is alone in it."""


@dataclass(frozen=True)
class SoloRunner(LanguageRunner):
    """Runs pieces that share no run."""

    def choose(self, inputs: Sequence[Piece]) -> Sequence[int]:
        """The first alone.

        Args:
            inputs: pieces that wait.
        """
        return [0]


def check_generated(tokens: int, entries_each: int, settings: ServiceSettings) -> None:
    """Refuses an answer that would be too long, before anything is run.

    Args:
        tokens: most that all its texts may have.
        entries_each: log-probabilities of each.
        settings: with the limits.

    Raises:
        RequestError: (too-large) with the limit that it exceeds.
    """
    for number, most, what in (
        (tokens, settings.generated_limit, "tokens would be generated"),
        (tokens * entries_each, settings.entries_limit, "log-probabilities would be returned"),
    ):
        if number > most:
            raise RequestError(
                "too-large",
                f"up to {number:,} {what}; at most {most:,} in one request",
                [{"pointer": "/body/max_tokens", "detail": "ask for less"}],
            )


@dataclass(frozen=True)
class Prompt:
    """What stands before the text that is written.

    Attributes:
        ids: tokens to be read.
        before: where they begin; None: they are the beginning.
    """

    ids: Sequence[int]
    before: Position | None

    @classmethod
    def of_ids(cls, ids: Sequence[int], session: LanguageSession, codec: TextCodec) -> Prompt:
        """Tokens as they are; where there are none, the start token.

        Args:
            ids: of the tokens.
            session: that reads them.
            codec: of the tokens.

        Raises:
            RequestError: (invalid-request) when there are none, and no start token.
        """
        return cls(ids, None) if ids else cls.after_start(ids, session, codec)

    @classmethod
    def after_start(cls, ids: Sequence[int], session: LanguageSession, codec: TextCodec) -> Prompt:
        """Tokens of a text as they are scored: behind the start token, where there is one.

        Args:
            ids: of the tokens.
            session: that reads them.
            codec: of the tokens.

        Raises:
            RequestError: (invalid-request) when there are none, and no start token.
        """
        if codec.start_id is not None:
            return cls(ids, beginning(session, codec.start_id))
        if not ids:
            raise RequestError(
                "invalid-request",
                "the model has no start token: a prompt of at least one token is needed",
                [{"pointer": "/body/prompt", "detail": "it holds no token"}],
            )
        return cls(ids, None)


@dataclass
class ReadPrompt:
    """A prompt that was read by one model.

    Attributes:
        position: behind its last token.
        scores: of its tokens, in their order.
        seconds: that it took.
    """

    position: Position
    scores: SequenceScore
    seconds: float


def read_prompt(session: LanguageSession, prompt: Prompt, top_k: int = 0) -> Job[ReadPrompt]:
    """A job's part that reads a prompt.

    Args:
        session: of the model.
        prompt: to be read.
        top_k: how many of the most likely tokens to find at each place.
    """
    if not prompt.ids and prompt.before is not None:
        return ReadPrompt(prompt.before, SequenceScore(np.empty(0, np.float32)), 0.0)
    # Alone: what is drawn depends on the last bits of a prompt's states.
    runner, seconds, found = SoloRunner(session), 0.0, None
    pieces = read_pieces(session, prompt.ids, prompt.before, top_k=top_k)
    while True:
        try:
            piece = pieces.send(found)  # type: ignore[arg-type]
        except StopIteration as ended:
            position, scores = ended.value
            return ReadPrompt(position, scores, seconds)
        (done,) = yield [Run(runner, piece, float(len(piece)))]
        seconds, found = seconds + done.seconds, done.output


@dataclass(frozen=True)
class SoloWriter:
    """Writes texts that share no run, several tokens at a time: that saves a turn for each."""

    session: LanguageSession

    @property
    def lane(self) -> Lane:
        """As many runs at a time as there are slots."""
        return Lane(self)

    def choose(self, inputs: Sequence[tuple[Completion, float]]) -> Sequence[int]:
        """The first alone.

        Args:
            inputs: texts that wait.
        """
        return [0]

    def run(
        self, inputs: Sequence[tuple[Completion, float]], control: RunControl
    ) -> list[tuple[list[Written], float]]:
        """At least one token of a text, and more for so many seconds.

        Args:
            inputs: a text that has not ended, and the seconds.
            control: stops the run.
        """
        ((text, seconds),) = inputs
        session, before, written = self.session.bound(control), text.drawn, list[Written]()
        until = time.perf_counter() + seconds
        while True:
            written += text.advance(session)
            if text.finish_reason is not None or time.perf_counter() >= until:
                return [(written, float(text.drawn - before))]


@dataclass(eq=False)
class Writing:
    """A text that one model is writing.

    Attributes:
        session: of the model.
        completion: the text.
        is_alone: whether its runs are shared with no other text.
        seconds: that its tokens took so far: their part of the runs, and what draws them.
    """

    session: LanguageSession
    completion: Completion
    is_alone: bool
    seconds: float = 0.0
    _begun: bool = field(default=False, repr=False)

    def turn(self) -> Job[list[Written]]:
        """Writes on for a while; the first turn is one token, which its reader waits for.

        Returns:
            The tokens whose text is certain now.
        """
        began, written = time.perf_counter(), list[Written]()
        steps = self._alone if self.is_alone else self._shared
        while self.completion.finish_reason is None:
            written += yield from steps()
            if not self._begun or time.perf_counter() - began > TURN_SECONDS:
                break
        self._begun = True
        return written

    def _alone(self) -> Job[list[Written]]:
        """Several tokens."""
        text, seconds = self.completion, RUN_SECONDS if self._begun else 0.0
        (done,) = yield [Run(SoloWriter(self.session), (text, seconds), 1.0)]
        self.seconds += done.seconds
        written: list[Written] = done.output
        return written

    def _shared(self) -> Job[list[Written]]:
        """One token."""
        piece = self.completion.stream.piece()
        (done,) = yield [Run(LanguageRunner(self.session), piece, 1.0)]
        drawing = time.perf_counter()
        written = self.completion.take(done.output)
        self.seconds += done.seconds + time.perf_counter() - drawing
        return written


async def write(
    writings: Sequence[Writing], executor: Executor, ticket: Ticket, owner: object
) -> AsyncIterator[tuple[int, list[Written]]]:
    """Writes texts to their ends, in turn.

    Args:
        writings: the texts.
        executor: that runs the turns.
        ticket: of the request; all waits are added to it.
        owner: of the texts' tokenizer, see `Executor.submit`.

    Yields:
        After every turn the index of the text, and its tokens whose text is certain now.
    """
    waiting = deque(
        index for index, each in enumerate(writings) if each.completion.finish_reason is None
    )
    while waiting:
        index = waiting.popleft()
        yield index, await executor.submit(writings[index].turn(), ticket, owner)
        if writings[index].completion.finish_reason is None:
            waiting.append(index)
