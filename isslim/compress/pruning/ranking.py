"""Calibrate mode: from moments of activations to the smallest model within a budget.

Narrow layers are first put in where they may pay (`narrow`, `blocks`), and linear axes are rotated
to the basis in which a cut loses the least (`rotation`). All axes are merged into one order of
removal by cost per parameter (or per multiply-add) saved. A prefix of that order, its *share* of
everything removable, is one candidate: repaired in closed form, cut, and evaluated. A monotone
search (more removed is never better) finds the largest share within the budget.

The first components of a narrow layer save nothing: with them the layer is more work than without
it (`insertion`). So they go in one piece with those after them, as many as cost least for what all
of them save.

Legend: H components of an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Array, Arrays, Keep, NarrowPlace, NetworkAxes
from isslim.compress.pruning.blocks import place_of
from isslim.compress.pruning.insertion import (
    Cost,
    Observed,
    hump,
    in_blocks,
    inserted,
    staying,
    useful,
    with_only,
)
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.removals import (
    Removal,
    by_loss,
    groups_of,
    in_one_piece,
    removals_of,
)
from isslim.compress.pruning.repair import Correction, repair
from isslim.compress.pruning.rotation import linear_axes, principal, rotate, rotated_moments
from isslim.compress.pruning.selection import Criterion, removal_order
from isslim.compress.pruning.sensitivity import reader_sensitivity


@dataclass(frozen=True)
class RemovalPlan:
    """A model and everything needed to prune it to any share, in closed form.

    Attributes:
        arrays: the unpruned network as it is cut: with narrow layers, linear axes in their basis.
        declaration: its axes.
        whole: the axes of the network as it was given.
        order: (axis, component) in the order of removal over all axes.
        savings: what removing each entry of `order` saves, the other axes at full size.
        moments: per site, for the repair.
        costs: what removing each entry of `order` loses by the criterion, of components that go
            together in all; empty: not known.
        before: the network before narrow layers were put in; None: there are none.
        cost: of a network of some sizes, by which a narrow layer that was put in pays or does not.
    """

    arrays: Arrays
    declaration: NetworkAxes
    whole: NetworkAxes
    order: tuple[tuple[str, int], ...]
    savings: NDArray[np.float64]
    moments: Mapping[str, Moments]
    costs: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    before: Observed | None = None
    cost: Cost = axes.mult_adds


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
    narrow: Sequence[NarrowPlace] = (),
    blocks: Sequence[int] = (),
    equal: Sequence[Sequence[str]] = (),
    cost: Cost | None = None,
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
        narrow: where narrow layers are put in; their widths are prunable axes too.
        blocks: rows of each block that the decoder is taken apart into, by falling frequency, with
            a narrow layer before each; empty: it stays as it is.
        equal: groups of axes of one size that have to keep one size: they lose a component each
            at a time, or none of them shrinks where not all may.
        cost: of a network of some sizes, such as its time; a removal is then valued by what it
            saves of that, not by `count`.
        criterion: orders the components of one axis.

    Requires: `observed` was gathered from the same network.
    Ensures: the order of each axis is that of the criterion; the width of a narrow layer that is
        put in goes by what its readers lose.

    Raises:
        ValueError: when a narrow layer or blocks cannot be put in, or the text's frequencies, by
            which blocks are made, are not known.
    """
    before = Observed(arrays, declaration, observed.moments)
    frequencies = observed.frequencies
    if rotate_axes:
        linear = [axis for axis in linear_axes(declaration) if axis in prunable]
        before, _ = _rotated(before, frequencies, linear)
    if blocks:
        if frequencies is None:
            raise ValueError("blocks by frequency need to know how often each token occurs")
        before = in_blocks(before, frequencies, blocks)
    places = useful(before.declaration, [*narrow, *map(place_of, range(len(blocks)))], prunable)
    everything, losses = _rotated(
        inserted(before, places), frequencies, [place.axis for place in places]
    )
    felt = ActivationStatistics(dict(everything.moments), observed.tokens, frequencies)
    entries: list[Removal] = []
    for group in groups_of(prunable, equal):
        orders = [
            criterion(
                axis,
                *reader_sensitivity(everything.arrays, everything.declaration, felt, axis),
                min_kept=min_kept,
            )
            for axis in group
        ]
        saving = sum(_saving(everything.declaration, axis, count, cost) for axis in group)
        entries += removals_of(group, orders, saving)
    for place in places:
        order = by_loss(place.axis, losses[place.axis], min_kept)
        saving = _saving(everything.declaration, place.axis, count, cost)
        first = hump(everything.declaration, place, _value(everything.declaration, count, cost))
        entries += in_one_piece(removals_of((place.axis,), [order], saving), first)
    entries.sort(key=lambda entry: (entry.cost, entry.position, entry.group[0]))
    return RemovalPlan(
        everything.arrays,
        everything.declaration,
        declaration,
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
        everything.moments,
        np.array(
            [cost for entry in entries for cost in (entry.loss, *(0.0 for _ in entry.group[1:]))]
        ),
        before if places or blocks else None,
        cost or (axes.parameters if count == "parameters" else axes.mult_adds),
    )


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
    reached = np.cumsum(removal_plan.savings)
    reached = reached / reached[-1:]  # the last is 1, whatever the rounding
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
    return replace(cut(removal_plan, keep, correction), share=gone)


def cut(
    removal_plan: RemovalPlan,
    keep: Keep,
    correction: Correction = "inputs",
    ridges: dict[str, float] | None = None,
) -> Pruned:
    """Keeps some components, whatever the order of removal, and repairs them.

    A narrow layer that was put in and does not pay at these sizes is left out, and nothing is lost
    by it.

    Args:
        removal_plan: the network.
        keep: per axis of its declaration the kept indices (K,), ascending.
        correction: the replacement of the removed components.
        ridges: see `repair`.

    Returns:
        The candidate, whose share is not known: 0.

    Ensures: as `prune`.
    """
    network: Observed | RemovalPlan = removal_plan
    if removal_plan.before is not None:
        places, _ = staying(_sized(removal_plan, keep), removal_plan.whole, removal_plan.cost)
        everything = Observed(removal_plan.arrays, removal_plan.declaration, removal_plan.moments)
        network = with_only(removal_plan.before, everything, places, removal_plan.whole)
    sizes = network.declaration.axes
    keep = {axis: keep.get(axis, np.arange(size)) for axis, size in sizes.items()}
    repaired = repair(
        network.arrays, network.declaration, keep, network.moments, correction, ridges
    )
    small, declaration = axes.select_components(repaired, network.declaration, keep)
    reference = axes.mask_components(repaired, network.declaration, keep)
    return Pruned(keep, small, declaration, reference, 0.0, correction)


def outline(removal_plan: RemovalPlan, keep: Keep) -> NetworkAxes:
    """The axes of what `cut` leaves, by counting alone.

    Args:
        removal_plan: the network.
        keep: per axis the kept indices (K,).
    """
    sized = _sized(removal_plan, keep)
    if removal_plan.before is None:
        return sized
    return staying(sized, removal_plan.whole, removal_plan.cost)[1]


def _sized(removal_plan: RemovalPlan, keep: Keep) -> NetworkAxes:
    return axes.resized(
        removal_plan.declaration, {axis: len(index) for axis, index in keep.items()}
    )


GRID = (0.2, 0.4, 0.6, 0.8)
"""Shares that are tried first, ascending: they draw the curve."""
LAST_PIECE = 0.1
"""Share of all savings from which what goes last in one piece is tried for itself."""


@dataclass(frozen=True)
class Probe:
    """A candidate: the share that goes in whole pieces, and whether it is within the budget."""

    share: float
    within: bool


def bisect_share(
    evaluate: Callable[[float], Probe],
    *,
    grid: Sequence[float] = GRID,
    refinements: int = 4,
) -> float | None:
    """The largest share within the budget: a coarse grid (it draws the curve), then bisection.

    Where no share was refused, and much goes in one piece at the end, all of it is tried too.

    Args:
        evaluate: tries one share; called once for each.
        grid: shares tried first, ascending; the climb stops at the first that breaks the budget.
        refinements: steps of bisection after it.

    Returns:
        The last share that was within, or None when none was.
    """
    good, bad, gone = None, 1.0, 0.0
    for share in grid:
        found = evaluate(share)
        if not found.within:
            bad = share
            break
        good, gone = share, found.share
    for _ in range(refinements):
        middle = ((good or 0.0) + bad) / 2
        found = evaluate(middle)
        if found.within:
            good, gone = middle, found.share
        else:
            bad = middle
    refused = good is None or bad < 1.0
    return 1.0 if not refused and gone < 1 - LAST_PIECE and evaluate(1.0).within else good


def _rotated(
    network: Observed, frequencies: NDArray[np.float64] | None, linear: Sequence[str]
) -> tuple[Observed, dict[str, NDArray[np.float64]]]:
    """The same network with some axes in the basis in which a cut loses the least.

    And by axis what its readers lose with each component (see `principal`).
    """
    losses = {}
    for axis in linear:
        observed = ActivationStatistics(dict(network.moments), 0, frequencies)
        felt = reader_sensitivity(network.arrays, network.declaration, observed, axis)
        basis, losses[axis] = principal(*felt)
        network = Observed(
            rotate(network.arrays, network.declaration, axis, basis),
            network.declaration,
            rotated_moments(network.moments, network.declaration, axis, basis),
        )
    return network, losses


def _value(declaration: NetworkAxes, count: str, cost: Cost | None) -> Cost:
    """What a network of some sizes costs, in the terms of `_saving`."""
    parameters, work = axes.parameters(declaration), axes.mult_adds(declaration)
    return (
        cost
        or {
            "components": lambda sizes: 0.0,
            "parameters": lambda sizes: float(axes.parameters(sizes)),
            "mult_adds": lambda sizes: float(axes.mult_adds(sizes)),
            "both": lambda sizes: (
                axes.parameters(sizes) / parameters + axes.mult_adds(sizes) / work
            ),
        }[count]
    )


def _saving(declaration: NetworkAxes, axis: str, count: str, cost: Cost | None) -> float:
    """What one component of an axis saves, the other axes at full size; above zero by a cost."""
    if count == "components" and cost is None:
        return 1.0
    smaller = axes.resized(declaration, {axis: declaration.axes[axis] - 1})
    if cost is not None:
        whole = cost(declaration)
        return max(whole - cost(smaller), 1e-6 * whole)
    parameters, work = axes.parameters(declaration), axes.mult_adds(declaration)
    fewer, less = parameters - axes.parameters(smaller), work - axes.mult_adds(smaller)
    if count == "both":
        return fewer / parameters + less / work
    return float(fewer if count == "parameters" else less)
