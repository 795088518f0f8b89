"""What a kind of model gives to the rounds of learn mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic

from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.axes import Keep
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.network import Model
from isslim.types.manifest import EpochPoint


@dataclass(frozen=True)
class TrainingResult(Generic[Model]):
    """What training returns.

    Attributes:
        network: trained, in evaluation mode.
        epochs: one record per epoch.
        kept: per axis that lost components, the indices (K,) that are left, ascending.
    """

    network: Model
    epochs: list[EpochPoint]
    kept: Keep = field(default_factory=dict)


class Trainer(ABC, Generic[Model]):
    """Trains copies of networks in the rounds of learn mode.

    Attributes:
        slack: loss above the budget that the first, boldest cut may have before distillation.
    """

    slack: ClassVar[float]

    @property
    @abstractmethod
    def data_description(self) -> str:
        """How much training data there is, in words."""

    @abstractmethod
    def fresh(self) -> Model:
        """A network of the original's architecture and sizes with random weights."""

    @abstractmethod
    def collect_activations(self, network: Model) -> ActivationStatistics:
        """Moments of activations over a calibration-sized part of the training data."""

    @abstractmethod
    def distil(
        self,
        network: Model,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Model]:
        """Trains a copy with the original as teacher.

        Args:
            network: what to train; it is left as it is.
            epochs: over the training data.
            round_: number of the round, which seeds it.
            checkpoint: written on the way, and resumed from where it exists.
            progress: called with the share done and a message.

        Raises:
            FloatingPointError: when it diverges.
        """

    @abstractmethod
    def learn(
        self,
        network: Model,
        share: float,
        epochs: float,
        round_: int,
        checkpoint: Path,
        progress: ProgressCallback,
    ) -> TrainingResult[Model]:
        """Trains a copy with the recipe's structure learner.

        Args:
            network: what to train; it is left as it is.
            share: of the components that the learner is to remove, 0 to 1.
            epochs: over the training data.
            round_: number of the round, which seeds it.
            checkpoint: written on the way, and resumed from where it exists.
            progress: called with the share done and a message.

        Raises:
            FloatingPointError: when it diverges.
            ModeUnavailable: when the learner does not work on such networks.
        """
