"""How each kind of session runs what jobs ask for, and what may share a run.

Nothing shares a run of an int8 graph: its quantization scales span a whole run, and an answer must
not depend on what others ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.language.pieces import Piece, most_pieces, most_steps, run_pieces
from isslim.runtime.language.scoring import SequenceScore, scored_pieces
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.questions.answering import EncodedQuestion
from isslim.runtime.questions.session import QuestionSession, SpanScores, TokenBatch
from isslim.runtime.run_control import RunControl
from isslim.service.serving.batching import Job, Lane, Run

MAX_PIECES, MAX_TOKENS = 32, 256
"""Most pieces of a run, and tokens of all of them: more gain nothing, and end later."""
PADDING = 1 / 4
"""Part of a piece's steps that may be padding in a shared run."""
MAX_WINDOW_TOKENS = 800
"""Tokens of all windows of questions that share a run."""
SHORTEST_CUT = 16
"""Fewest steps to which a longer piece is shortened so that it fits: what remains of it is another
run, whose fixed cost must be worth it."""


@dataclass(frozen=True)
class LanguageRunner:
    """Runs pieces of texts (`Piece`)."""

    session: LanguageSession

    @property
    def lane(self) -> Lane:
        """As many runs at a time as there are slots."""
        return Lane(self)

    def choose(self, inputs: Sequence[Piece]) -> Sequence[int]:
        """Pieces of about the first one's length, and longer ones, of which the rest waits again.

        Args:
            inputs: pieces that wait, the most urgent first.
        """
        steps = len(inputs[0])
        most = min(MAX_PIECES, MAX_TOKENS // steps, most_pieces(self.session, steps))
        least, longest = steps * (1 - PADDING), _most_alike(steps)
        chosen = [0]
        for index in range(1, len(inputs)):
            if len(chosen) >= most:
                break
            length = len(inputs[index])
            if least <= length and (length <= longest or steps >= SHORTEST_CUT):
                chosen.append(index)
        return chosen

    def run(self, inputs: Sequence[Piece], control: RunControl) -> list[tuple[Any, float]]:
        """Scores of pieces, as far as they were run.

        Args:
            inputs: as chosen.
            control: may stop the run.
        """
        longest = _most_alike(len(inputs[0]))
        steps = max(len(piece) for piece in inputs if len(piece) <= longest)
        steps = min(steps, most_steps(self.session, len(inputs)))
        found = run_pieces(self.session.bound(control), inputs, steps)
        return [(each, float(len(each.log_probs))) for each in found]


def _most_alike(steps: int) -> float:
    """Steps of the longest piece for whose sake one of `steps` is padded."""
    return steps * (1 + PADDING)


def score_sequences(
    session: LanguageSession, sequences: Sequence[Sequence[int]], start_id: int | None, top_k: int
) -> Job[tuple[list[SequenceScore], float]]:
    """A job's part that scores token sequences; returns their scores and the seconds of its runs.

    Args:
        session: the variant.
        sequences: token ids of each, at least one.
        start_id: id of the token before the first; if None, the first token is given, not scored.
        top_k: how many of the most likely tokens to return at each position.

    Raises:
        TokenOutOfRange: when an id is not of the vocabulary.
    """
    runner, seconds = LanguageRunner(session), 0.0
    streams = [scored_pieces(session, each, start_id, top_k=top_k) for each in sequences]
    scores: dict[int, SequenceScore] = {}
    found: dict[int, Any] = dict.fromkeys(range(len(streams)))
    while True:
        pieces: dict[int, Piece] = {}
        for index, result in found.items():
            try:
                pieces[index] = streams[index].send(result)
            except StopIteration as ended:
                scores[index] = ended.value
        if not pieces:
            return [scores[index] for index in range(len(streams))], seconds
        done = yield [Run(runner, piece, float(len(piece))) for piece in pieces.values()]
        seconds += sum(each.seconds for each in done)
        found = {index: each.output for index, each in zip(pieces, done, strict=True)}


@dataclass(frozen=True)
class QuestionRunner:
    """Runs windows of contexts with their questions."""

    session: QuestionSession

    @property
    def lane(self) -> Lane:
        """As many runs at a time as there are slots."""
        return Lane(self)

    def choose(self, inputs: Sequence[tuple[TokenBatch, TokenBatch]]) -> Sequence[int]:
        """Windows of about the first one's length, whatever their questions.

        Args:
            inputs: windows and questions that wait, the most urgent first.
        """
        steps = len(inputs[0][0].vectors)
        most = 1 if self.session.integer else MAX_WINDOW_TOKENS // steps
        alike = [
            index
            for index, (window, _) in enumerate(inputs)
            if steps * (1 - PADDING) <= len(window.vectors) <= _most_alike(steps)
        ]
        return alike[: max(1, most)]

    def run(
        self, inputs: Sequence[tuple[TokenBatch, TokenBatch]], control: RunControl
    ) -> list[tuple[Any, float]]:
        """Scores of spans.

        Args:
            inputs: windows, each with its question.
            control: may stop the run.
        """
        windows, questions = zip(*inputs, strict=True)
        found = self.session.bound(control).run(
            TokenBatch.joined(windows), TokenBatch.joined(questions)
        )
        tokens = [len(window.vectors) for window in windows]
        return [(found.of(index, n), float(n)) for index, n in enumerate(tokens)]


def score_windows(
    session: QuestionSession, questions: Sequence[EncodedQuestion]
) -> Job[list[tuple[list[SpanScores], float]]]:
    """A job's part that runs all windows of questions.

    Args:
        session: the variant.
        questions: with their windows.

    Returns:
        For each question the scores of its windows, and the seconds of its runs.
    """
    runner = QuestionRunner(session)
    done = yield [
        Run(runner, (window, asked.question), float(len(window.vectors)))
        for asked in questions
        for _, window in asked.windows
    ]
    results, first = [], 0
    for asked in questions:
        own = done[first : first + len(asked.windows)]
        results.append(([each.output for each in own], sum(each.seconds for each in own)))
        first += len(asked.windows)
    return results


@dataclass(frozen=True)
class GraphRunner:
    """Runs arrays and names of outputs in the process of a graph, one after the other."""

    process: SubprocessGraphSession

    @property
    def lane(self) -> Lane:
        """One run at a time."""
        return Lane(self, 1)

    def choose(self, inputs: Sequence[Any]) -> Sequence[int]:
        """The first alone.

        Args:
            inputs: that wait.
        """
        return [0]

    def run(self, inputs: Sequence[Any], control: RunControl) -> list[tuple[Any, float]]:
        """The outputs, and the milliseconds that ONNX Runtime took.

        Args:
            inputs: arrays and names of outputs.
            control: stops the run by ending the process.
        """
        ((arrays, names),) = inputs
        return [(self.process.bound(control).run(arrays, names), 1.0)]
