"""Evaluates a network's answers as the service gives them: the best span of bounded length.

Legend: B batch, T tokens of a context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from isslim.compress.devices import device_of, placed
from isslim.compress.kinds.questions.examples import Questions, batches
from isslim.compress.kinds.questions.metrics import Scores, score
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.runtime.questions.spans import best_spans

MAX_ANSWER_TOKENS = 30


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of a set of questions.

    Attributes:
        scores: exact match and F1.
        loss: mean over the examples whose answer is a span of tokens, in nats; NaN where none is.
        answers: the predicted texts.
    """

    scores: Scores
    loss: float
    answers: list[str]


def evaluate_on_device(network: Bidaf, questions: Questions) -> Evaluated:
    """`evaluate` on all questions, on the GPU where there is one.

    Args:
        network: left on the device where it was.
        questions: with golden answers.
    """
    with placed(network):
        return evaluate(network, questions)


@torch.no_grad()
def evaluate(
    network: Bidaf,
    questions: Questions,
    chosen: Sequence[int] | None = None,
    *,
    batch: int = 32,
    progress: Callable[[float], None] | None = None,
) -> Evaluated:
    """Answers questions and scores the answers.

    Args:
        network: left in the mode in which it was.
        questions: with golden answers.
        chosen: positions of those to answer; None: all.
        batch: B.
        progress: called with the share done, 0 to 1.

    Returns:
        `answers` are in the order of `chosen`.

    Raises:
        ValueError: when none is chosen.
    """
    wanted = list(range(len(questions.examples))) if chosen is None else list(chosen)
    mode = network.training
    network.eval()
    device = device_of(network)
    answers = [""] * len(wanted)
    losses: list[float] = []
    done = 0
    for places in batches([len(questions.examples[index].context_row) for index in wanted], batch):
        inputs = questions.distinct([wanted[place] for place in places], device)
        start, end = (found.cpu() for found in network.distinct(*inputs))
        for row, place in enumerate(places):
            example = questions.examples[wanted[place]]
            length = len(example.context_row)
            ours, last = start[row, :length].numpy(), end[row, :length].numpy()
            span = best_spans(ours, last, max_tokens=MAX_ANSWER_TOKENS)[0]
            answers[place] = example.context[
                example.tokens[span.start].start : example.tokens[span.end].end
            ]
            if example.span is not None:
                losses.append(-float(ours[example.span[0]]) - float(last[example.span[1]]))
        done += len(places)
        if progress is not None:
            progress(done / len(wanted))
    network.train(mode)
    golden = [questions.examples[index].golden for index in wanted]
    loss = sum(losses) / len(losses) if losses else float("nan")
    return Evaluated(score(zip(answers, golden, strict=True)), loss, answers)


@torch.no_grad()
def distance(network: Bidaf, original: Bidaf, questions: Questions, batch: int = 32) -> float:
    """How far a network's distributions of start and end are from the answers.

    Where a question has no answer that is a span of tokens, the original's distributions stand in.

    Args:
        network: in evaluation mode, on the device of the original.
        original: in evaluation mode.
        questions: of any length.
        batch: B.

    Returns:
        Mean negative log-likelihood of start and end, in nats per question.
    """
    total, device = 0.0, device_of(network)
    lengths = [len(each.context_row) for each in questions.examples]
    for chosen in batches(lengths, batch):
        inputs = questions.distinct(chosen, device)
        own, expected = network.distinct(*inputs), original.distinct(*inputs)
        for row, index in enumerate(chosen):
            span, length = questions.examples[index].span, lengths[index]
            for side in range(2):
                ours = own[side][row, :length]
                total -= float(
                    (expected[side][row, :length].exp() * ours).sum()
                    if span is None
                    else ours[span[side]]
                )
    return total / len(lengths)
