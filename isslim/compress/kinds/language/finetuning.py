"""The repair of a cut language model: distillation from the original, in stages."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isslim.compress.devices import placed
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import log_probs
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import repairing
from isslim.compress.statistics.pieces import spread_pieces
from isslim.compress.training.stages import TEACHER_ALONE, Distillation, Stage, Trained

APART = 10_000
"""Tokens of the training text that stages are compared on, and not trained on, at most."""
APART_SHARE = 0.1
"""Of the training text, at most."""
WITH_LABELS = 0.75
"""The teacher's share of the loss where the words teach too."""
BY_HEART = math.log(1.4)
"""Nats by which a teacher predicts its training text better than others, above which it teaches
alone. Penn Treebank at 2 x 400 units (0.45 nats): of a rise of perplexity of 5.4 %, 150 steps leave
4.4 % with the teacher alone and 5.4 % with the words; Python's documentation at 2 x 256 (0.23
nats): of 10 %, 600 steps leave 4.5 % and 2.1 %."""
COMPARED = 10_000
"""Tokens of each text that say which."""


def teachers_share(original: LanguageModel, training: Tensor, held_out: Tensor) -> float:
    """The teacher's share of the loss on a text that people wrote; the rest is the words' own.

    A teacher that predicts the training text little better than another one has more to learn from
    it, and a small network learns that directly. One that knows much of it by heart has not: its
    predictions generalise better than the words.

    Args:
        original: the teacher.
        training: int64 (N,), what is trained on.
        held_out: int64 (M,), a text that it has not seen.
    """
    known, unknown = (
        -float(log_probs(original, spread_pieces(text, COMPARED)).mean())
        for text in (training, held_out)
    )
    return TEACHER_ALONE if unknown - known > BY_HEART else WITH_LABELS


def distillation(
    original: LanguageModel, tokens: Tensor, seed: int, soft: float = TEACHER_ALONE
) -> Distillation[LanguageModel]:
    """Distillation from the original on a training text, whose end is kept apart.

    Args:
        original: the teacher.
        tokens: int64 (N,), the training text.
        seed: of the training.
        soft: the teacher's share of the loss, see `teachers_share`; from a text that the original
            wrote there is nothing to learn beyond its predictions.
    """
    apart = max(36, min(APART, int(APART_SHARE * len(tokens))))
    training, held_back = tokens[:-apart], spread_pieces(tokens[-apart:], apart)

    def evaluate(network: LanguageModel) -> float:
        loss = -float(log_probs(network, held_back).mean())
        return math.inf if math.isnan(loss) else loss

    def train_stage(network: LanguageModel, stage: Stage) -> Trained[LanguageModel]:
        plan = repairing(len(training), stage, seed=seed + stage.number)
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

    described = {"text": f"{len(tokens):,} tokens", "seed": str(seed)}
    return Distillation(train_stage, evaluate, described, soft=soft)


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
