"""Calibrates and trains question answering models in the rounds of learn mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch

from isslim.compress.devices import placed
from isslim.compress.errors import ModeUnavailable
from isslim.compress.kinds.language.trainer import FRESH_READER_RATE, FRESH_WAIT
from isslim.compress.kinds.questions.activations import collect_question_activations
from isslim.compress.kinds.questions.evaluation import distance
from isslim.compress.kinds.questions.examples import Questions
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import QuestionPlan, ReaderTrainingOutcome
from isslim.compress.kinds.questions.training import train_reader
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.training.hooks import WeightLearner
from isslim.compress.training.learners.proximal import ProximalGroupLasso
from isslim.compress.training.resuming import resumed
from isslim.compress.training.stages import Distillation, Stage, Trained
from isslim.compress.training.trainer import Trainer, TrainingResult
from isslim.types.manifest import EpochPoint
from isslim.types.recipe import Recipe

DROPOUT = 0.1
"""Probability of dropout in the rounds of learn mode."""
SOFT = 0.5
"""The teacher's share of the loss in the repair of a cut; the rest is that of the answers."""
PASSES = 8
"""Passes over few questions in one stage of the repair of a cut, at most."""


class QuestionTrainer(Trainer[Bidaf]):
    """Trains on questions with or without answers: the teacher gives starts and ends.

    Args:
        original: the teacher.
        training: the training questions.
        held_out: questions that every epoch is evaluated on.
        recipe: its learner and seed count.
    """

    slack: ClassVar[float] = 4.0
    RATE, BATCH = 5e-4, 24

    def __init__(
        self, original: Bidaf, training: Questions, held_out: Questions, recipe: Recipe
    ) -> None:
        self._original, self._recipe = original, recipe
        self._training, self._held_out = training, held_out

    @property
    def data_description(self) -> str:
        """The number of training questions, in words."""
        return f"{len(self._training.examples):,} questions"

    def fresh(self) -> Bidaf:
        """A network of the original's sizes with random weights, as `train bidaf` starts with."""
        with torch.random.fork_rng():
            torch.manual_seed(self._recipe.seed)
            return Bidaf(self._original.spec)

    def collect_activations(self, network: Bidaf) -> ActivationStatistics:
        """Moments over training questions, spread over all."""
        return collect_question_activations(
            network, self._training.spread(self._recipe.calibration_questions)
        )

    def distil(
        self,
        network: Bidaf,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Bidaf]:
        """Distils with equal shares of answers and teacher; see `Trainer.distil`."""
        student = network.rebuilt(network.arrays(), DROPOUT)
        return self._trained(
            student, self._plan(epochs, round_), None, round_, checkpoint, progress
        )

    def learn(
        self,
        network: Bidaf,
        share: float,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Bidaf]:
        """Trains with the proximal group lasso; see `Trainer.learn`.

        Raises:
            ModeUnavailable: when the recipe asks for another learner.
        """
        if self._recipe.learner != "proximal":
            raise ModeUnavailable(
                f"the learner '{self._recipe.learner}' is not one of question answering; there are "
                "'calibrated' and 'proximal'"
            )
        plan = self._plan(epochs, round_)
        steps = max(1, round(len(self._training.examples) / plan.batch * plan.epochs))
        wait = 0
        if self._recipe.start == "scratch":
            plan, wait = replace(plan, rate=FRESH_READER_RATE), round(FRESH_WAIT * steps)
        student = network.rebuilt(network.arrays(), DROPOUT)
        learner = ProximalGroupLasso(share, steps, wait=wait)
        return self._trained(student, plan, learner, round_, checkpoint, progress)

    def repair(self, apart: Questions) -> Distillation[Bidaf]:
        """Distillation in stages after a cut.

        Args:
            apart: questions that stages are compared on, and that are not trained on.
        """

        def train_stage(network: Bidaf, stage: Stage) -> Trained[Bidaf]:
            plan = replace(
                self._plan(1.0, stage.number),
                minutes=stage.minutes,
                most_epochs=PASSES,
                soft=stage.soft,
                rate=stage.share * self.RATE,
                final_rate=stage.share * self.RATE / 10,
            )
            # Without dropout of its layers, which a short training does not win back; that of words
            # varies the questions.
            student = network.rebuilt(network.arrays())
            found = self._trained(student, plan, None, 0, stage.checkpoint, stage.progress)
            return Trained(
                found.network,
                sum(each.steps for each in found.epochs),
                sum(each.seconds for each in found.epochs),
            )

        def evaluate(network: Bidaf) -> float:
            with placed(network, self._original):
                return distance(network, self._original, apart)

        described = {
            "questions": f"{len(self._training.examples):,}",
            "seed": f"{self._recipe.seed}",
        }
        return Distillation(train_stage, evaluate, described, soft=SOFT)

    def _plan(self, epochs: float, round_: int) -> QuestionPlan:
        return QuestionPlan(
            epochs=epochs,
            batch=max(1, min(self.BATCH, len(self._training.examples) // 8)),
            rate=self.RATE,
            final_rate=self.RATE / 10,
            average=0.99,
            validation=300,
            seed=self._recipe.seed + round_,
            keep="last",
        )

    def _trained(
        self,
        student: Bidaf,
        plan: QuestionPlan,
        learner: WeightLearner | None,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Bidaf]:
        def go() -> ReaderTrainingOutcome:
            return train_reader(
                student,
                self._training,
                self._held_out,
                plan,
                teacher=self._original,
                learner=learner,
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
                training_value=each.training_loss,
                held_out_value=each.f1,
            )
            for each in trained.epochs
        ]
        return TrainingResult(trained.network, points, trained.kept)
