"""Repair of sites that read concatenations, with and without a bias, against least squares."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import (
    AxisMismatch,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.ranking import rank_components
from isslim.compress.pruning.repair import Correction, repair

SIZES = {"a": 6, "b": 5}


def declared(bias: str | None) -> NetworkAxes:
    """One site: `first` reads [a; fixed; b; a * a], `second` reads [b]."""
    own = (Segment(None, 4),)
    first = (Segment("a", 6), Segment(None, 3), Segment("b", 5), Segment("a", 6))
    dimensions = {"first": (own, first), "second": (own, (Segment("b", 5),))}
    site = PreActivation(
        "site",
        (
            InputMatrix("first", ("a", "fixed", "b", "a:squared")),
            InputMatrix("second", ("b:previous",)),
        ),
        bias,
    )
    return NetworkAxes(SIZES, dimensions | ({bias: (own,)} if bias else {}), (site,), {})


def drawn(count: int = 3000) -> NDArray[np.float32]:
    """Correlated inputs with means, (N, 25)."""
    generator = np.random.default_rng(3)
    hidden = generator.normal(size=(count, 7))
    inputs = np.tanh(hidden @ generator.normal(size=(7, 19)) + 0.3)
    a = inputs[:, :6]
    return np.concatenate([a, inputs[:, 6:14], a * a, inputs[:, 14:]], axis=1).astype(np.float32)


@pytest.mark.parametrize("bias", ["bias", None])
def test_repair_of_concatenated_inputs_equals_least_squares(bias: str | None) -> None:
    generator, declaration, inputs = np.random.default_rng(1), declared(bias), drawn()
    arrays = {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }
    keep = {"a": np.array([0, 2, 5]), "b": np.array([1, 3, 4])}
    repaired = repair(arrays, declaration, keep, {"site": Moments.of(inputs)})
    stay = np.concatenate(
        [[0, 2, 5], 6 + np.arange(3), 9 + keep["b"], 14 + keep["a"], 20 + keep["b"]]
    )
    joint = np.concatenate([arrays["first"], arrays["second"]], axis=1)
    after = np.concatenate([repaired["first"], repaired["second"]], axis=1)
    gone = np.setdiff1d(np.arange(25), stay)
    assert not after[:, gone].any()
    wanted = inputs.astype(np.float64) @ joint.T
    design = inputs[:, stay].astype(np.float64)
    if bias:
        design = np.concatenate([design, np.ones((len(inputs), 1))], axis=1)
    best = np.square(wanted - design @ np.linalg.lstsq(design, wanted, rcond=None)[0]).mean()
    shift = repaired[bias] - arrays[bias] if bias else 0.0
    found = np.square(wanted - inputs @ after.T - shift).mean()
    assert best * 0.999 <= found <= 1.01 * best  # the ridge is the difference
    dropped = np.square(wanted - inputs[:, stay] @ joint[:, stay].T).mean()
    assert found < 0.4 * dropped
    small, declaration = axes.select_components(repaired, declaration, keep)
    np.testing.assert_allclose(
        inputs[:, stay] @ np.concatenate([small["first"], small["second"]], axis=1).T,
        inputs @ after.T,
        rtol=0,
        atol=2e-4,
    )


@pytest.mark.parametrize("count", [1, 3, 20, 3000])
@pytest.mark.parametrize("bias", ["bias", None])
def test_what_is_kept_stays_bit_for_bit_and_what_nothing_reads_costs_nothing(
    bias: str | None, count: int
) -> None:
    generator, declaration, inputs = np.random.default_rng(1), declared(bias), drawn(count)
    arrays = {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }
    keep = {"a": np.array([0, 2, 5]), "b": np.array([1, 3, 4])}
    unread = {
        "first": [1, 3, 4, 9, 11, 15, 17, 18],
        "second": [0, 2],
    }  # of every segment the components that go
    for name, columns in unread.items():
        arrays[name][:, columns] = 0
    repaired = repair(arrays, declaration, keep, {"site": Moments.of(inputs)})
    for name in declaration.dimensions:
        np.testing.assert_array_equal(repaired[name], arrays[name])


@pytest.mark.parametrize("bias", ["bias", None])
@pytest.mark.parametrize("count", [6, 12, 40, 200, 3000])
def test_a_correction_is_never_worse_than_none_on_other_rows(bias: str | None, count: int) -> None:
    declaration, everything = declared(bias), drawn(6000)
    fresh = everything[3000:]
    keep = {"a": np.array([0, 2, 5]), "b": np.array([1, 3, 4])}
    ratios = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        arrays = {
            name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
            for name in declaration.dimensions
        }
        seen = generator.permutation(everything[:3000])[:count]
        errors = []
        for correction in ("inputs", "means"):
            after = repair(arrays, declaration, keep, {"site": Moments.of(seen)}, correction)
            change = sum(
                fresh[:, columns] @ (after[name] - arrays[name]).astype(np.float64).T
                for name, columns in (("first", slice(0, 20)), ("second", slice(20, 25)))
            )
            shift = after[bias] - arrays[bias] if bias else 0.0
            errors.append(float(np.square(change + shift).mean()))
        ratios.append(errors[0] / errors[1])
    # Single draws of a few rows may mislead; on average the fit helps, the more the more rows there
    # are.
    assert np.mean(ratios) < {6: 1.0, 12: 0.9, 40: 0.6, 200: 0.4, 3000: 0.35}[count]
    assert max(ratios) < 1.35


@pytest.mark.parametrize("correction", ["means", "nothing"])
def test_weaker_corrections_leave_the_kept_columns_and_tell_means_or_nothing(
    correction: Correction,
) -> None:
    generator, declaration, inputs = np.random.default_rng(1), declared("bias"), drawn(50)
    arrays = {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }
    keep = {"a": np.array([0, 2, 5]), "b": np.arange(5)}
    repaired = repair(arrays, declaration, keep, {"site": Moments.of(inputs)}, correction)
    gone = [1, 3, 4, 15, 17, 18]
    stay = np.setdiff1d(np.arange(20), gone)
    np.testing.assert_array_equal(repaired["first"][:, stay], arrays["first"][:, stay])
    assert not repaired["first"][:, gone].any()
    told = arrays["first"][:, gone].astype(np.float64) @ inputs[:, gone].mean(0, dtype=np.float64)
    wanted = told if correction == "means" else np.zeros(4)
    np.testing.assert_allclose(repaired["bias"] - arrays["bias"], wanted, rtol=0, atol=1e-5)


def test_a_component_is_ordered_by_all_the_segments_that_carry_it() -> None:
    declaration, inputs = declared("bias"), drawn()
    generator = np.random.default_rng(1)
    arrays = {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }
    arrays["first"][:, 2] = 0  # component 2 of `a` is silent in its first segment ...
    only_first = rank_components(
        arrays,
        declaration,
        ActivationStatistics({"site": Moments.of(inputs)}, len(inputs)),
        prunable=["a"],
        min_kept=1,
    )
    arrays["first"][:, 16] = 0  # ... and now in the second too
    both = rank_components(
        arrays,
        declaration,
        ActivationStatistics({"site": Moments.of(inputs)}, len(inputs)),
        prunable=["a"],
        min_kept=1,
    )
    assert both.order[0] == ("a", 2)
    assert only_first.order[0] != ("a", 2)


def test_a_reader_must_name_one_activation_for_each_segment() -> None:
    declaration = declared("bias")
    site = PreActivation(
        "site", (InputMatrix("first", ("a",)), *declaration.sites[0].readers[1:]), "bias"
    )
    wrong = NetworkAxes(declaration.axes, declaration.dimensions, (site,), {})
    arrays = {
        name: np.zeros(axes.shape(declaration, name), np.float32) for name in declaration.dimensions
    }
    with pytest.raises(
        AxisMismatch,
        match="reads 1 activations with 'first', whose second dimension has 4 segments",
    ):
        wrong.check(arrays)


def test_ridges_of_an_earlier_repair_are_taken_again() -> None:
    generator, declaration = np.random.default_rng(1), declared("bias")
    moments = {"site": Moments.of(drawn(300))}
    arrays = {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }
    keep = {"a": np.array([0, 2, 5]), "b": np.array([1, 3, 4])}
    ridges: dict[str, float] = {}
    chosen = repair(arrays, declaration, keep, moments)
    first = repair(arrays, declaration, keep, moments, ridges=ridges)
    assert 0 < ridges["site"] < 1
    again = repair(arrays, declaration, keep, moments, ridges=dict(ridges))
    strong = repair(arrays, declaration, keep, moments, ridges={"site": 1e9})
    means = repair(arrays, declaration, keep, moments, "means")
    for name, array in chosen.items():
        np.testing.assert_array_equal(first[name], array)
        np.testing.assert_array_equal(again[name], array)
        np.testing.assert_allclose(strong[name], means[name], rtol=0, atol=1e-5)
    assert not np.allclose(strong["first"], chosen["first"], atol=1e-2)
