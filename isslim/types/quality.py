"""What quality is for each task: its metric, the default budget, and how a value and a loss are told to people.

metric               loss                                              budget           default
perplexity           perplexity / original's perplexity - 1            perplexity_rise  0.05
f1                   original's F1 - F1, in points of 100              f1_fall          1.0
output_change        |output - original's|, relative to its spread     output_change    0.02
argmax               share of decisions that differ                    output_change    0.02
mean_squared_error   mean squared difference                           output_change    0.02
cosine               1 - cosine similarity                             output_change    0.02
command:<name>       how much worse what it prints is, relative        output_change    0.02
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.types.manifest import Estimate, Metric, Task
from isslim.types.recipe import COMMAND, Budget


@dataclass(frozen=True)
class MetricFormat:
    """How a metric is told.

    Attributes:
        name: for people.
        loss_name: what its loss is called.
        value: a figure as text.
        form: of a loss as text, a format specification for so many digits.
        digits: how many are usual.
        axis: the loss as the label of a plot's axis.
        factor: from a loss to the plot's unit.
        worse: what the metric becomes as it is lost, a key of `_BETTER`; empty where it cannot be
            better than the original's.
    """

    name: str
    loss_name: str
    value: Callable[[float], str]
    form: str
    axis: str
    factor: float = 1.0
    worse: str = ""
    digits: int = 2

    def loss(self, loss: float, further: int = 0) -> str:
        """A loss as text, with its sign where it can have both; `further` more digits than usual."""
        return format(loss, self.form.format(self.digits + further))

    @property
    def change_name(self) -> str:
        """What `change` is of, as the head of a column."""
        return f"change of {self.name}" if self.worse else self.loss_name

    def change(self, loss: float) -> str:
        """A loss as the metric's own change: where F1 fell by 0.58 this is `-0.58`."""
        if self.worse == "lower":
            return self.loss(-loss)
        if self.worse != "worse" or self._is_nothing(loss):
            return self.loss(loss)
        return f"{self._size(loss)} {_BETTER[self.worse] if loss < 0 else self.worse}"

    def describe(self, value: float, loss: float) -> str:
        """Both in a few words, such as `perplexity 33.35 (+4.20%)`."""
        return f"{self.name} {self.value(value)} ({self.change(loss)})"

    def interval(self, estimate: Estimate) -> str:
        """Between what a change lies: `+3.10% to +5.70%`."""
        low, high = (self.change(each) for each in (estimate.low, estimate.high))
        return f"{high} to {low}" if self.worse == "lower" else f"{low} to {high}"

    def sample(self, estimate: Estimate) -> str:
        """How sure a change is: `95 %: +3.10% to +5.70%, 82,430 tokens`."""
        return f"95 %: {self.interval(estimate)}, {counted(estimate)}"

    def with_interval(self, loss: float, estimate: Estimate | None) -> str:
        """A change with its interval and sample: `+4.73% (95 %: +4.20% to +5.30%, 82,430 tokens)`.

        Without an estimate, as of the original, the change alone.
        """
        return (
            self.change(loss)
            if estimate is None
            else f"{self.change(loss)} ({self.sample(estimate)})"
        )

    def describe_excess(self, budget: Budget, loss: float, estimate: Estimate | None) -> str:
        """How a loss breaks a budget of quality: `at a rise of perplexity of 6.10%, where the budget allows 5.00%`."""
        limit = budget.quality or 0.0
        if estimate is None or loss > limit + SLACK:
            found, allowed = self.against(loss, limit)
            sure = "" if estimate is None else f" ({self.sample(estimate)})"
            return f"at a {self.loss_name} of {found}{sure}, where the budget allows {allowed}"
        high, allowed = self.against(estimate.high, limit)
        why = (
            "as the budget asks"
            if budget.confident
            else f"as fewer than {ENOUGH:,} {estimate.unit} judge"
        )
        return f"{self.in_sentence(loss)} ({self.sample(estimate)}); the upper end, {high}, has to keep to the budget's {allowed}, {why}"

    def against(self, loss: float, limit: float) -> tuple[str, str]:
        """A loss above a limit and the limit, without signs, with as many digits as tell them apart."""
        for further in range(12):
            found, allowed = (self.loss(each, further).removeprefix("+") for each in (loss, limit))
            if found != allowed:
                break
        return found, allowed

    def in_sentence(self, loss: float) -> str:
        """A loss within a sentence: `at a fall of F1 of 0.58`, and where it rose `with F1 0.58 higher`."""
        if self.worse and loss < 0 and not self._is_nothing(loss):
            return f"with {self.name} {self._size(loss)} {_BETTER[self.worse]}"
        return f"at a {self.loss_name} of {self.loss(loss).removeprefix('+')}"

    def _size(self, loss: float) -> str:
        return self.loss(abs(loss)).removeprefix("+")

    def _is_nothing(self, loss: float) -> bool:
        return self.loss(loss) == self.loss(0.0)


def counted(estimate: Estimate) -> str:
    """The size of a sample, such as `82,430 tokens`."""
    return f"{estimate.count:,} {estimate.unit.removesuffix('s') if estimate.count == 1 else estimate.unit}"


_BETTER = {"higher": "lower", "lower": "higher", "worse": "better"}


_PERCENT = "+z.{}%"


METRIC_FORMATS: dict[Metric, MetricFormat] = {
    "perplexity": MetricFormat(
        "perplexity",
        "rise of perplexity",
        "{:.2f}".format,
        _PERCENT,
        "rise of perplexity (%)",
        100,
        "higher",
    ),
    "f1": MetricFormat(
        "F1", "fall of F1", "{:.2f}".format, "+z.{}f", "fall of F1 (points)", worse="lower"
    ),
    "output_change": MetricFormat(
        "output change",
        "change of outputs",
        "{:.3g}".format,
        _PERCENT,
        "change of outputs (%)",
        100,
    ),
    "argmax": MetricFormat(
        "same decision",
        "share of differing decisions",
        "{:.2%}".format,
        _PERCENT,
        "decisions that differ (%)",
        100,
    ),
    "mean_squared_error": MetricFormat(
        "mean squared error",
        "mean squared error",
        "{:.3g}".format,
        ".{}g",
        "mean squared error",
        digits=3,
    ),
    "cosine": MetricFormat(
        "cosine similarity", "cosine distance", "{:.5f}".format, ".{}e", "1 - cosine similarity"
    ),
}


@dataclass(frozen=True)
class ExtraMetric:
    """A metric that no budget is about, and how it is told."""

    name: str
    value: Callable[[float], str]


EXTRA_METRICS: dict[str, ExtraMetric] = {"exact_match": ExtraMetric("EM", "{:.2f}".format)}


def metric_format_of(metric: Metric) -> MetricFormat:
    """How a metric is told; an evaluation's goes by the name that its operator gave it."""
    if metric in METRIC_FORMATS:
        return METRIC_FORMATS[metric]
    name = metric.removeprefix(COMMAND)
    loss = f"worsening of {name}"
    return MetricFormat(name, loss, "{:.5g}".format, _PERCENT, f"{loss} (%)", 100, "worse")


ENOUGH = 1000
"""A sample of fewer has to keep to a budget by the upper end of its interval, unless the budget
says otherwise."""


SLACK = 1e-9
"""Of a comparison with a budget: 1 - 98 / 100 is above 0.02, by a rounding."""


def keeps(budget: Budget, loss: float, estimate: Estimate | None) -> bool:
    """Whether a loss keeps to a budget of quality; see `compared_loss`. One that is no number does not.

    Raises:
        ValueError: when it is a budget of something else.
    """
    if budget.quality is None:
        raise ValueError(
            f"a budget of {', '.join(budget.limits) or 'nothing'} allows no loss of quality"
        )
    return compared_loss(budget, loss, estimate) <= budget.quality + SLACK


def compared_loss(budget: Budget, loss: float, estimate: Estimate | None) -> float:
    """The loss that a budget of quality is compared with: as it was found, or the upper end of its 95 % interval.

    The upper end counts where the budget asks for it (`confident`) and, where it says nothing of
    that, where the sample is smaller than `ENOUGH`. Without an interval it is the loss itself.
    """
    if estimate is None:
        return loss
    confident = estimate.count < ENOUGH if budget.confident is None else budget.confident
    return max(loss, estimate.high) if confident else loss


DEFAULT_BUDGETS: dict[Task, Budget] = {
    "language-model": Budget(perplexity_rise=0.05),
    "question-answering": Budget(f1_fall=1.0),
    "graph": Budget(output_change=0.02),
}


Pairs = Sequence[tuple[NDArray[Any], NDArray[Any]]]
"""Outputs of one name over several runs, each with what it is compared with, of the same shape."""


def squared_difference(pairs: Pairs) -> tuple[float, float, int]:
    """Over all runs together: the sum of squared differences, that of the originals' from their mean, and the count.

    The same infinity on both sides is no difference; only one that is not finite is an infinite
    one.
    """
    ours, whole = (
        np.concatenate([np.asarray(pair[side], np.float64).ravel() for pair in pairs])
        for side in (0, 1)
    )
    same = (ours == whole) | (np.isnan(ours) & np.isnan(whole))
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.where(same, 0.0, np.square(ours - whole))
    differences[~np.isfinite(differences)] = np.inf
    finite = whole[np.isfinite(whole)]
    spread = float(np.square(finite - finite.mean()).sum()) if finite.size else 0.0
    return float(differences.sum()), spread, len(whole)


def output_change(pairs: Pairs) -> float:
    """Root mean square of the difference, relative to the standard deviation of the originals; 0 is equal.

    Args:
        pairs: found and original, by run.
    """
    difference, spread, count = squared_difference(pairs)
    if difference == 0:
        return 0.0
    # An output that never changes has no spread: its difference is taken as it is.
    return float(np.sqrt(difference / (spread if spread > 0 else count)))


def resolve_budget(task: Task, budget: Budget) -> Budget:
    """The budget as it counts for a task: its default where none is named.

    Raises:
        ValueError: when the budget limits what this task does not measure, or names several limits.
    """
    limits, default = budget.limits, DEFAULT_BUDGETS[task]
    if not limits:
        return default.model_copy(update={"confident": budget.confident})
    if len(limits) > 1:
        raise ValueError(f"the budget names {len(limits)} limits ({', '.join(limits)}); name one")
    (name,) = limits
    if budget.quality is not None and name not in default.limits:
        (own,) = default.limits
        raise ValueError(
            f"a budget of `{name}` says nothing of a {task}; name `{own}`, `size_ratio` or `speedup`"
        )
    return budget
