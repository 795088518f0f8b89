"""The part of a graph's task that distils: in stages, from the original's answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

from isslim.compress.errors import ModeUnavailable, NotTrainable
from isslim.compress.kinds.graphs.choosing import Choice
from isslim.compress.kinds.graphs.distilling.lessons import Lessons, lessons_of
from isslim.compress.kinds.graphs.distilling.remarks import remark
from isslim.compress.kinds.graphs.distilling.steps import RATE, train_stage
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.axes import Array, Arrays
from isslim.compress.trainable import Trainable
from isslim.compress.training.stages import Distillation, Stage, Trained, Tuned
from isslim.runtime.graphs.recorded_inputs import GraphSession

LEAST_GAIN = 0.01
"""Share of the held-back change that a stage has to win."""
TRAINED_BY = 8.0
"""Minutes after the beginning of a job by which its distillation ends, where the recipe says
nothing about minutes: with the last proof and measurement it then takes about ten."""
CONSTANT = "constant "
"""What the names of constants that are none of the arrays begin with in a state on disk."""


class DistilsGraphs(Trainable[GraphNetwork]):
    """The distillation of a graph, where its recordings and operators allow it.

    Attributes:
        original: the graph at full size.
        runs: its recordings.
        not_trained: of a module that was exported, gives the constants of a network that are not
            its parameters alone; None: there is none.
    """

    distils = True
    original: GraphNetwork
    runs: Recorded
    not_trained: Callable[[GraphNetwork], Collection[str]] | None = None
    _uploaded: GraphSession
    _choice: Choice
    _began: float
    _needed: str | None = None
    _learnt: str | None = None

    @property
    def minutes(self) -> float:
        """See `Trainable.minutes`; none where the graph cannot be trained and none are asked for.

        Raises:
            ModeUnavailable: when the recipe asks for some, and the graph cannot be trained.
        """
        asked = super().minutes
        if asked == 0 or isinstance(self._lessons, Lessons):
            return asked
        if self.recipe.minutes is None:
            return 0.0
        raise ModeUnavailable(
            "this graph cannot be distilled here: leave `minutes` out, and it is compressed in "
            f"closed form. {self._lessons.detail}",
            self._lessons.issues,
        )

    @property
    def trained_by(self) -> float:
        """See `Trainable.trained_by`: minutes that the recipe names are all of them taken."""
        return math.inf if self.recipe.minutes is not None else self._began + 60 * TRAINED_BY

    def training_notes(self) -> list[str]:
        """For the report: why the closed form stands, or what more recordings would give."""
        lines = [self._needed] if self._needed and not self.runs.random else []
        if super().minutes == 0:
            return lines
        if isinstance(self._lessons, NotTrainable):
            return [*lines, f"not distilled, the closed form stands: {self._lessons.detail}"]
        return [*lines, *self._lessons.notes, *([self._learnt] if self._learnt else [])]

    def finetune(
        self,
        network: GraphNetwork,
        minutes: float,
        folder: Path,
        progress: ProgressCallback,
        most_minutes: float | None = None,
    ) -> Tuned[GraphNetwork]:
        """Distils on the recorded inputs, some of which are held back; see `Trainable.finetune`."""
        lessons = self._lessons
        if isinstance(lessons, NotTrainable):
            raise lessons
        fixed = self.not_trained(self.original) if self.not_trained is not None else ()
        tuned = distillation(lessons, self.recipe.seed, fixed).run(
            network, minutes, folder, progress, most_minutes
        )
        # What the held-back recordings say of both networks was found between the stages.
        before, after = (
            (lessons.change(each, lessons.known), math.exp(loss))
            for each, loss in ((network, tuned.losses[0]), (tuned.network, tuned.losses[-1]))
        )
        self._learnt = remark(before, after, lessons.counted)
        return tuned

    @cached_property
    def _lessons(self) -> Lessons | NotTrainable:
        try:
            return lessons_of(
                self.original,
                self._uploaded,
                self.runs,
                self._choice.evaluated,
                self.recipe,
            )
        except NotTrainable as obstacle:
            return obstacle


def distillation(
    lessons: Lessons, seed: int, fixed: Collection[str] = ()
) -> Distillation[GraphNetwork]:
    """Distillation in stages, which are compared on the recordings that are held back.

    Args:
        lessons: what is learnt from.
        seed: of the choice of examples.
        fixed: constants that are not trained.
    """

    def evaluate(network: GraphNetwork) -> float:
        # The logarithm, so that a gain is a share of what is left.
        return math.log(max(lessons.change(network, lessons.held_back), 1e-9))

    def train(network: GraphNetwork, stage: Stage) -> Trained[GraphNetwork]:
        return train_stage(network, lessons, stage, seed, fixed)

    described = {
        "recordings": str(lessons.recordings),
        "varied": str(bool(lessons.examples.kinds)),
        "seed": str(seed),
        "rate": str(RATE),
    }
    return Distillation(
        train, evaluate, described, least_gain=LEAST_GAIN, weights=weights_of, filled=filled
    )


def weights_of(network: GraphNetwork) -> dict[str, Array]:
    """All weights of a network: its arrays, and constants that are none of them."""
    constants = {CONSTANT + name: value for name, value in network.constants.items()}
    return {**network.arrays(), **constants}


def filled(network: GraphNetwork, weights: Arrays) -> GraphNetwork:
    """A network with other weights.

    Args:
        network: of the same sizes.
        weights: as `weights_of` gives them.
    """
    arrays = {name: value for name, value in weights.items() if not name.startswith(CONSTANT)}
    constants = {
        name.removeprefix(CONSTANT): value
        for name, value in weights.items()
        if name.startswith(CONSTANT)
    }
    return network.rebuilt(arrays).with_weights(constants)
