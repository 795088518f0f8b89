"""How a metric is worded: its name, its figures, and in which direction it gets worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isslim.types.estimates import ENOUGH, SLACK, Estimate, counted
from isslim.types.recipe import Budget

PERCENT = "+z.{}%"
"""The `form` of a relative loss."""
_BETTER = {"higher": "lower", "lower": "higher", "worse": "better"}


@dataclass(frozen=True)
class MetricFormat:
    """How a metric is put into words.

    Attributes:
        name: for people.
        loss_name: what its loss is called.
        value: a figure as text.
        form: format specification of a loss, from a number of digits.
        digits: the usual number of digits.
        axis: the loss as the label of a plot's axis.
        factor: converts a loss to the plot's unit.
        scale: multiplies a loss before it is formatted: 100 for a share in points of 100.
        worse: what the metric becomes as it is lost, `higher`, `lower` or `worse`; empty where it
            cannot be better than the original's.
        loss_clause: of a verdict, what a loss is, with `{}` for its size; empty: `<name> worsens by
            {}`.
        gain_clause: what a gain is, where there can be one; empty: `<name> improves by {}`.
        meaning: what the figure is, a clause of the card; empty: its name says it.
    """

    name: str
    loss_name: str
    value: Callable[[float], str]
    form: str
    axis: str
    factor: float = 1.0
    worse: str = ""
    digits: int = 2
    loss_clause: str = ""
    gain_clause: str = ""
    meaning: str = ""
    scale: float = 1.0

    def loss(self, loss: float, further: int = 0) -> str:
        """A loss as text, with its sign where it can have both.

        Args:
            loss: against the original.
            further: digits beyond the usual number.
        """
        return format(self.scale * loss, self.form.format(self.digits + further))

    @property
    def change_name(self) -> str:
        """The heading of a column of `change`."""
        return f"change of {self.name}" if self.worse else self.loss_name

    def change(self, loss: float) -> str:
        """A loss as the metric's own change: where F1 fell by 0.58 this is `-0.58`."""
        if self.worse == "lower":
            return self.loss(-loss)
        if self.worse != "worse" or self._is_nothing(loss):
            return self.loss(loss)
        return f"{self._size(loss)} {_BETTER[self.worse] if loss < 0 else self.worse}"

    def describe(self, value: float, loss: float) -> str:
        """Both in a few words, such as `perplexity 33.35 (+4.20%)`.

        Args:
            value: of the metric.
            loss: against the original.
        """
        return f"{self.name} {self.value(value)} ({self.change(loss)})"

    def interval(self, estimate: Estimate) -> str:
        """The interval of a change: `+3.10% to +5.70%`."""
        low, high = (self.change(each) for each in (estimate.low, estimate.high))
        return f"{high} to {low}" if self.worse == "lower" else f"{low} to {high}"

    def sample(self, estimate: Estimate) -> str:
        """Interval and sample of a change: `95 %: +3.10% to +5.70%, 82,430 tokens`."""
        return f"95 %: {self.interval(estimate)}, {counted(estimate)}"

    def with_interval(self, loss: float, estimate: Estimate | None) -> str:
        """A change with interval and sample: `+4.73% (95 %: +4.20% to +5.30%, 82,430 tokens)`.

        Args:
            loss: against the original.
            estimate: its interval; None (for the original, say) gives the change alone.
        """
        change = self.change(loss)
        return change if estimate is None else f"{change} ({self.sample(estimate)})"

    def describe_excess(self, budget: Budget, loss: float, estimate: Estimate | None) -> str:
        """How a loss exceeds a budget on quality.

        Such as `at a rise of perplexity of 6.10%, where the budget allows 5.00%`.

        Args:
            budget: of quality.
            loss: the loss that exceeds it, itself or with the upper end of its interval.
            estimate: the loss's interval; None if none can be given.
        """
        limit = budget.quality or 0.0
        if estimate is None or loss > limit + SLACK:
            found, allowed = self.against(loss, limit)
            sure = "" if estimate is None else f" ({self.sample(estimate)})"
            return f"at a {self.loss_name} of {found}{sure}, where the budget allows {allowed}"
        high, allowed = self.against(estimate.high, limit)
        why = (
            "as the budget asks"
            if budget.confident
            else f"as fewer than {ENOUGH:,} {estimate.unit} were evaluated"
        )
        return (
            f"{self.in_sentence(loss)} ({self.sample(estimate)}); the upper end, {high}, has to "
            f"keep to the budget's {allowed}, {why}"
        )

    def against(self, loss: float, limit: float) -> tuple[str, str]:
        """A loss above a limit, and the limit, with as many digits as distinguish them; no signs.

        Args:
            loss: the measured loss.
            limit: the largest loss that the budget allows.
        """
        for further in range(12):
            found, allowed = (self.loss(each, further).removeprefix("+") for each in (loss, limit))
            if found != allowed:
                break
        return found, allowed

    def in_sentence(self, loss: float) -> str:
        """A loss within a sentence: `at a fall of F1 of 0.58`; a gain: `with F1 0.58 higher`."""
        if self.worse and loss < 0 and not self._is_nothing(loss):
            return f"with {self.name} {self._size(loss)} {_BETTER[self.worse]}"
        return f"at a {self.loss_name} of {self.loss(loss).removeprefix('+')}"

    def verdict(self, loss: float) -> str:
        """A loss or gain as the clause of a verdict, such as `Perplexity rises by 4.20%`."""
        is_better = loss < 0 and bool(self.worse) and not self._is_nothing(loss)
        if is_better:
            clause = self.gain_clause or f"{self.name} improves by {{}}"
        else:
            clause = self.loss_clause or f"{self.name} worsens by {{}}"
        return clause.format(self._size(loss))

    def _size(self, loss: float) -> str:
        return self.loss(abs(loss)).removeprefix("+")

    def _is_nothing(self, loss: float) -> bool:
        return self.loss(loss) == self.loss(0.0)


@dataclass(frozen=True)
class ExtraMetric:
    """A metric that no budget limits.

    Attributes:
        name: for people.
        value: a figure as text.
    """

    name: str
    value: Callable[[float], str]
