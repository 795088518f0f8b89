"""Sums against numpy on the observations themselves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import moments
from isslim.compress.pruning.moments import (
    ActivationStatistics,
    GatheredMoments,
    Moments,
    Sums,
    shortages,
)

VALUES = np.random.default_rng(0).normal(1.0, 2.0, size=(61, 4)).astype(np.float32)


def expect(sums: Sums, values: NDArray[np.float32]) -> None:
    """That sums are those of some observations."""
    exact = values.astype(np.float64)
    assert sums.count == len(values)
    np.testing.assert_allclose(sums.mean, exact.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sums.second, exact.T @ exact / len(values), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sums.covariance, np.cov(exact.T, bias=True), rtol=1e-5, atol=1e-5)
    assert sums.total.dtype == sums.outer.dtype == np.float64


def test_sums_are_those_of_the_observations_and_can_be_added_and_taken_apart() -> None:
    one, other = Sums.of(VALUES[:20]), Sums.of(VALUES[20:])
    expect(one, VALUES[:20])
    expect(one + other, VALUES)
    expect((one + other) - one, VALUES[20:])


def test_sums_of_many_are_exact() -> None:
    # In single precision the next number behind 2^24 is two more: a sum of ones would stand still.
    grown = np.array([[2.0**24]] + [[1.0]] * 9, np.float32)
    assert Sums.of(grown).total.tolist() == [2.0**24 + 9]


@pytest.mark.parametrize(("first", "expected"), [(None, 30), (7, 7), (0, 0), (61, 61)])
def test_halves_are_samples_of_their_own(first: int | None, expected: int) -> None:
    moments = Moments.of(VALUES, first)
    one, other = moments.halves
    assert (one.count, other.count) == (expected, 61 - expected)
    for half, values in ((one, VALUES[:expected]), (other, VALUES[expected:])):
        if len(values) > 1:
            expect(half, values)
    expect(moments.whole, VALUES)
    assert moments.count == 61
    for name in ("mean", "second", "covariance"):
        np.testing.assert_array_equal(getattr(moments, name), getattr(moments.whole, name))


def test_moments_of_parts_add_up_half_by_half() -> None:
    added = Moments.of(VALUES[:20], 5) + Moments.of(VALUES[20:], 11)
    expect(added.whole, VALUES)
    expect(added.half, np.concatenate([VALUES[:5], VALUES[20:31]]))


def test_a_change_reaches_the_whole_and_its_half() -> None:
    def doubled(sums: Sums) -> Sums:
        return Sums(sums.count, 2 * sums.total, 4 * sums.outer)

    changed = Moments.of(VALUES, 20).mapped(doubled)
    expect(changed.whole, 2 * VALUES)
    expect(changed.half, 2 * VALUES[:20])


def test_each_text_goes_whole_into_the_half_that_has_fewer_rows() -> None:
    gathered = GatheredMoments()
    with pytest.raises(ValueError, match="no observations"):
        gathered.moments()
    found = []
    # Of two halves that have as many rows, the first gets the next text.
    for start, end in ((0, 10), (10, 16), (16, 20), (20, 21)):
        gathered.add(VALUES[start:end])
        found.append([half.count for half in gathered.moments().halves])
        assert gathered.count == end
    assert found == [[10, 0], [10, 6], [10, 10], [11, 10]]
    expect(gathered.moments().whole, VALUES[:21])
    expect(gathered.moments().half, np.concatenate([VALUES[:10], VALUES[20:21]]))


def test_texts_that_are_summed_together_are_summed_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for pending in (1, 9, 1000):
        monkeypatch.setattr(moments, "PENDING", pending)
        gathered = GatheredMoments()
        for start in range(0, 60, 4):
            gathered.add(VALUES[start : start + 4])
        found.append(gathered.moments())
    halves = [place for place in range(60) if place // 4 % 2 == 0]
    for each in found:
        expect(each.whole, VALUES[:60])
        expect(each.half, VALUES[halves])


def statistics(**rows: int) -> ActivationStatistics:
    """So many rows of four inputs at each site."""
    return ActivationStatistics({name: Moments.of(VALUES[:n]) for name, n in rows.items()}, 100)


def test_a_regression_with_few_rows_is_warned_of() -> None:
    assert shortages(statistics(enough=40, more=61)) == []
    warning = (
        "only 39 rows of calibration data for the 4 inputs of `a`: the removed units are "
        "reconstructed from the kept ones only as well as so few rows allow; send more, at least "
        "10 rows per input"
    )
    assert shortages(statistics(b=40, a=39)) == [warning]
    assert shortages(statistics(b=12, a=1, c=40)) == [
        warning.replace("39 rows", "1 row").replace("`a`", "`a` (the worst of 2 such places)")
    ]
    assert statistics().frequencies is None


def test_the_worst_place_is_where_an_input_has_the_fewest_rows() -> None:
    wide = np.random.default_rng(0).normal(size=(30, 10)).astype(np.float32)
    moments = {"narrow": Moments.of(VALUES[:20]), "wide": Moments.of(wide)}
    (warning,) = shortages(ActivationStatistics(moments, 30))
    assert warning.startswith("only 30 rows of calibration data for the 10 inputs of `wide`")
