"""How a model is trained, and what training returns: the values on both sides of the loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.pruning.axes import Keep
from isslim.compress.training.plan import TrainingPlan


def distilling_dropout(parameters: int, tokens: int) -> float:
    """Dropout while distilling: none for a network with fewer weights than the text has tokens, which it cannot learn by heart.

    On a narrow layer dropout costs more than a short training can win back.
    """
    return 0.2 if parameters > tokens else 0.0


def distilling(
    tokens: int, *, seed: int, minutes: float | None = None, epochs: float = 1.0
) -> TrainingPlan:
    """A gentle schedule for weights that are already good, after a cut; the batch fits short texts."""
    return TrainingPlan(
        epochs=epochs,
        minutes=minutes,
        batch=max(1, min(20, tokens // 36)),
        optimizer="adamw",
        learning_rate=1e-3,
        soft=0.5,
        clip=1.0,
        seed=seed,
    )


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch was.

    Attributes:
        epoch: counted from 1.
        seconds: of its steps, without validation.
        steps: segments trained; fewer than the others' where the run ended within the epoch.
        units: size of every prunable axis while it ran.
        learning_rate: of its last step.
        training_perplexity: of the labels, under dropout.
        valid_perplexity: None without a validation text.
    """

    epoch: int
    seconds: float
    steps: int
    units: dict[str, int]
    learning_rate: float
    training_perplexity: float
    valid_perplexity: float | None

    def line(self) -> str:
        """The record for people."""
        valid = "" if self.valid_perplexity is None else f", valid {self.valid_perplexity:.2f}"
        sizes = " ".join(
            f"{axis.removeprefix('units:')} {size}" for axis, size in self.units.items()
        )
        return (
            f"epoch {self.epoch}: training perplexity {self.training_perplexity:.2f}{valid}, "
            f"rate {self.learning_rate:.3g}, {self.seconds:.1f} s, {sizes}"
        )


@dataclass(frozen=True)
class TrainingOutcome:
    """A trained network, in evaluation mode, and its epochs.

    Attributes:
        kept: per axis that lost components in training, which of the given network's are left,
            ascending.
    """

    network: LanguageModel
    epochs: tuple[EpochRecord, ...]
    kept: Keep = field(default_factory=dict)
