"""How the rounds of learn mode observe and train a kind of network: on text, or on questions.

Both distil from the original; what a learner does to the network in training is in `compress/learners/`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from isslim.compress.contract import Model, Tell
from isslim.compress.devices import placed
from isslim.compress.errors import CheckpointRefused, ModeUnavailable
from isslim.compress.kinds.language.activations import Observed, observe
from isslim.compress.kinds.language.texts import Texts
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import (
    Trained,
    TrainingPlan,
    distilling,
    distilling_dropout,
)
from isslim.compress.kinds.questions.activations import observe_questions
from isslim.compress.kinds.questions.examples import Questions
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import QuestionPlan, TrainedReader
from isslim.compress.kinds.questions.training import train_reader
from isslim.compress.networks import LanguageModel
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep
from isslim.compress.statistics.pieces import spread
from isslim.compress.training.hooks import Learner, WeightLearner
from isslim.compress.training.learners.gates import HardConcreteGates
from isslim.compress.training.learners.group_lasso import PaperGroupLasso
from isslim.compress.training.learners.proximal import ProximalGroupLasso
from isslim.types.manifest import EpochPoint
from isslim.types.recipe import Recipe

FRESH_LASSO_RATE, WARM_RATE = 0.6, 0.2
"""Of `group_lasso`, in the scale of the summed loss. The paper's 1.0 is for 1500 units; 50 diverge with it."""
FRESH_SCALE, FRESH_READER_RATE = 0.1, 1e-3
FRESH: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 20.0, "clip": 0.25}
"""Of the other learners, for such weights."""
FRESH_WAIT = 0.4
"""Of a learner's steps, those in which it takes nothing from them: it could not tell the weak ones yet."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Taught(Generic[Model]):
    """A trained network, its epochs, and per axis that lost components which of the given network's are left."""

    network: Model
    epochs: list[EpochPoint]
    kept: Keep = field(default_factory=dict)


class Trainer(ABC, Generic[Model]):
    """Trains copies of networks for the rounds of learn mode.

    Attributes:
        slack: the loss of quality above the budget that a bold first cut may have before it is distilled.
    """

    slack: ClassVar[float]

    @abstractmethod
    def fresh(self) -> Model:
        """The original's architecture and sizes with random weights, for a learner that begins at nothing."""

    @abstractmethod
    def observe(self, network: Model) -> Observed:
        """Moments over the training data, as much of it as calibration takes."""

    @abstractmethod
    def distil(
        self, network: Model, epochs: float, round_: int, checkpoint: Path, tell: Tell
    ) -> Taught[Model]:
        """Trains a copy with the original as teacher; resumed from the checkpoint if it is there.

        Raises:
            FloatingPointError: when it diverges.
        """

    @abstractmethod
    def learn(
        self, network: Model, share: float, epochs: float, round_: int, checkpoint: Path, tell: Tell
    ) -> Taught[Model]:
        """Trains a copy with the recipe's learner, which takes `share` of the components away.

        Raises:
            FloatingPointError: when it diverges.
            ModeUnavailable: when the learner is not one of such networks.
        """


class LanguageTrainer(Trainer[LanguageModel]):
    """On the training text, under the schedules of `isslim/compress/kinds/language/training/plan.py`.

    Args:
        original: the teacher.
        texts: what is trained and judged on.
        recipe: learner, strength, seed.
    """

    slack: ClassVar[float] = 0.12

    def __init__(self, original: LanguageModel, texts: Texts, recipe: Recipe) -> None:
        self._original, self._texts, self._recipe = original, texts, recipe

    def fresh(self) -> LanguageModel:
        """Uniform weights, as `python -m isslim.compress train` starts with."""
        network = self._original.rebuilt(self._original.arrays())
        network.initialise(FRESH_SCALE, torch.Generator().manual_seed(self._recipe.seed))
        return network

    def observe(self, network: LanguageModel) -> Observed:
        """Moments over pieces spread over the training text."""
        training = self._texts.training
        return observe(network, spread(training, self._recipe.calibration_tokens), whole=training)

    def distil(
        self, network: LanguageModel, epochs: float, round_: int, checkpoint: Path, tell: Tell
    ) -> Taught[LanguageModel]:
        """A gentle schedule; see `distilling`."""
        return self._trained(network, self._plan(epochs, round_), None, round_, checkpoint, tell)

    def learn(
        self,
        network: LanguageModel,
        share: float,
        epochs: float,
        round_: int,
        checkpoint: Path,
        tell: Tell,
    ) -> Taught[LanguageModel]:
        """With any learner; the paper's comes with its own loss scale, optimizer and schedule."""
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
        return self._trained(network, plan, learner, round_, checkpoint, tell)

    def _plan(self, epochs: float, round_: int) -> TrainingPlan:
        return distilling(len(self._texts.training), seed=self._recipe.seed + round_, epochs=epochs)

    def _trained(
        self,
        network: LanguageModel,
        plan: TrainingPlan,
        learner: Learner | None,
        round_: int,
        checkpoint: Path,
        tell: Tell,
    ) -> Taught[LanguageModel]:
        size = axes.parameters(network.declaration())
        student = network.rebuilt(
            network.arrays(), distilling_dropout(size, len(self._texts.training))
        )
        valid = spread(self._texts.held_out, self._recipe.held_out_tokens).flat

        def go() -> Trained:
            return train(
                student, self._texts.training, plan, teacher=self._original, learner=learner, valid=valid,
                checkpoint=checkpoint, progress=tell,
            )  # fmt: skip

        with placed(student, self._original):
            trained = resumed(go, checkpoint)
        trained.network.cpu()
        points = [
            EpochPoint(
                round=round_ + 1, seconds=each.seconds, steps=each.steps, units=each.units,
                training_value=each.training_perplexity, held_out_value=each.valid_perplexity or math.nan,
            )
            for each in trained.epochs
        ]  # fmt: skip
        return Taught(trained.network, points, trained.kept)


class QuestionTrainer(Trainer[Bidaf]):
    """On the training questions, labelled or not: the teacher says where answers start and end.

    Args:
        original: the teacher.
        training: questions.
        held_out: what every epoch is judged on.
        recipe: learner and seed.
    """

    slack: ClassVar[float] = 4.0
    RATE, BATCH = 5e-4, 24

    def __init__(
        self, original: Bidaf, training: Questions, held_out: Questions, recipe: Recipe
    ) -> None:
        self._original, self._training, self._held_out, self._recipe = (
            original,
            training,
            held_out,
            recipe,
        )

    def fresh(self) -> Bidaf:
        """As `python -m isslim.compress train bidaf` starts with."""
        with torch.random.fork_rng():
            torch.manual_seed(self._recipe.seed)
            return Bidaf(self._original.spec)

    def observe(self, network: Bidaf) -> Observed:
        """Moments over some of the training questions."""
        return observe_questions(network, self._training.spread(self._recipe.calibration_questions))

    def distil(
        self, network: Bidaf, epochs: float, round_: int, checkpoint: Path, tell: Tell
    ) -> Taught[Bidaf]:
        """Adam on half the answers and half the teacher's distributions."""
        return self._trained(network, self._plan(epochs, round_), None, round_, checkpoint, tell)

    def learn(
        self, network: Bidaf, share: float, epochs: float, round_: int, checkpoint: Path, tell: Tell
    ) -> Taught[Bidaf]:
        """With the proximal group lasso."""
        if self._recipe.learner != "proximal":
            raise ModeUnavailable(
                f"the learner '{self._recipe.learner}' is not one of question answering; there are 'calibrated' and 'proximal'"
            )
        plan = self._plan(epochs, round_)
        steps = max(1, round(len(self._training.examples) / plan.batch * plan.epochs))
        wait = 0
        if self._recipe.start == "scratch":
            plan, wait = replace(plan, rate=FRESH_READER_RATE), round(FRESH_WAIT * steps)
        return self._trained(
            network, plan, ProximalGroupLasso(share, steps, wait=wait), round_, checkpoint, tell
        )

    def minutes(self, network: Bidaf, minutes: float, checkpoint: Path, tell: Tell) -> Bidaf:
        """Distils for so long by the clock."""
        plan = replace(self._plan(1.0, 0), minutes=minutes)
        return self._trained(network, plan, None, 0, checkpoint, tell).network

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
        network: Bidaf,
        plan: QuestionPlan,
        learner: WeightLearner | None,
        round_: int,
        checkpoint: Path,
        tell: Tell,
    ) -> Taught[Bidaf]:
        student = network.rebuilt(network.arrays(), dropout=0.1)

        def go() -> TrainedReader:
            return train_reader(
                student, self._training, self._held_out, plan, teacher=self._original, learner=learner,
                checkpoint=checkpoint, progress=tell,
            )  # fmt: skip

        with placed(student, self._original):
            trained = resumed(go, checkpoint)
        trained.network.cpu()
        points = [
            EpochPoint(
                round=round_ + 1, seconds=each.seconds, steps=each.steps, units=each.units,
                training_value=each.training_loss, held_out_value=each.f1,
            )
            for each in trained.epochs
        ]  # fmt: skip
        return Taught(trained.network, points, trained.kept)


def resumed(train_it: Callable[[], Result], checkpoint: Path) -> Result:
    """Trains, from the checkpoint where there is one; one of another size is trained over from its start.

    The clock may cut to another size when a killed job is taken up, and a checkpoint holds one size.
    """
    try:
        return train_it()
    except CheckpointRefused:
        checkpoint.unlink()
        return train_it()
