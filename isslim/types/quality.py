"""Losses of quality compared with a budget, and the change of arrays.

The loss in each kind's metric (`isslim/types/kinds`):

metric               loss                                              budget           default
perplexity           perplexity / original's perplexity - 1            perplexity_rise  0.05
f1                   original's F1 - F1, in points of 100              f1_fall          1.0
output_change        |output - original's|, relative to its spread     output_change    0.02
argmax               share of decisions that differ                    output_change    0.02
mean_squared_error   mean squared difference                           output_change    0.02
cosine               1 - cosine similarity                             output_change    0.02
accuracy             original's accuracy - accuracy, a share           output_change    0.02
f1_binary, f1_macro  original's F1 - F1, a share                       output_change    0.02
auc                  original's AUC - AUC, a share                     output_change    0.02
target_squared_error error / original's error - 1                      output_change    0.02
ctc_error_rate       error rate - original's, a share                  output_change    0.02
command:<name>       how much worse what it prints is, relative        output_change    0.02
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.types.estimates import ENOUGH as ENOUGH
from isslim.types.estimates import SLACK as SLACK
from isslim.types.estimates import Estimate
from isslim.types.estimates import counted as counted
from isslim.types.kinds.metric_format import MetricFormat as MetricFormat
from isslim.types.kinds.registry import kind_named
from isslim.types.kinds.registry import metric_format_of as metric_format_of
from isslim.types.manifest import Task
from isslim.types.recipe import Budget


def keeps(budget: Budget, loss: float, estimate: Estimate | None) -> bool:
    """Whether a loss is within a budget on quality; see `compared_loss`. NaN is not.

    Args:
        budget: of quality.
        loss: against the original.
        estimate: how sure it is; None: no interval can be given.

    Raises:
        ValueError: when it is a budget of something else.
    """
    if budget.quality is None:
        raise ValueError(
            f"a budget of {', '.join(budget.limits) or 'nothing'} allows no loss of quality"
        )
    return compared_loss(budget, loss, estimate) <= budget.quality + SLACK


def compared_loss(budget: Budget, loss: float, estimate: Estimate | None) -> float:
    """The loss that is compared with a budget on quality: as measured, or its interval's upper end.

    The upper end counts where the budget requests it (`confident`) and, where the budget leaves
    that open, where the sample is smaller than `ENOUGH`. Without an interval it is the loss itself.

    Args:
        budget: of quality.
        loss: against the original.
        estimate: how sure it is; None: no interval can be given.
    """
    if estimate is None:
        return loss
    confident = estimate.count < ENOUGH if budget.confident is None else budget.confident
    return max(loss, estimate.high) if confident else loss


Pairs = Sequence[tuple[NDArray[Any], NDArray[Any]]]
"""One output over several runs, each paired with its reference of the same shape."""


def squared_difference(pairs: Pairs) -> tuple[float, float, int]:
    """How far outputs are from the originals', and how these spread, over all runs together.

    The same infinity on both sides is no difference; only one that is not finite is an infinite
    one.

    Args:
        pairs: found and original, by run.

    Returns:
        The sum of squared differences, that of the originals' from their mean, and the count.
    """
    # Run by run: what is in the processor's cache is summed ten times as fast.
    count = sum(whole.size for _, whole in pairs)
    difference = spread = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        mean = sum(float(whole.sum(dtype=np.float64)) for _, whole in pairs) / max(count, 1)
        for each in pairs:
            ours, whole = (np.asarray(array, np.float64).ravel() for array in each)
            apart, centred = ours - whole, whole - mean
            difference += float(apart @ apart)
            spread += float(centred @ centred)
    if math.isfinite(difference) and math.isfinite(spread):
        return difference, spread, count
    return _with_infinities(pairs)


def _with_infinities(pairs: Pairs) -> tuple[float, float, int]:
    """The same where not all is finite."""
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
    """Root mean square of the difference over the standard deviation of the originals; 0 is equal.

    Args:
        pairs: found and original, by run.
    """
    difference, spread, count = squared_difference(pairs)
    if difference == 0:
        return 0.0
    # An output that never changes has no spread: its difference is not scaled.
    return float(np.sqrt(difference / (spread if spread > 0 else count)))


def resolve_budget(task: Task, budget: Budget) -> Budget:
    """The budget that applies to a kind of model: its default where no limit is named.

    Args:
        task: the kind's name.
        budget: as the recipe names it.

    Raises:
        ValueError: when the budget limits what such a model does not measure, or names several
            limits.
        UnknownKind: when there is no such kind.
    """
    limits, kind = budget.limits, kind_named(task)
    if not limits:
        return kind.default_budget.model_copy(update={"confident": budget.confident})
    if len(limits) > 1:
        raise ValueError(f"the budget names {len(limits)} limits ({', '.join(limits)}); name one")
    ((name, value),) = limits.items()
    if name == "loss":
        named = {kind.quality_limit: value, "confident": budget.confident}
        return Budget.model_validate(named)
    if budget.quality is not None and name != kind.quality_limit:
        raise ValueError(
            f"a budget of `{name}` does not apply to a {task}; name `{kind.quality_limit}`, "
            "`size_ratio` or `speedup`"
        )
    return budget
