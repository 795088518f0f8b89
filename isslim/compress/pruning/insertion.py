"""Narrow layers and blocks that an order of removal puts in, and leaves out where they do not pay.

A narrow layer put in is as wide as what it reads, and changes nothing. Its first components save
nothing when they go: before it has become narrow enough the layer is more work than the matrix that
it stands before. So whether it stays is decided at the sizes of a cut. One that does not pay there
was, for this cut, never put in, and all that it read is read by the matrix itself; blocks of a
decoder of which none is narrow are one matrix.

Legend: K width of a narrow layer, D of what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning import blocks, narrow
from isslim.compress.pruning.axes import (
    Arrays,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    mult_adds,
)
from isslim.compress.pruning.moments import Moments
from isslim.compress.pruning.rotation import linear_axes, rotated_inputs

Cost = Callable[[NetworkAxes], float]


@dataclass(frozen=True)
class Observed:
    """A network and the moments of its sites' inputs.

    Attributes:
        arrays: of the network.
        declaration: its axes.
        moments: per site.
    """

    arrays: Arrays
    declaration: NetworkAxes
    moments: Mapping[str, Moments]


def in_blocks(whole: Observed, frequencies: NDArray[np.float64], sizes: Sequence[int]) -> Observed:
    """The same network with its decoder in blocks of words by falling frequency.

    Args:
        whole: with a decoder of one matrix.
        frequencies: of the tokens (V,).
        sizes: rows of each block.
    """
    order = blocks.by_frequency(frequencies)
    arrays, declaration = blocks.split(whole.arrays, whole.declaration, order, sizes)
    moments = {name: each for name, each in whole.moments.items() if name != blocks.DECODER}
    read = {blocks.site_of(block): whole.moments[blocks.DECODER] for block in range(len(sizes))}
    return Observed(arrays, declaration, moments | read)


def useful(
    declaration: NetworkAxes, places: Sequence[NarrowPlace], prunable: Sequence[str]
) -> list[NarrowPlace]:
    """The places in which a narrow layer may save something that nothing else does.

    What is read of a linear axis that shrinks is narrow without a layer.

    Args:
        declaration: of the network.
        places: in question.
        prunable: axes that may shrink.

    Raises:
        ValueError: when a narrow layer cannot stand in one of them.
    """
    shrinking = {axis for axis in linear_axes(declaration) if axis in prunable}
    found = []
    for place in places:
        wrong = narrow.misfit(declaration, place)
        if wrong is not None:
            raise ValueError(f"no narrow layer fits before '{place.site}': {wrong}")
        (site,) = (site for site in declaration.sites if site.name == place.site)
        read = {part.axis for part in declaration.parts(site) if part.reader == place.reader}
        if not read <= shrinking:
            found.append(place)
    return found


def inserted(before: Observed, places: Sequence[NarrowPlace]) -> Observed:
    """The same network with narrow layers that pass everything on.

    Args:
        before: without them.
        places: where they go.
    """
    if not places:
        return before
    arrays, declaration, moments = before.arrays, before.declaration, dict(before.moments)
    for place in places:
        moments[place.name] = narrow.moments_before(moments[place.site], declaration, place)
        arrays, declaration = narrow.insert(arrays, declaration, place)
    return Observed(arrays, declaration, moments)


def staying(
    declaration: NetworkAxes, whole: NetworkAxes, cost: Cost = mult_adds
) -> tuple[tuple[NarrowPlace, ...], NetworkAxes]:
    """Which of the narrow layers that were put in pay at some sizes.

    One after the other is left out, the one first without which the network costs least.

    Args:
        declaration: with all of them, at the sizes of a cut.
        whole: of the network before any was put in.
        cost: of a network of some sizes.

    Returns:
        The places that stay, and the declaration with them alone; blocks of which none is narrow
        are one matrix.
    """
    put_in = [place for place in declaration.narrow if place not in whole.narrow]
    left = cost(declaration)
    while put_in:
        without = [narrow.without_narrow(declaration, place) for place in put_in]
        costs = [cost(each) for each in without]
        best = int(np.argmin(costs))
        if costs[best] > left:
            break
        left, declaration = costs[best], without[best]
        del put_in[best]
    if _is_mergeable(declaration, whole):
        declaration = blocks.without_blocks(declaration, _decoder(whole))
    return tuple(put_in), declaration


def with_only(
    before: Observed, everything: Observed, places: Sequence[NarrowPlace], whole: NetworkAxes
) -> Observed:
    """The network as if only some of the narrow layers had been put in.

    Args:
        before: without any that was put in, but in blocks if it was taken apart.
        everything: with all of them, in the basis in which they are cut.
        places: those that stay.
        whole: of the network as it was given.
    """
    arrays, declaration, moments = dict(before.arrays), before.declaration, dict(before.moments)
    for place in places:
        basis = everything.arrays[place.weight].astype(np.float64).T
        moments[place.name] = everything.moments[place.name]
        taken = [place.weight, place.bias]
        for name, position in place.readers:
            site = next(site for site in declaration.sites if site.name == name)
            parts = [part for part in declaration.parts(site) if part.reader == position]
            own = slice(parts[0].start, parts[-1].inputs.stop)
            moments[name] = moments[name].mapped(rotated_inputs([own], basis))
            taken.append(site.readers[position].parameter)
        arrays |= {name: everything.arrays[name] for name in taken}
        declaration = narrow.declare_narrow(declaration, place)
    if not _is_mergeable(declaration, whole):
        return Observed(arrays, declaration, moments)
    read = {blocks.DECODER: moments[blocks.site_of(0)]}
    return Observed(*blocks.merge(arrays, declaration, _decoder(whole)), moments | read)


def hump(
    declaration: NetworkAxes, place: NarrowPlace, value: Callable[[NetworkAxes], float]
) -> float:
    """What a network gains in cost by a narrow layer that is as wide as what it reads.

    Args:
        declaration: with the narrow layer at full width.
        place: of the layer.
        value: what the network costs.
    """
    return value(declaration) - value(narrow.without_narrow(declaration, place))


def _is_mergeable(declaration: NetworkAxes, whole: NetworkAxes) -> bool:
    """Whether the decoder was taken apart, and no block is narrow."""
    own, given = blocks.block_sizes(declaration), blocks.block_sizes(whole)
    names = [blocks.site_of(block) for block in range(len(own))]
    return bool(own) and not given and all(p.site not in names for p in declaration.narrow)


def _decoder(whole: NetworkAxes) -> PreActivation:
    return next(site for site in whole.sites if site.name == blocks.DECODER)
