"""Calibrates and trains language models in the rounds of learn mode.

All training distils from the original; the learners are in `isslim/compress/training/learners/`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from isslim.compress.devices import placed
from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.texts import Texts
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import (
    TrainingOutcome,
    distilling,
    distilling_dropout,
)
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.statistics.pieces import spread_pieces
from isslim.compress.training.along import train_together
from isslim.compress.training.hooks import Learner
from isslim.compress.training.learners.gates import HardConcreteGates
from isslim.compress.training.learners.group_lasso import PaperGroupLasso
from isslim.compress.training.learners.proximal import ProximalGroupLasso
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.resuming import resumed
from isslim.compress.training.trainer import Trainer, TrainingResult
from isslim.types.manifest import EpochPoint
from isslim.types.recipe import Recipe

FRESH_LASSO_RATE, WARM_RATE = 0.6, 0.2
"""Learning rates of `group_lasso` for random and for uploaded weights, in the scale of the summed
loss. The paper's 1.0 is for 1500 units; 50 diverge with it."""
FRESH_SCALE, FRESH_READER_RATE = 0.1, 1e-3
"""Range of random weights, and Adam's learning rate for a question answering model with such."""
FRESH: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 20.0, "clip": 0.25}
"""The plan of the other learners for random weights."""
FRESH_WAIT = 0.4
"""Share of a learner's steps before it removes anything from random weights: early on their norms
do not show yet which components are weak."""


class LanguageTrainer(Trainer[LanguageModel]):
    """Trains on the training text, with the schedules of `kinds/language/training/plan.py`.

    Args:
        original: the teacher.
        texts: training and held-out text.
        recipe: its learner, strength and seed count.
    """

    slack: ClassVar[float] = 0.12

    def __init__(self, original: LanguageModel, texts: Texts, recipe: Recipe) -> None:
        self._original, self._texts, self._recipe = original, texts, recipe

    @property
    def data_description(self) -> str:
        """The number of training tokens, in words."""
        return f"{len(self._texts.training):,} tokens"

    def fresh(self) -> LanguageModel:
        """A network of the original's sizes with uniform weights, as `train` starts with."""
        network = self._original.rebuilt(self._original.arrays())
        network.initialise(FRESH_SCALE, torch.Generator().manual_seed(self._recipe.seed))
        return network

    def collect_activations(self, network: LanguageModel) -> ActivationStatistics:
        """Moments over pieces of the training text."""
        training = self._texts.training
        return collect_activations(
            network, spread_pieces(training, self._recipe.calibration_tokens), whole=training
        )

    def distil(
        self,
        network: LanguageModel,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[LanguageModel]:
        """Distils with the gentle schedule of `distilling`; see `Trainer.distil`."""
        return self._trained(
            network, self._plan(epochs, round_), None, round_, checkpoint, progress
        )

    def learn(
        self,
        network: LanguageModel,
        share: float,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[LanguageModel]:
        """Trains with the recipe's learner; see `Trainer.learn`.

        The paper's group lasso has a loss scale, an optimizer and a schedule of its own.
        """
        recipe, plan = self._recipe, self._plan(epochs, round_)
        steps = max(
            1, round((len(self._texts.training) // plan.batch - 1) // plan.steps * plan.epochs)
        )
        warm, wait = recipe.start == "uploaded", 0
        if not warm:
            plan, wait = replace(plan, **FRESH), round(FRESH_WAIT * steps)
        learner: Learner
        if recipe.learner == "group_lasso":
            plan = replace(
                plan, loss="sum_over_steps", optimizer="sgd", schedule="paper_iss",
                learning_rate=WARM_RATE if warm else FRESH_LASSO_RATE, clip=10.0,
            )  # fmt: skip
            learner = PaperGroupLasso(recipe.strength, shrink=True)
        elif recipe.learner == "l0":
            learner = HardConcreteGates(
                share, steps, wait=wait, embedding=recipe.prune_embedding, seed=recipe.seed + round_
            )
        else:
            learner = ProximalGroupLasso(share, steps, wait=wait, embedding=recipe.prune_embedding)
        return self._trained(network, plan, learner, round_, checkpoint, progress)

    def _plan(self, epochs: float, round_: int) -> TrainingPlan:
        return distilling(len(self._texts.training), seed=self._recipe.seed + round_, epochs=epochs)

    def _trained(
        self,
        network: LanguageModel,
        plan: TrainingPlan,
        learner: Learner | None,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[LanguageModel]:
        size = axes.parameters(network.declaration())
        student = network.rebuilt(
            network.arrays(), distilling_dropout(size, len(self._texts.training))
        )
        valid = spread_pieces(self._texts.held_out, self._recipe.held_out_tokens).flat

        def go() -> TrainingOutcome:
            return train_together(
                train,
                student,
                self._texts.training,
                plan,
                teacher=self._original,
                learner=learner,
                valid=valid,
                checkpoint=checkpoint,
                progress=progress,
            )

        with placed(student, self._original):
            trained = resumed(go, checkpoint)
        trained.network.cpu()
        points = [
            EpochPoint(
                round=round_ + 1,
                seconds=each.seconds,
                steps=each.steps,
                units=each.units,
                training_value=each.training_perplexity,
                held_out_value=each.valid_perplexity or math.nan,
            )
            for each in trained.epochs
        ]
        return TrainingResult(trained.network, points, trained.kept)
