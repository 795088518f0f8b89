"""How BiDAF is trained, and the values that training returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.questions.networks.bidaf import Bidaf


@dataclass(frozen=True)
class QuestionPlan:
    """How BiDAF is trained.

    Attributes:
        epochs: over the training questions; the last may be a part of one.
        minutes: ends the run by the clock instead.
        most_epochs: with `minutes`, ends the run after so many epochs where that is earlier.
        soft: the teacher's share of the loss, where there is a teacher.
        batch: B.
        rate: Adam's learning rate.
        final_rate: the learning rate at the end, linearly reached over the last half of the run;
            the same as `rate`: constant.
        clip: largest norm of the gradient.
        word_dropout: probability that a word's vector is masked at all its positions in the batch,
            so that its characters and the other words have to do. Of all variants on 16,000
            questions it gained the most: F1 56 instead of 41.
        average: decay of the moving average of the weights, per step; smaller at the start.
        longest_context: tokens; examples with longer contexts are not trained on.
        longest_question: tokens, likewise.
        validation: number of validation questions that are answered after each epoch, spread evenly
            over the set.
        checkpoint_minutes: between checkpoints; one is written after each epoch, too.
        seed: of the order of examples and of dropout.
        keep: return the average after the last epoch, or after the one with the best F1.
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
    most_epochs: float | None = None


@dataclass(frozen=True)
class QuestionEpoch:
    """The record of one epoch.

    Attributes:
        epoch: counted from 1.
        training_loss: in nats per question.
        validation_loss: of the averaged weights, in nats per question.
        em: exact match of the averaged weights, 0 to 100.
        f1: of the averaged weights, 0 to 100.
        seconds: of its steps, without validation.
        steps: number of batches.
        units: size of every prunable axis during the epoch.
        removed: per axis, components that count as removed at its end.
        group_norms: per axis of units, the quantiles of their groups' norms at its end (see
            `isslim.compress.training.sparsity`).
    """

    epoch: int
    training_loss: float
    validation_loss: float
    em: float
    f1: float
    seconds: float
    steps: int = 0
    units: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    group_norms: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ReaderTrainingOutcome:
    """The result of a run.

    Attributes:
        network: averaged, in evaluation mode.
        epochs: one record each.
        best: the number of the epoch with the best F1.
        steps_of_an_epoch: batches of a whole one.
        kept: by axis that lost components in training, the indices of the given network's that are
            left, ascending.
    """

    network: Bidaf
    epochs: list[QuestionEpoch]
    best: int
    steps_of_an_epoch: int
    kept: dict[str, NDArray[np.int64]] = field(default_factory=dict)
