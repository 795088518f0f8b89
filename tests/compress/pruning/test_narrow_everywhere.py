"""Narrow layers in every place of a recurrent network: exact until cut, equal to the reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes, blocks, narrow
from isslim.compress.pruning.axes import NarrowPlace
from isslim.compress.pruning.insertion import Observed, in_blocks, inserted
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.compress.pruning.ranking import RemovalPlan, cut, outline, rank_components
from isslim.compress.pruning.rotation import linear_axes, rotate, rotated_moments
from tests.compress.pruning import recurrent
from tests.compress.pruning.recurrent import EMBEDDING, UNITS, WORDS

TEXT = recurrent.tokens()
SIZES = (10, 20, 30)
JOINT = [True, False]


def everywhere(*, joint: bool, in_parts: bool) -> tuple[Observed, Observed, list[NarrowPlace]]:
    """The plain network, the same with every narrow layer, and their places."""
    declaration = recurrent.declared(joint=joint)
    arrays = recurrent.drawn(declaration)
    found = recurrent.observed(arrays, declaration, TEXT)
    plain = before = Observed(arrays, declaration, found.moments)
    places = [recurrent.place(0, "ih", joint=joint), *recurrent.places(joint=joint)]
    if in_parts:
        assert found.frequencies is not None
        before = in_blocks(plain, found.frequencies, SIZES)
        places += [blocks.place_of(block) for block in range(len(SIZES))]
    else:
        places.append(BOTTLENECK)
    return plain, inserted(before, places), places


def logits(network: Observed) -> NDArray[np.float64]:
    network.declaration.check(network.arrays)
    return recurrent.run(network.arrays, network.declaration, TEXT[:80])[0]


def turned(network: Observed, seed: int = 0) -> Observed:
    """With another basis of every linear axis, and other biases of narrow layers."""
    generator = np.random.default_rng(seed)
    arrays, moments = network.arrays, network.moments
    for axis in linear_axes(network.declaration):
        size = network.declaration.axes[axis]
        basis, _ = np.linalg.qr(generator.normal(size=(size, size)))
        arrays = rotate(arrays, network.declaration, axis, basis)
        moments = rotated_moments(moments, network.declaration, axis, basis)
    return Observed(arrays, network.declaration, moments)


@pytest.mark.parametrize("joint", JOINT)
@pytest.mark.parametrize("in_parts", [True, False])
def test_put_in_they_change_nothing_and_read_what_their_moments_say(
    joint: bool, in_parts: bool
) -> None:
    plain, wide, _ = everywhere(joint=joint, in_parts=in_parts)
    np.testing.assert_allclose(logits(wide), logits(plain), rtol=0, atol=1e-9)
    other = turned(wide)
    np.testing.assert_allclose(logits(other), logits(plain), rtol=0, atol=1e-5)
    for network in (wide, other):
        found = recurrent.observed(network.arrays, network.declaration, TEXT)
        assert network.moments.keys() == found.moments.keys()
        for name, expected in found.moments.items():
            np.testing.assert_allclose(network.moments[name].mean, expected.mean, atol=1e-5)
            np.testing.assert_allclose(network.moments[name].second, expected.second, atol=1e-5)
            half, same = network.moments[name].half, expected.half
            np.testing.assert_allclose(half.second, same.second, atol=1e-5)


@pytest.mark.parametrize("joint", JOINT)
def test_their_sites_stand_before_those_that_read_them_in_whatever_order_they_came(
    joint: bool,
) -> None:
    _, wide, places = everywhere(joint=joint, in_parts=True)
    again = recurrent.declared(joint=joint)
    again = blocks.declare_blocks(again, SIZES)
    for place in reversed(places):
        again = narrow.declare_narrow(again, place)
    assert again == wide.declaration
    names = [site.name for site in again.sites]
    assert [place.name for place in again.narrow] == [
        name for name in names if name in {place.name for place in places}
    ]
    for place in places:
        between = names[names.index(place.name) + 1 : names.index(place.site)]
        assert all(name.endswith("narrow_hh") for name in between)
    assert narrow.declared_like(recurrent.declared(joint=joint), again) == again


@pytest.mark.parametrize("joint", JOINT)
@pytest.mark.parametrize("in_parts", [True, False])
def test_multiplied_out_they_are_gone_and_the_function_stays(joint: bool, in_parts: bool) -> None:
    plain, wide, places = everywhere(joint=joint, in_parts=in_parts)
    small_axes = axes.resized(wide.declaration, {place.axis: 3 for place in places})
    arrays = recurrent.drawn(small_axes, seed=4)
    if in_parts:
        arrays[blocks.ORDER] = wide.arrays[blocks.ORDER]
    expected = logits(Observed(arrays, small_axes, {}))
    declaration = small_axes
    for place in places:
        assert narrow.pays(declaration, place) is (
            axes.mult_adds(declaration) < axes.mult_adds(narrow.without_narrow(declaration, place))
        )
        arrays, declaration = narrow.fold(arrays, declaration, place)
        np.testing.assert_allclose(
            logits(Observed(arrays, declaration, {})), expected, rtol=0, atol=1e-5
        )
    if in_parts:
        decoder = plain.declaration.sites[-1]
        arrays, declaration = blocks.merge(arrays, declaration, decoder)
        np.testing.assert_allclose(
            logits(Observed(arrays, declaration, {})), expected, rtol=0, atol=1e-5
        )
    assert declaration == plain.declaration


@pytest.mark.parametrize("joint", JOINT)
@pytest.mark.parametrize("in_parts", [True, False])
def test_weights_and_multiply_adds_are_counted_without_the_order_of_the_words(
    joint: bool, in_parts: bool
) -> None:
    _, wide, places = everywhere(joint=joint, in_parts=in_parts)
    ranks = {place.axis: rank for rank, place in enumerate(places, start=2)}
    parameters, work, below = WORDS * EMBEDDING + WORDS, 0, EMBEDDING
    for layer, units in enumerate(UNITS):
        for name, width in (("input", below), ("recurrent", units)):
            rank = ranks[f"rank:toy{layer}.{name}"]
            work += rank * (2 * units + width)
            parameters += rank * (2 * units + width) + rank + 2 * units
        below = units
    rows = {f"rank:softmax{block}": size for block, size in enumerate(SIZES)}
    for axis, words in rows.items() if in_parts else [("bottleneck", WORDS)]:
        work += ranks[axis] * (words + below)
        parameters += ranks[axis] * (words + below + 1)
    small = axes.resized(wide.declaration, ranks)
    assert (axes.parameters(small), axes.mult_adds(small)) == (parameters, work)


@pytest.mark.parametrize("joint", JOINT)
@pytest.mark.parametrize("in_parts", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_kept_the_small_network_is_the_masked_reference(
    joint: bool, in_parts: bool, seed: int
) -> None:
    removal_plan = plan(joint=joint, in_parts=in_parts)
    generator = np.random.default_rng(seed)
    keep = {
        axis: np.sort(generator.choice(size, generator.integers(1, size + 1), replace=False))
        for axis, size in removal_plan.declaration.axes.items()
    }
    found = cut(removal_plan, keep)
    assert found.declaration == outline(removal_plan, keep)
    assert found.keep.keys() == found.declaration.axes.keys()
    for axis, index in found.keep.items():
        np.testing.assert_array_equal(index, keep[axis])
    whole = narrow.declared_like(recurrent.declared(joint=joint), found.declaration)
    small = logits(Observed(found.arrays, found.declaration, {}))
    np.testing.assert_allclose(
        small, logits(Observed(found.reference, whole, {})), rtol=0, atol=1e-5
    )
    back, _ = axes.select_components(found.reference, whole, found.keep)
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(array, back[name])
    scattered = axes.scatter_components(found.arrays, whole, found.keep)
    for name, array in found.reference.items():
        np.testing.assert_array_equal(array, scattered[name])


def plan(*, joint: bool, in_parts: bool) -> RemovalPlan:
    declaration = recurrent.declared(joint=joint)
    arrays = recurrent.drawn(declaration)
    return rank_components(
        arrays,
        declaration,
        recurrent.observed(arrays, declaration, TEXT),
        prunable=list(declaration.axes),
        min_kept=1,
        narrow=[*recurrent.places(joint=joint), *([] if in_parts else [BOTTLENECK])],
        blocks=SIZES if in_parts else (),
    )
