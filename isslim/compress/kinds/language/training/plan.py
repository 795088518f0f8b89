"""Schedules of distillation, and the values that training returns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.pruning.axes import Keep
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.stages import LEAST_STEPS, Stage
from isslim.types.axis_names import layer_of

PASSES = 8
"""Passes over a short text in one stage of it, at most."""
LEAST_BATCH, STEPS_OF_A_PASS = 4, 50
"""Of a short text the batch is smaller, down to some, so that a pass has steps enough."""


def distilling_dropout(parameters: int, tokens: int) -> float:
    """The probability of dropout while distilling.

    None for a network with fewer weights than the text has tokens, which it cannot memorise: on a
    narrow layer dropout costs more than a short training can win back.

    Args:
        parameters: of the network.
        tokens: of the training text.
    """
    return 0.2 if parameters > tokens else 0.0


def distilling(
    tokens: int, *, seed: int = 1, minutes: float | None = None, epochs: float = 1.0
) -> TrainingPlan:
    """A gentle schedule for weights that are already good, after a cut.

    Args:
        tokens: of the training text; the batch is smaller for a short one.
        seed: of dropout, the only thing in a run that is random.
        minutes: ends the run by the clock; see `TrainingPlan`.
        epochs: over the text.
    """
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


def repairing(tokens: int, stage: Stage, *, rate: float) -> TrainingPlan:
    """A stage of the repair of a cut: bold steps, which end within the stage.

    Args:
        tokens: of the training text; the batch is smaller for a short one.
        stage: its minutes, learning rate and loss; it ends earlier where it has read the text
            `PASSES` times.
        rate: highest learning rate, of the first stage.
    """
    few = max(LEAST_BATCH, tokens // (STEPS_OF_A_PASS * 36))
    plan = distilling(tokens, minutes=stage.minutes)
    return replace(
        plan,
        batch=min(plan.batch, few),
        most_epochs=PASSES,
        least_steps=LEAST_STEPS,
        most_minutes=stage.most_minutes,
        learning_rate=rate * stage.share,
        schedule="linear",
        soft=stage.soft,
        bfloat16=True,
    )


@dataclass(frozen=True)
class EpochRecord:
    """The record of one epoch.

    Attributes:
        epoch: counted from 1.
        seconds: of its steps, without validation.
        steps: segments trained; fewer where the run ended within the epoch.
        units: size of every prunable axis during the epoch.
        learning_rate: of its last step.
        training_perplexity: of the labels, with dropout.
        valid_perplexity: None without a validation text.
        removed: per axis, components that count as removed at its end; a learner that shrinks the
            network takes them out then.
        group_norms: per axis of units, the quantiles of their groups' norms at its end (see
            `isslim.compress.training.sparsity`).
    """

    epoch: int
    seconds: float
    steps: int
    units: dict[str, int]
    learning_rate: float
    training_perplexity: float
    valid_perplexity: float | None
    removed: dict[str, int] = field(default_factory=dict)
    group_norms: dict[str, list[float]] = field(default_factory=dict)

    def line(self) -> str:
        """The record as a line of text."""
        valid = "" if self.valid_perplexity is None else f", valid {self.valid_perplexity:.2f}"
        sizes = " ".join(
            f"{layer_of(axis)} {size}" + (f" ({gone} removed)" if gone else "")
            for axis, size in self.units.items()
            for gone in (self.removed.get(axis, 0),)
        )
        return (
            f"epoch {self.epoch}: training perplexity {self.training_perplexity:.2f}{valid}, "
            f"rate {self.learning_rate:.3g}, {self.seconds:.1f} s, {sizes}"
        )


@dataclass(frozen=True)
class TrainingOutcome:
    """The result of a run.

    Attributes:
        network: trained, in evaluation mode.
        epochs: one record each.
        kept: by axis that lost components in training, the indices of the given network's that are
            left, ascending.
    """

    network: LanguageModel
    epochs: tuple[EpochRecord, ...]
    kept: Keep = field(default_factory=dict)
