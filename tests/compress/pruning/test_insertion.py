"""Which narrow layers are put in, and which of them stay at the sizes of a cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from isslim.compress.pruning import axes, blocks
from isslim.compress.pruning.axes import NarrowPlace, NetworkAxes
from isslim.compress.pruning.insertion import staying, useful
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow, without_narrow
from isslim.compress.pruning.ranking import kept_indices, outline, prune, rank_components
from tests.compress.pruning import recurrent

PLAIN = recurrent.declared()
PLACES = recurrent.places(joint=True)
SIZES = (10, 20, 30)


def wide(*places: NarrowPlace, in_parts: bool = False) -> NetworkAxes:
    declaration = blocks.declare_blocks(PLAIN, SIZES) if in_parts else PLAIN
    for place in places:
        declaration = declare_narrow(declaration, place)
    return declaration


def test_an_embedding_that_may_shrink_needs_no_narrow_layer() -> None:
    first = recurrent.place(0, "ih", joint=True)
    every = [first, *PLACES]
    assert useful(PLAIN, every, ["embedding", "units:toy0"]) == PLACES
    assert useful(PLAIN, every, ["units:toy0"]) == every
    with pytest.raises(ValueError, match=r"there is no site 'decoder\.0'"):
        useful(PLAIN, [blocks.place_of(0)], [])


def cheapest(declaration: NetworkAxes, places: list[NarrowPlace]) -> int:
    """The fewest multiply-adds with any of the narrow layers left out."""
    costs = []
    for count in range(len(places) + 1):
        for gone in itertools.combinations(places, count):
            left = declaration
            for place in gone:
                left = without_narrow(left, place)
            costs.append(axes.mult_adds(left))
    return min(costs)


@pytest.mark.parametrize("seed", range(6))
def test_those_stay_that_pay(seed: int) -> None:
    places = [*PLACES, *map(blocks.place_of, range(3))]
    generator = np.random.default_rng(seed)
    declaration = wide(*places, in_parts=True)
    sizes = {axis: int(generator.integers(1, size + 1)) for axis, size in declaration.axes.items()}
    small = axes.resized(declaration, sizes)
    left, found = staying(small, PLAIN)
    assert axes.mult_adds(found) == cheapest(small, places)
    assert set(found.narrow) == set(left)
    narrow_blocks = any(place.site.startswith("decoder") for place in left)
    assert bool(blocks.block_sizes(found)) is narrow_blocks
    assert {axis: found.axes[axis] for axis in found.axes} == {
        axis: size for axis, size in sizes.items() if axis in found.axes
    }


def test_where_a_product_has_its_price_a_narrow_layer_has_to_earn_it() -> None:
    declaration = axes.resized(wide(*PLACES, BOTTLENECK), {place.axis: 2 for place in PLACES})

    def served(found: NetworkAxes) -> float:
        """Each narrow layer in a recurrence takes as long as so many multiply-adds."""
        dispatched = sum(place.name.endswith("narrow_hh") for place in found.narrow)
        return axes.mult_adds(found) + 1000.0 * dispatched

    left, _ = staying(declaration, PLAIN)
    assert left == tuple(PLACES)
    left, _ = staying(declaration, PLAIN, served)
    assert left == (PLACES[1],)
    assert staying(declaration, declaration)[0] == ()  # none was put in


@pytest.mark.parametrize("share", [0.05, 0.4, 0.7, 0.95])
def test_a_share_leaves_out_what_does_not_pay_and_loses_nothing_by_it(share: float) -> None:
    arrays = recurrent.drawn(PLAIN)
    text = recurrent.tokens()
    plan = rank_components(
        arrays,
        PLAIN,
        recurrent.observed(arrays, PLAIN, text),
        prunable=[],
        narrow=[*PLACES, BOTTLENECK],
        min_kept=1,
        count="mult_adds",
    )
    keep, _ = kept_indices(plan, share)
    found = prune(plan, share)
    assert found.declaration == outline(plan, keep)
    assert axes.mult_adds(found.declaration) <= axes.mult_adds(PLAIN)
    if not found.declaration.narrow:
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)


def test_blocks_need_frequencies() -> None:
    arrays = recurrent.drawn(PLAIN)
    observed = recurrent.observed(arrays, PLAIN, recurrent.tokens())
    without = type(observed)(observed.moments, observed.tokens)
    with pytest.raises(ValueError, match="how often each token occurs"):
        rank_components(arrays, PLAIN, without, prunable=[], blocks=SIZES)
