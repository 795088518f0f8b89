"""The algebra of named axes against a walk over single entries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import (
    AxisMismatch,
    InputMatrix,
    InputSlice,
    NetworkAxes,
    PreActivation,
    Segment,
)
from tests.compress.pruning import made

KEEPS: list[dict[str, NDArray[np.int64]]] = [
    {"a": np.array([1, 3]), "b": np.array([0])},
    {"a": np.array([0, 1, 2])},
    {"b": np.array([1])},
    {"a": np.array([2]), "b": np.array([0, 1])},
    {},
]


@pytest.mark.parametrize("keep", KEEPS, ids=str)
def test_selection_leaves_the_entries_of_kept_components_in_their_order(
    keep: dict[str, NDArray[np.int64]],
) -> None:
    declaration = made.network()
    arrays = made.filled(declaration)
    small, declared = axes.select_components(arrays, declaration, keep)
    declared.check(small)
    assert declared.axes == {
        axis: len(keep.get(axis, range(size))) for axis, size in declaration.axes.items()
    }
    assert declared.sites == declaration.sites
    assert declared.produced == declaration.produced
    for name, array in arrays.items():
        kept = [
            array[index]
            for index, belongs in made.entries(declaration, name)
            if all(made.is_kept(owner, keep) for owner in belongs)
        ]
        assert small[name].ravel().tolist() == kept
        assert small[name].dtype == np.float32
        assert (small[name] is array) is (len(kept) == array.size)  # no copy without need


@pytest.mark.parametrize("keep", KEEPS, ids=str)
def test_mask_is_zero_at_the_entries_of_removed_components_alone(
    keep: dict[str, NDArray[np.int64]],
) -> None:
    declaration = made.network()
    arrays = made.filled(declaration)
    before = {name: array.copy() for name, array in arrays.items()}
    expected = made.masked(arrays, declaration, keep)
    found = axes.mask_components(arrays, declaration, keep)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
        np.testing.assert_array_equal(arrays[name], before[name])
        assert not np.shares_memory(array, arrays[name])


@pytest.mark.parametrize("keep", KEEPS, ids=str)
def test_scattered_selection_is_the_mask(keep: dict[str, NDArray[np.int64]]) -> None:
    declaration = made.network()
    arrays = made.filled(declaration)
    small, _ = axes.select_components(arrays, declaration, keep)
    full = axes.scatter_components(small, declaration, keep)
    expected = made.masked(arrays, declaration, keep)
    assert full.keys() == expected.keys()
    for name, array in full.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == np.float32


@pytest.mark.parametrize("axis", ["a", "b"])
def test_squared_norm_of_a_group_is_that_of_its_slices(axis: str) -> None:
    declaration = made.network()
    arrays = made.filled(declaration)
    expected = np.zeros(declaration.axes[axis])
    for name, array in arrays.items():
        for index, belongs in made.entries(declaration, name):
            for owner, component in belongs:
                if owner == axis:  # an entry where two slices cross counts in both
                    expected[component] += float(array[index]) ** 2
    found = axes.group_squared_norms(arrays, declaration, axis)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.dtype == np.float64


def test_squares_are_summed_in_double_precision() -> None:
    declaration = NetworkAxes({"a": 1}, {"w": ((Segment(None, 3),), (Segment("a", 1),))}, (), {})
    arrays = {"w": np.array([[1e4], [1.0], [1.0]], np.float32)}
    assert axes.group_squared_norms(arrays, declaration, "a").tolist() == [1e8 + 2]


def test_counts_are_those_of_the_arrays() -> None:
    declaration = made.network()
    arrays = made.filled(declaration)
    assert axes.parameters(declaration) == sum(array.size for array in arrays.values())
    read = ("gates", "recurrent", "tied")
    assert axes.mult_adds(declaration) == sum(arrays[name].size for name in read)
    assert axes.shape(declaration, "mixed") == (7, 2, 10)


def test_activations_stand_one_after_the_other() -> None:
    declaration = made.network()
    layer, decoder = declaration.sites
    assert declaration.parts(layer) == [
        InputSlice(reader=0, activation="below", axis="b", start=0, offset=0, size=2),
        InputSlice(reader=0, activation="fixed", axis=None, start=2, offset=2, size=3),
        InputSlice(reader=1, activation="a:before", axis="a", start=5, offset=0, size=4),
    ]
    assert [part.inputs for part in declaration.parts(layer)] == [
        slice(0, 2),
        slice(2, 5),
        slice(5, 9),
    ]
    assert [part.columns for part in declaration.parts(layer)] == [
        slice(0, 2),
        slice(2, 5),
        slice(0, 4),
    ]
    assert declaration.reads(layer, "a")
    assert declaration.reads(layer, "b")
    assert not declaration.reads(decoder, "a")
    everything = declaration.all_components()
    assert {axis: index.tolist() for axis, index in everything.items()} == {
        "a": [0, 1, 2, 3],
        "b": [0, 1],
    }


def test_other_sizes_change_the_segments_of_their_axis_alone() -> None:
    declaration = made.network()
    other = axes.resized(declaration, {"a": 7})
    assert other.axes == {"a": 7, "b": 2}
    assert axes.shape(other, "gates") == (21, 5)
    assert axes.shape(other, "mixed") == (10, 2, 13)
    assert axes.resized(other, {"a": 4}) == declaration


def test_every_disagreement_is_told_in_order() -> None:
    declaration = made.network()
    arrays = made.filled(declaration)
    declaration.check(arrays)
    arrays["extra"] = arrays.pop("bias")
    arrays["tied"] = arrays["tied"][:, :1]
    reader = InputMatrix("recurrent", ("a:before", "too many"))
    twice = (Segment("a", 4, repeat=3),)
    site = PreActivation("layer", (reader, InputMatrix("absent", ())), None)
    repeated = PreActivation("repeated", (InputMatrix("square", ("a",)),), None)
    wrong = replace(
        declaration,
        axes={"a": 4},
        dimensions={**declaration.dimensions, "square": (twice, twice)},
        sites=(site, repeated),
    )
    arrays["square"] = np.zeros((12, 12), np.float32)
    with pytest.raises(AxisMismatch) as refused:
        wrong.check(arrays)
    assert refused.value.issues == [
        "'bias' is declared but absent",
        "'extra' is not declared",
        "'gates': b is 2, not None",
        "'mixed': b is 2, not None",  # in two segments
        "'mixed': b is 2, not None",
        "'tied' has shape (5, 1), declared (5, 2)",
        "'tied': b is 2, not None",
        "site 'layer' reads 2 activations with 'recurrent', whose second dimension has 1 segments",
        "site 'repeated' reads 1 activations with 'square', whose second dimension has 1 segments",
    ]
    assert str(refused.value) == "; ".join(refused.value.issues)


@pytest.mark.parametrize("change", [axes.select_components, axes.mask_components])
def test_arrays_that_do_not_fit_are_refused(change: object) -> None:
    declaration = made.network()
    arrays = made.filled(declaration)
    arrays["bias"] = arrays["bias"][:-1]
    with pytest.raises(AxisMismatch, match=r"'bias' has shape \(11,\), declared \(12,\)"):
        change(arrays, declaration, {})  # type: ignore[operator]
