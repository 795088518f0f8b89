"""Calibrate mode: from moments of activations to the smallest model within a budget.

A narrow layer is first put before the decoder where that may pay (`bottleneck`), and linear axes
are rotated to the basis in which a cut loses the least (`rotation`). All axes are merged into one
order of removal by cost per parameter (or per multiply-add) saved. A prefix of that order, its
*share* of everything removable, is one candidate: repaired in closed form, cut, and evaluated. A
monotone search (more removed is never better) finds the largest share within the budget.

Legend: H components of an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning import axes, bottleneck
from isslim.compress.pruning.axes import Array, Arrays, NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.repair import Correction, repair
from isslim.compress.pruning.rotation import linear_axes, principal_axes, rotate, rotated_moments
from isslim.compress.pruning.selection import Criterion, removal_order
from isslim.compress.pruning.shrinkage import SKETCHED, Half, chosen_ridge, sketch

RIDGE_SHARE = 0.4
"""Of the ridge with which one half of a layer predicts the other: a unit is predicted from all that
stay, and from the layer's inputs too."""
MIN_VARIANCE = 1e-3
"""Added to every component's variance, relative to their mean."""


@dataclass(frozen=True)
class RemovalPlan:
    """A model and everything needed to prune it to any share, in closed form.

    Attributes:
        arrays: the unpruned network as it is cut: with its bottleneck, linear axes in their basis.
        declaration: its axes.
        whole: the axes of the network as it was given.
        order: (axis, component) in the order of removal over all axes.
        savings: what removing each entry of `order` saves, the other axes at full size.
        moments: per site, for the repair.
        costs: what removing each entry of `order` loses by the criterion, of components that go
            together in all; empty: not known.
    """

    arrays: Arrays
    declaration: NetworkAxes
    whole: NetworkAxes
    order: tuple[tuple[str, int], ...]
    savings: NDArray[np.float64]
    moments: Mapping[str, Moments]
    costs: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Pruned:
    """A candidate: the small network, and the full-size masked reference that it must equal.

    Attributes:
        keep: per axis of `reference` the kept indices, ascending.
        arrays: the small network.
        declaration: its axes.
        reference: the repaired network at full size, removed components masked.
        share: of all removable savings, how much is gone.
        correction: the replacement of the removed components.
    """

    keep: dict[str, NDArray[np.int64]]
    arrays: dict[str, Array]
    declaration: NetworkAxes
    reference: dict[str, Array]
    share: float
    correction: Correction


def rank_components(  # noqa: PLR0913 - a model, and options that each stand alone
    arrays: Arrays,
    declaration: NetworkAxes,
    observed: ActivationStatistics,
    *,
    prunable: Sequence[str],
    count: Literal["parameters", "mult_adds", "both", "components"] = "both",
    min_kept: int = 4,
    rotate_axes: bool = True,
    insert_bottleneck: bool = False,
    equal: Sequence[Sequence[str]] = (),
    cost: Callable[[NetworkAxes], float] | None = None,
    criterion: Criterion = removal_order,
) -> RemovalPlan:
    """Orders the components of all prunable axes by cost per saving.

    Args:
        arrays: the unpruned network.
        declaration: its axes.
        observed: its activations on calibration data.
        prunable: axes that may shrink.
        count: what a removal is valued by; `both`: its share of all parameters plus its share of
            all multiply-adds.
        min_kept: components that every axis keeps at least.
        rotate_axes: linear axes may change their basis first; their components are then columns of
            the new one.
        insert_bottleneck: a bottleneck may be put before the decoder; its width is then one of the
            prunable axes.
        equal: groups of axes of one size that have to keep one size: they lose a component each
            at a time, or none of them shrinks where not all may.
        cost: of a network of some sizes, such as its time; a removal is then valued by what it
            saves of that, not by `count`.
        criterion: orders the components of one axis.

    Requires: `observed` was gathered from the same network.
    Ensures: the order of each axis is that of the criterion.
    """
    whole = declaration
    if insert_bottleneck and bottleneck.is_applicable(declaration):
        arrays, declaration = bottleneck.insert(arrays, declaration)
        # It passes on what the decoder read.
        moments = {**observed.moments, bottleneck.AXIS: observed.moments[bottleneck.DECODER]}
        observed, prunable = replace(observed, moments=moments), [*prunable, bottleneck.AXIS]
    if rotate_axes:
        arrays, observed = _rotate_axes(arrays, declaration, observed, prunable)
    entries: list[_Removal] = []
    for group in _groups(prunable, equal):
        orders = [
            criterion(
                axis, *_reader_sensitivity(arrays, declaration, observed, axis), min_kept=min_kept
            )
            for axis in group
        ]
        saving = sum(
            _saving(declaration, axis, count) if cost is None else _saved(declaration, axis, cost)
            for axis in group
        )
        losses = np.sum([order.costs for order in orders], axis=0)
        entries += [
            _Removal(loss / saving, position, group, tuple(map(int, components)), saving, loss)
            for position, (loss, *components) in enumerate(
                zip(losses.tolist(), *(order.components for order in orders), strict=True)
            )
        ]
    entries.sort(key=lambda entry: (entry.cost, entry.position, entry.group[0]))
    return RemovalPlan(
        arrays,
        declaration,
        whole,
        tuple(
            pair for entry in entries for pair in zip(entry.group, entry.components, strict=True)
        ),
        # All that a group saves stands at its first component, so that no share divides it.
        np.array(
            [
                saving
                for entry in entries
                for saving in (entry.saving, *(0.0 for _ in entry.group[1:]))
            ]
        ),
        observed.moments,
        np.array(
            [cost for entry in entries for cost in (entry.loss, *(0.0 for _ in entry.group[1:]))]
        ),
    )


@dataclass(frozen=True)
class _Removal:
    """One component of every axis of a group, removed together.

    Attributes:
        cost: per saving.
        position: in the order of the group.
        group: the axes.
        components: one of each axis.
        saving: of all of them.
        loss: by the criterion, of all of them.
    """

    cost: float
    position: int
    group: tuple[str, ...]
    components: tuple[int, ...]
    saving: float
    loss: float


def _groups(prunable: Sequence[str], equal: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The axes that shrink, those that keep one size together."""
    bound = {axis for group in equal for axis in group}
    whole = [tuple(group) for group in equal if set(group) <= set(prunable)]
    return [*whole, *((axis,) for axis in prunable if axis not in bound)]


def kept_indices(
    removal_plan: RemovalPlan, share: float
) -> tuple[dict[str, NDArray[np.int64]], float]:
    """The components left when the cheapest are removed until a share of all savings is reached.

    Args:
        removal_plan: the order of removal.
        share: of all that removing everything in the order saves, 0 to 1.

    Returns:
        Per axis the kept indices, ascending, and the share that is gone with whole components.
    """
    reached = np.cumsum(removal_plan.savings) / removal_plan.savings.sum()
    count = int(np.searchsorted(reached, share, side="right"))
    keep = removal_plan.declaration.all_components()
    for axis in keep:
        gone = [component for name, component in removal_plan.order[:count] if name == axis]
        keep[axis] = np.setdiff1d(keep[axis], gone)
    return keep, float(reached[count - 1]) if count else 0.0


def prune(removal_plan: RemovalPlan, share: float, correction: Correction = "inputs") -> Pruned:
    """Removes the cheapest components, until a share of all savings is gone, and repairs the rest.

    Args:
        removal_plan: the order of removal.
        share: of all that removing everything in the order saves, 0 to 1.
        correction: the replacement of the removed components.

    Ensures: the small network equals the reference with the removed components held at zero.
    """
    keep, gone = kept_indices(removal_plan, share)
    repaired = repair(
        removal_plan.arrays, removal_plan.declaration, keep, removal_plan.moments, correction
    )
    small, declaration = axes.select_components(repaired, removal_plan.declaration, keep)
    reference = axes.mask_components(repaired, removal_plan.declaration, keep)
    if _is_folded(removal_plan, declaration):
        small, declaration = bottleneck.fold(small, declaration)
        reference, _ = bottleneck.fold(reference, removal_plan.declaration)
        keep = {axis: keep[axis] for axis in declaration.axes}
    return Pruned(keep, small, declaration, reference, gone, correction)


def _is_folded(removal_plan: RemovalPlan, small: NetworkAxes) -> bool:
    """Whether a bottleneck that was put in is multiplied back."""
    put_in = (
        bottleneck.AXIS in removal_plan.declaration.axes
        and bottleneck.AXIS not in removal_plan.whole.axes
    )
    return put_in and not bottleneck.pays(small)


@dataclass(frozen=True)
class Probe:
    """A candidate's value and whether it is within the budget."""

    share: float
    within: bool


def bisect_share(
    evaluate: Callable[[float], Probe],
    *,
    grid: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
    refinements: int = 4,
) -> float | None:
    """The largest share within the budget: a coarse grid (it draws the curve), then bisection.

    Args:
        evaluate: tries one share; called once for each.
        grid: shares tried first, ascending; the climb stops at the first that breaks the budget.
        refinements: steps of bisection after it.

    Returns:
        The last share that was within, or None when none was.
    """
    good, bad = None, 1.0
    for share in grid:
        if not evaluate(share).within:
            bad = share
            break
        good = share
    for _ in range(refinements):
        middle = ((good or 0.0) + bad) / 2
        if evaluate(middle).within:
            good = middle
        else:
            bad = middle
    return good


def _rotate_axes(
    arrays: Arrays,
    declaration: NetworkAxes,
    observed: ActivationStatistics,
    prunable: Sequence[str],
) -> tuple[Arrays, ActivationStatistics]:
    """The same network and its moments, linear axes in the basis in which a cut loses the least."""
    for axis in linear_axes(declaration):
        if axis in prunable:
            basis = principal_axes(*_reader_sensitivity(arrays, declaration, observed, axis))
            arrays = rotate(arrays, declaration, axis, basis)
            moments = rotated_moments(observed.moments, declaration, axis, basis)
            observed = replace(observed, moments=moments)
    return arrays, observed


def _reader_sensitivity(
    arrays: Arrays, declaration: NetworkAxes, observed: ActivationStatistics, axis: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Covariance (H, H) of an axis and the Gram matrix G (H, H) of its readers' weights.

    Each reader is scaled to an output of unit energy: without that a decoder with a vocabulary of
    rows outweighs the recurrence, and raw norms of different axes cannot be compared. An axis that
    several activations carry (a tied embedding) has the sum of their covariances. For a bottleneck
    see `bottleneck.sensitivity`.

    The covariance is shrunk towards its diagonal by as much as the repair will be, so that a
    prediction that holds on a few rows alone is not counted on (see `shrinkage`).
    """
    size = declaration.axes[axis]
    covariance, energy = np.zeros((size, size)), np.zeros((size, size))
    halves = [np.zeros((size, size)), np.zeros((size, size))]
    mixtures = np.zeros((SKETCHED, size))
    narrow = bottleneck.AXIS in declaration.axes
    seen: set[str] = set()
    rows: list[int] = []
    for site in declaration.sites:
        for part in declaration.parts(site):
            if part.axis != axis:
                continue
            moments = observed.moments[site.name]
            own = moments.covariance[part.inputs, part.inputs]
            matrix = arrays[site.readers[part.reader].parameter][:, part.columns].astype(np.float64)
            if narrow:
                matrix = bottleneck.sensitivity(
                    matrix, site, arrays, declaration, observed.frequencies
                )
            unit = max(float(((matrix @ own) * matrix).sum()), 1e-30)
            energy += matrix.T @ matrix / unit
            mixtures += sketch(len(matrix), seed=len(rows)) @ matrix / np.sqrt(unit)
            rows.append(min(half.count for half in moments.halves))
            if part.activation not in seen:
                covariance += own
                for half, sums in zip(halves, moments.halves, strict=True):
                    if min(rows) >= 2:
                        half += sums.covariance[part.inputs, part.inputs]
                seen.add(part.activation)
    shrunk = _shrink_covariance(covariance, halves, mixtures, min(rows, default=0))
    return shrunk, energy * (bottleneck.DIRECT if axis == bottleneck.AXIS else 1.0)


def _shrink_covariance(
    covariance: NDArray[np.float64],
    halves: Sequence[NDArray[np.float64]],
    mixtures: NDArray[np.float64],
    rows: int,
) -> NDArray[np.float64]:
    """A covariance (H, H), shrunk off its diagonal as far as the halves of the data disagree.

    The measure is how well one half of the components predicts mixtures (S, H) of the other half,
    weighted as their readers weight them.
    """
    order = np.random.default_rng(0).permutation(len(covariance))
    gone, stay = order[: len(order) // 2], order[len(order) // 2 :]
    ridge = float("inf")
    if rows >= 2 and len(gone):
        explained = mixtures[:, gone]
        blocks = (
            (half[np.ix_(gone, stay)], half[np.ix_(stay, stay)], half[np.ix_(gone, gone)])
            for half in halves
        )
        nowhere = np.zeros(len(gone)), np.zeros(len(stay))
        one, other = (Half.mixed(rows, explained, *each, *nowhere) for each in blocks)
        ridge = chosen_ridge((one, other), np.zeros(len(stay), np.int64))
    variances = np.diag(covariance)
    believed = 1 / (1 + RIDGE_SHARE * ridge)
    result = believed * covariance
    # A component that never moved in the data may move elsewhere, so it is not free.
    result[np.diag_indices_from(result)] = variances + MIN_VARIANCE * max(
        float(variances.mean()), 1e-12
    )
    return result


def _saving(declaration: NetworkAxes, axis: str, count: str) -> float:
    """What one component of an axis saves, the other axes at full size."""
    if count == "components":
        return 1.0
    smaller = axes.resized(declaration, {axis: declaration.axes[axis] - 1})
    parameters, work = axes.parameters(declaration), axes.mult_adds(declaration)
    fewer, less = parameters - axes.parameters(smaller), work - axes.mult_adds(smaller)
    if count == "both":
        return fewer / parameters + less / work
    return float(fewer if count == "parameters" else less)


def _saved(declaration: NetworkAxes, axis: str, cost: Callable[[NetworkAxes], float]) -> float:
    """What one component of an axis saves of a cost, the other axes at full size; above zero."""
    whole = cost(declaration)
    return max(
        whole - cost(axes.resized(declaration, {axis: declaration.axes[axis] - 1})), 1e-6 * whole
    )
