"""The part of a task that trains: distillation after a cut, and the trainer of learn mode."""

from __future__ import annotations

import math
from abc import ABC
from pathlib import Path
from typing import ClassVar, Generic

from isslim.compress.errors import ModeUnavailable
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.network import Model
from isslim.compress.training.stages import Tuned
from isslim.compress.training.trainer import Trainer
from isslim.settings.recipes import RecipeSettings
from isslim.types.manifest import Task
from isslim.types.recipe import Recipe

MOST_MINUTES = 5.0
"""Minutes of distillation where a recipe says nothing about them."""


class Trainable(ABC, Generic[Model]):
    """The training of a kind of model; the defaults are those of a kind that is not trained here.

    Attributes:
        task: the kind's name in the manifest.
        distils: whether small networks are distilled from the original here.
        recipe: the recipe.
    """

    task: ClassVar[Task]
    distils: ClassVar[bool] = False
    recipe: Recipe

    @property
    def minutes(self) -> float:
        """Most minutes of distillation, over all candidates of the job together; 0: none.

        Raises:
            ModeUnavailable: when the recipe asks for some, and this kind is not trained here.
        """
        asked = self.recipe.minutes
        if asked is None:
            # Nobody asked for so many: an operator's limit on them shortens the work.
            return min(MOST_MINUTES, RecipeSettings().minutes_limit) if self.distils else 0.0
        if asked > 0 and not self.distils:
            raise ModeUnavailable(
                f"a {self.task} cannot be distilled here: leave `minutes` out; it is compressed "
                "in closed form"
            )
        return asked

    @property
    def trained_by(self) -> float:
        """On the clock of `time.monotonic`: when distillation is to be over; infinity: any time."""
        return math.inf

    def finetune(
        self,
        network: Model,
        minutes: float,
        folder: Path,
        progress: ProgressCallback,
        most_minutes: float | None = None,
    ) -> Tuned[Model]:
        """Distils the original into a small network; called where `distils`.

        Args:
            network: the small network; it is left as it is.
            minutes: most of them, those of former calls for this network included.
            folder: of this network alone, from which a killed job resumes.
            progress: called with the share done and a message.
            most_minutes: those to which a stage of few steps may go on; None: `minutes`.
        """
        raise NotImplementedError

    def trainer(self) -> Trainer[Model]:
        """The trainer of learn mode, on the training data of this task.

        Raises:
            ModeUnavailable: when this kind of model is not trained here.
            TextUnusable: when no data to train on was sent.
        """
        raise ModeUnavailable(
            f"a {self.task} cannot be compressed by learning: ask for the mode `calibrate`"
        )
