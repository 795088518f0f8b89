"""How BiDAF is trained, and what training returns: the values on both sides of the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.questions.networks.bidaf import Bidaf

Progress = Callable[[float, str], None]
"""Told the share done (0 to 1) and a line to show."""


@dataclass(frozen=True)
class QuestionPlan:
    """How BiDAF is trained.

    Attributes:
        epochs: over the training questions; the last may be a part of one.
        minutes: ends the run by the clock instead.
        soft: the teacher's share of the loss, where there is a teacher.
        batch: B.
        rate: Adam's learning rate.
        final_rate: where the rate goes, in a line over the last half of the run; the same as
            `rate`: constant.
        clip: largest norm of the gradient.
        word_dropout: probability that a word's vector is not shown, wherever it stands in the
            batch: the characters and the other text have to tell. Of all that was tried on 16,000
            questions nothing did as much: F1 56 instead of 41.
        average: decay of the moving average of the weights, per step; it starts faster.
        longest_context: examples with more tokens in the context are not trained on.
        longest_question: likewise.
        validation: how many validation questions are answered after each epoch, spread evenly over
            the set.
        checkpoint_minutes: between checkpoints; one is written after each epoch, too.
        seed: of the order of examples and of dropout.
        keep: return the average of the last epoch, or of the one that answered best.
    """

    epochs: float = 10
    minutes: float | None = None
    soft: float = 0.5
    batch: int = 32
    rate: float = 1e-3
    final_rate: float = 1e-3
    clip: float = 5.0
    word_dropout: float = 0.15
    average: float = 0.999
    longest_context: int = 400
    longest_question: int = 30
    validation: int = 1000
    checkpoint_minutes: float = 5.0
    seed: int = 0
    keep: Literal["best", "last"] = "best"


@dataclass(frozen=True)
class QuestionEpoch:
    """What an epoch came to: losses in nats per question, scores 0 to 100 of the averaged weights.

    Attributes:
        steps: how many it had.
        units: size of every prunable axis while it ran.
    """

    epoch: int
    training_loss: float
    validation_loss: float
    em: float
    f1: float
    seconds: float
    steps: int = 0
    units: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReaderTrainingOutcome:
    """An averaged network, in evaluation mode, and the curve.

    Attributes:
        best: the epoch that answered best; whose average the network is, as the plan says.
        kept: per axis that lost components in training, which of the given network's are left,
            ascending.
    """

    network: Bidaf
    epochs: list[QuestionEpoch]
    best: int
    kept: dict[str, NDArray[np.int64]] = field(default_factory=dict)
