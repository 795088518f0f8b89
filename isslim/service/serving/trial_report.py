"""Means and intervals of trials, what a rule makes of them, and both in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isslim.store.comparisons import Tally
from isslim.store.errors import ModelGone
from isslim.types.kinds.graphs import GRAPHS
from isslim.types.kinds.language import LANGUAGE
from isslim.types.kinds.questions import QUESTIONS
from isslim.types.schemas.aliases import Alias, Candidate, Rule
from isslim.types.schemas.trials import Decision, Figure, Role, Trial, TrialReport

_UNITS = {LANGUAGE.name: " nats per token", QUESTIONS.name: " of the answers"}
"""Of the change, by the kind of model; an output's change is relative to its spread."""
COMPARED = {
    LANGUAGE.name: ("/score", "/generate", "/v1/completions"),
    QUESTIONS.name: ("/qa",),
    GRAPHS.name: ("/models/{model}/run", "/v2/models/{model}/infer"),
}
"""Kinds of models whose answers are compared, and the requests of which they are."""
Z = 1.959964
"""Of the normal distribution, 95 %."""
FEWEST = 20
"""Requests before a rule can be broken by their mean."""


def trial_of(
    role: Role, candidate: Candidate, tally: Tally, *, is_text: bool, is_gone: bool = False
) -> Trial:
    """A trial as it stands.

    Args:
        role: of the candidate.
        candidate: that is tried.
        tally: what was found.
        is_text: whether it is a language model, whose log-probabilities are compared.
        is_gone: whether its model was deleted.
    """
    change, ratio = _mean(tally, "change"), _mean(tally, "log_time_ratio")
    return Trial(
        role=role,
        candidate=candidate.target,
        share=candidate.share,
        requests=tally.requests,
        failed=tally.failed,
        dropped=tally.dropped,
        difference=_mean(tally, "difference") if is_text else None,
        change=change,
        same=_share(tally),
        time_ratio=ratio and _exponential(ratio),
        rule=candidate.rule,
        decision=candidate.rule and decide(candidate.rule, tally, change),
        is_gone=is_gone,
    )


def decide(rule: Rule, tally: Tally, change: Figure | None) -> Decision:
    """What a rule makes of a trial.

    Args:
        rule: of the candidate.
        tally: what was found.
        change: its mean.
    """
    if tally.failed:
        return "broken"
    if change is None or change.low is None or change.high is None:
        return "undecided"
    if tally.requests >= min(FEWEST, rule.requests) and change.low > rule.change_below:
        return "broken"
    if tally.requests >= rule.requests and change.high < rule.change_below:
        return "held"
    return "undecided"


def report_of(alias: Alias, trials: list[Trial], task: str) -> TrialReport:
    """All trials of an alias.

    Args:
        alias: as it is.
        trials: of its shadow and canary.
        task: the kind of its model; empty: that was deleted.
    """
    compared = list(COMPARED.get(task, ()))
    unit = _UNITS.get(task, " of the outputs' spread")
    lines = [line for each in trials for line in _lines(each, compared, unit)]
    if not trials:
        lines = [f"{alias.alias} tries nothing beside {alias.target}"]
    if not task:
        lines.append(str(ModelGone(alias.alias, alias.model)))
    return TrialReport(
        alias=alias.alias,
        version=alias.version,
        target=alias.target,
        trials=trials,
        compared=compared,
        lines=lines,
    )


def _mean(tally: Tally, name: str) -> Figure | None:
    """The mean of a figure with the interval of Student's distribution."""
    count = tally.requests
    if count == 0:
        return None
    total, squares = tally.sums[f"{name}_sum"], tally.sums[f"{name}_squares"]
    mean = total / count
    if count == 1:
        return Figure(mean=mean, low=None, high=None)
    variance = max(0.0, squares - total * mean) / (count - 1)
    half = _student(count - 1) * math.sqrt(variance / count)
    return Figure(mean=mean, low=mean - half, high=mean + half)


def _student(freedom: int) -> float:
    """The two-sided 95 % quantile, by Cornish and Fisher's expansion; the exact ones of 1 and 2."""
    if freedom <= 2:
        return (12.7062, 4.3027)[freedom - 1]
    return (
        Z
        + (Z**3 + Z) / (4 * freedom)
        + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
        + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * freedom**3)
    )


def _share(tally: Tally) -> Figure | None:
    """The mean of shares, by Wilson's interval: no share varies more than yes and no."""
    count = tally.requests
    if count == 0:
        return None
    mean = tally.sums["same_sum"] / count
    middle = (mean + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z * math.sqrt(mean * (1 - mean) / count + (Z / (2 * count)) ** 2) / (1 + Z**2 / count)
    return Figure(mean=mean, low=max(0.0, middle - half), high=min(1.0, middle + half))


def _exponential(figure: Figure) -> Figure:
    low, high = figure.low, figure.high
    return Figure(
        mean=math.exp(figure.mean),
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(min(high, 700.0)),
    )


def _lines(trial: Trial, compared: Sequence[str], unit: str) -> list[str]:
    """A trial in words.

    Args:
        trial: as it stands.
        compared: requests that are.
        unit: of the change.
    """
    head = f"{trial.role} {trial.candidate}: {trial.requests:,} requests compared"
    if trial.failed:
        head += f", {trial.failed:,} failed"
    if trial.dropped:
        head += f", {trial.dropped:,} left out as others waited"
    lines = [head]
    if trial.is_gone:
        lines.append("- its model was deleted: nothing is compared any more; point the alias anew")
    if trial.role == "canary":
        what = f"{', '.join(compared)} are" if compared else "nothing is"
        lines.append(f"- {what} compared; of all other requests only failures count")
    if trial.difference is not None:
        shown = _words(trial.difference, "{:+.4f}")
        lines.append(f"- log-probability per token: {shown} nats against the alias's")
    if trial.change is not None and trial.same is not None and trial.time_ratio is not None:
        lines.append(f"- change: {_words(trial.change, '{:.4f}')}{unit}")
        lines.append(f"- same decisions: {_words(trial.same, '{:.2%}')}")
        lines.append(f"- time: {_words(trial.time_ratio, '{:.2f}')} of the alias's")
    if trial.rule is not None:
        rule = f"change below {trial.rule.change_below:g} on {trial.rule.requests:,} requests"
        lines.append(f"- rule ({rule}): {trial.decision}")
    return lines


def _words(figure: Figure, form: str) -> str:
    mean = form.format(figure.mean)
    if figure.low is None or figure.high is None:
        return mean
    return f"{mean} ({form.format(figure.low)} to {form.format(figure.high)})"
