"""The repair of a cut language model: distillation from the original, in stages."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isslim.compress.devices import placed
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import log_probs
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import repairing
from isslim.compress.statistics.pieces import Pieces, spread_pieces
from isslim.compress.training.stages import Distillation, Stage, Trained

BY_HEART = math.log(1.4)
"""Nats by which a teacher predicts its training text better than others, above which it knows that
by heart: 0.45 of Penn Treebank at 2 x 400 units, 0.23 of Python's documentation at 2 x 256."""
COMPARED = 10_000
"""Tokens of each text that say which."""


@dataclass(frozen=True)
class Teaching:
    """What a cut network learns from.

    Attributes:
        soft: the teacher's share of the loss; the rest is that of the words.
        rate: highest learning rate of Adam.
    """

    soft: float
    rate: float


ALONE = Teaching(1.0, 2e-3)
"""From a text that the teacher wrote there is nothing to learn beyond its predictions."""
MOSTLY = Teaching(0.9, 2e-3)
"""Of a text that the teacher knows by heart. Penn Treebank, 2 x 400 units, 3 times fewer
multiply-adds: a rise of perplexity of 3.3 % becomes 1.4 % in 1000 steps with the teacher alone,
-0.1 % so; 150 steps with a quarter from the words won nothing, where the teacher alone won 1 %."""
TOGETHER = Teaching(0.75, 6e-3)
"""Of a text that the teacher predicts little better than others. Python's documentation, 2 x 256
units: a rise of 16 % becomes 0.3 % in 1200 steps, 2.8 % with a tenth from the words, and 2.3 % at
half the rate."""


def teaching_of(original: LanguageModel, training: Tensor, held_out: Tensor) -> Teaching:
    """What a network learns from on a text that people wrote.

    A teacher that predicts the training text little better than another one has more to learn from
    it, and a small network learns that directly. What one predicts that knows much of its text by
    heart generalises better than the words do.

    Args:
        original: the teacher.
        training: int64 (N,), what is trained on.
        held_out: int64 (M,), a text that it has not seen.
    """
    known, unknown = (
        -float(log_probs(original, spread_pieces(text, COMPARED)).mean())
        for text in (training, held_out)
    )
    return MOSTLY if unknown - known > BY_HEART else TOGETHER


def distillation(
    original: LanguageModel,
    training: Tensor,
    held_out: Pieces,
    teaching: Teaching = ALONE,
) -> Distillation[LanguageModel]:
    """Distillation from the original on a training text.

    Stages are compared on text that the teacher has not seen either: one that it was trained on, it
    knows in part by heart, and a network that learns to predict other texts better forgets that.

    Args:
        original: the teacher.
        training: int64 (N,).
        held_out: the pieces that the search evaluates on.
        teaching: what is learnt from, see `teaching_of`.
    """

    def evaluate(network: LanguageModel) -> float:
        loss = -float(log_probs(network, held_out).mean())
        return math.inf if math.isnan(loss) else loss

    def train_stage(network: LanguageModel, stage: Stage) -> Trained[LanguageModel]:
        plan = repairing(len(training), stage, rate=teaching.rate)
        # Without dropout, which takes more than so short a training can win back.
        student = network.rebuilt(network.arrays())
        with placed(student, original):
            outcome = train(
                student,
                begun_at(training, plan.batch, stage.steps * plan.steps),
                plan,
                teacher=original,
                checkpoint=stage.checkpoint,
                progress=stage.progress,
            )
        return Trained(
            outcome.network.cpu(),
            sum(epoch.steps for epoch in outcome.epochs),
            sum(epoch.seconds for epoch in outcome.epochs),
        )

    described = {"text": f"{len(training):,} tokens", "rate": str(teaching.rate)}
    return Distillation(train_stage, evaluate, described, soft=teaching.soft)


def begun_at(tokens: Tensor, batch: int, row: int) -> Tensor:
    """A text whose streams begin at a row of those of `tokens`, and end where that begins.

    So a stage reads on where the one before it stopped.

    Args:
        tokens: (N,).
        batch: streams, side by side as in `in_streams`.
        row: counted on behind the last, over and over.

    Returns:
        (N // batch * batch,).
    """
    rows = len(tokens) // batch
    return torch.roll(tokens[: rows * batch].view(batch, rows), -(row % rows), 1).flatten()
