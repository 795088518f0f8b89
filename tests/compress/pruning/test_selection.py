"""The order of removal against a search that solves every least-squares problem anew."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning.selection import removal_order

Matrix = NDArray[np.float64]


def drawn(size: int, seed: int = 3) -> tuple[Matrix, Matrix]:
    """A covariance and an energy, (H, H) each."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(500, size)) @ generator.normal(size=(size, size))
    matrix = generator.normal(size=(size + 3, size))
    return np.cov(values.T, bias=True), matrix.T @ matrix


def slow_order(
    covariance: Matrix, energy: Matrix, *, at_once: int, min_kept: int, ridge: float
) -> tuple[list[int], list[float]]:
    """The same greedy order without downdates: every cost is computed from the start each time."""
    size = len(covariance)
    covariance = covariance + ridge * np.trace(covariance) / size * np.eye(size)
    stay, order, costs = list(range(size)), list[int](), list[float]()

    def mixing(kept: list[int]) -> Matrix:
        """Of all components, told from the kept ones (H, K)."""
        return np.linalg.solve(covariance[np.ix_(kept, kept)], covariance[kept]).T

    while len(stay) > min_kept:
        told = mixing(stay)
        felt = told.T @ energy @ told
        own = []
        for place, each in enumerate(stay):
            others = [other for other in stay if other != each]
            left = covariance[each, each]
            if others:
                left -= covariance[each, others] @ np.linalg.solve(
                    covariance[np.ix_(others, others)], covariance[others, each]
                )
            own.append((felt[place, place] * left, each))
        gone = sorted(own)[: min(at_once, len(stay) - min_kept)]
        order += [each for _, each in gone]
        costs += [cost for cost, _ in gone]
        stay = [each for each in stay if each not in order]
    return order, np.maximum.accumulate(costs or [0.0])[: len(costs)].tolist()


@pytest.mark.parametrize("min_kept", [1, 3, 8, 9])
@pytest.mark.parametrize(("groups", "at_once"), [(256, 1), (8, 1), (4, 2), (3, 2), (2, 4)])
def test_order_and_costs_are_those_of_the_slow_search(
    groups: int, at_once: int, min_kept: int
) -> None:
    covariance, energy = drawn(8)
    before = covariance.copy(), energy.copy()
    found = removal_order("units", covariance, energy, min_kept=min_kept, groups=groups, ridge=0.01)
    order, costs = slow_order(covariance, energy, at_once=at_once, min_kept=min_kept, ridge=0.01)
    assert found.axis == "units"
    assert found.components.tolist() == order
    assert found.components.dtype == np.int64
    np.testing.assert_allclose(found.costs, costs, rtol=1e-8)
    np.testing.assert_array_equal(covariance, before[0])
    np.testing.assert_array_equal(energy, before[1])


def test_ridge_and_number_kept_where_nothing_is_asked_for() -> None:
    covariance, energy = drawn(6)
    found = removal_order("units", covariance, energy)
    order, costs = slow_order(covariance, energy, at_once=1, min_kept=1, ridge=1e-3)
    assert found.components.tolist() == order
    np.testing.assert_allclose(found.costs, costs, rtol=1e-8)


def test_two_go_at_once_from_512_components_on() -> None:
    covariance, energy = drawn(512)
    found = removal_order("units", covariance, energy, min_kept=500)
    together = removal_order("units", covariance, energy, min_kept=500, groups=256)
    apart = removal_order("units", covariance, energy, min_kept=500, groups=257)
    assert found.components.tolist() == together.components.tolist() != apart.components.tolist()


def test_first_removal_is_the_cheapest_of_all_by_brute_force() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(500, 6)) @ generator.normal(size=(6, 6))
    values -= values.mean(0)
    matrix = generator.normal(size=(9, 6))
    order = removal_order("a", values.T @ values / 500, matrix.T @ matrix, ridge=1e-9)

    def loss(gone: tuple[int, ...]) -> float:
        """Of the readers' signal, by least squares on the rows."""
        stay = [k for k in range(6) if k not in gone]
        told = np.linalg.lstsq(values[:, stay], values[:, list(gone)], rcond=None)[0]
        error = values[:, list(gone)] - values[:, stay] @ told
        return float(np.square(error @ matrix[:, list(gone)].T).sum(1).mean())

    assert order.components[0] == min(range(6), key=lambda k: loss((k,)))
    assert order.costs[0] == pytest.approx(loss((int(order.components[0]),)), rel=1e-5)
    # Greedy: each next one is the best given those already gone.
    gone: tuple[int, ...] = ()
    for component in order.components:
        best = min((k for k in range(6) if k not in gone), key=lambda k: loss((*gone, k)))
        assert loss((*gone, int(component))) <= 1.05 * loss((*gone, best))
        gone = (*gone, int(component))


def test_dead_and_duplicate_units_go_first_and_cost_nothing() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(400, 5))
    values[:, 1] = 0.0
    values[:, 4] = values[:, 2] * 2 + 1
    order = removal_order("a", np.cov(values.T, bias=True), np.eye(5))
    assert order.components[0] == 1
    assert order.components[1] in (2, 4)
    assert order.costs[1] < 0.01


def test_components_that_cost_the_same_go_in_their_order() -> None:
    dear = np.arange(300) % 3 == 1
    order = removal_order("a", np.eye(300), np.diag(1.0 + dear), min_kept=0)
    assert order.components.tolist() == [*np.flatnonzero(~dear), *np.flatnonzero(dear)]


def test_an_activation_that_never_moved_is_ordered_by_what_its_readers_feel() -> None:
    energy = np.diag([3.0, 1.0, 2.0])
    order = removal_order("a", np.zeros((3, 3)), energy, min_kept=0)
    assert order.components.tolist() == [1, 2, 0]
    np.testing.assert_allclose(order.costs, 1e-15 * np.array([1.0, 2.0, 3.0]), rtol=1e-9, atol=0)


def test_groups_of_removals_stay_close_to_one_by_one() -> None:
    covariance, energy = drawn(40, seed=7)
    single = removal_order("a", covariance, energy, groups=1000)
    grouped = removal_order("a", covariance, energy, groups=10)
    assert len(set(single.components)) == len(set(grouped.components)) == 39

    def loss(gone: NDArray[np.int64]) -> float:
        stay = np.setdiff1d(np.arange(40), gone)
        mixing = np.linalg.solve(covariance[np.ix_(stay, stay)], covariance[np.ix_(stay, gone)])
        left = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, stay)] @ mixing
        return float(np.sum(energy[np.ix_(gone, gone)] * left))

    # Four at once choose almost as well as one by one, and far better than chance.
    assert loss(grouped.components[:20]) < 1.5 * loss(single.components[:20])
    assert loss(grouped.components[:20]) < 0.8 * loss(np.arange(20))


@pytest.mark.parametrize(
    ("covariance", "energy"), [((3, 2), (3, 3)), ((3, 3), (2, 2)), ((3, 3), (3, 2))]
)
def test_matrices_of_other_shapes_are_refused(
    covariance: tuple[int, int], energy: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match=r"expected two \(H, H\) matrices, got \(3, .\) and"):
        removal_order("a", np.ones(covariance), np.ones(energy))
