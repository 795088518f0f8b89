"""The repair of a cut language model: distillation from the original, in stages."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isslim.compress.devices import placed
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import log_probs
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import distilling_dropout, repairing
from isslim.compress.pruning import axes
from isslim.compress.statistics.pieces import spread_pieces
from isslim.compress.training.stages import Distillation, Stage, Trained

APART = 10_000
"""Tokens of the training text that stages are compared on, and not trained on, at most."""
APART_SHARE = 0.1
"""Of the training text, at most."""


def distillation(
    original: LanguageModel, tokens: Tensor, seed: int, *, has_labels: bool = False
) -> Distillation[LanguageModel]:
    """Distillation from the original on a training text, whose end is kept apart.

    Args:
        original: the teacher.
        tokens: int64 (N,), the training text.
        seed: of dropout.
        has_labels: whether people wrote the text; from one that the original wrote there is
            nothing to learn beyond its predictions.
    """
    apart = max(36, min(APART, int(APART_SHARE * len(tokens))))
    training, held_back = tokens[:-apart], spread_pieces(tokens[-apart:], apart)

    def evaluate(network: LanguageModel) -> float:
        loss = -float(log_probs(network, held_back).mean())
        return math.inf if math.isnan(loss) else loss

    def train_stage(network: LanguageModel, stage: Stage) -> Trained[LanguageModel]:
        plan = repairing(len(training), stage, seed=seed + stage.number)
        dropout = distilling_dropout(axes.parameters(network.declaration()), len(training))
        student = network.rebuilt(network.arrays(), dropout)
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
    return Distillation(train_stage, evaluate, described, has_labels=has_labels)


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
