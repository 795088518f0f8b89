"""How a model is trained: the values that optimizers, schedules and loops read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainingPlan:
    """How a model is trained.

    `minutes` ends the run early by the clock and takes the place of the horizon: the schedule then
    follows the fraction of the time spent instead of the fraction of the steps. From scratch, plain
    SGD with a large step and a tight clip (both in the scale of a mean loss) leaves the plateau of
    word frequencies far sooner than Adam does. `bfloat16` asks for autocast where the processor
    multiplies in that type; elsewhere it changes nothing.

    Attributes:
        most_epochs: with `minutes`, ends the run after so many epochs where that is earlier.
        least_steps: with `minutes`, goes on to so many steps where the clock would end it earlier,
            for `most_minutes` in all at most.
        loss: `mean` over all tokens, or `sum_over_steps`: the sum over the steps divided by the
            batch, the scale of Zaremba et al. and of the paper. Learning rate, clip and a learner's
            penalty are in the loss's scale.
        optimizer: `asgd` returns the average of the weights since the start of `averaging_epoch`;
            `nt_asgd` since the epoch whose validation was no better than the best of all but the
            last `patience` (arXiv 1708.02182).
        schedule: see `isslim.compress.training.schedules`.
        averaging_epoch: counted from 1.
        patience: validations without a gain before `nt_asgd` averages.
        extra_learning_rate: of Adam on a learner's own parameters.
        keep: return the weights of the last epoch, as the paper does, or of the epoch that
            validated best.

    Raises:
        ValueError: when a field is out of its range.
    """

    epochs: float = 6.0
    minutes: float | None = None
    batch: int = 20
    steps: int = 35
    optimizer: Literal["sgd", "asgd", "nt_asgd", "adamw"] = "sgd"
    learning_rate: float = 20.0
    weight_decay: float = 0.0
    clip: float = 0.25
    soft: float = 0.5
    seed: int = 1
    bfloat16: bool = False
    checkpoint_minutes: float = 2.0
    loss: Literal["mean", "sum_over_steps"] = "mean"
    schedule: Literal[
        "cosine", "linear", "constant", "paper_baseline", "paper_iss", "paper_rhn"
    ] = "cosine"
    averaging_epoch: int = 1
    patience: int = 5
    extra_learning_rate: float = 0.01
    keep: Literal["last", "best"] = "last"
    most_epochs: float | None = None
    least_steps: int = 0
    most_minutes: float | None = None

    def __post_init__(self) -> None:
        wrong = [
            name
            for name in ("epochs", "batch", "steps", "learning_rate", "clip")
            if not getattr(self, name) > 0
        ]
        wrong += [
            name
            for name in ("minutes", "most_epochs", "most_minutes")
            if getattr(self, name) is not None and not getattr(self, name) > 0
        ]
        wrong += [name for name in ("averaging_epoch", "patience") if getattr(self, name) < 1]
        if wrong:
            description = ", ".join(f"{name} = {getattr(self, name)}" for name in wrong)
            raise ValueError(f"a plan's {description}: above zero is expected")
