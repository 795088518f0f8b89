"""The path through the sizes against all combinations of them, and against made-up clocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from isslim.compress.search.allocation.curves import Curve
from isslim.compress.search.allocation.knapsack import Counts, Jump, path


def states(jumps: Sequence[Jump], axes: int) -> list[Counts]:
    """All sizes on a path, from whole on."""
    done = [0] * axes
    found = [tuple(done)]
    for jump in jumps:
        assert done[jump.knob] == jump.start < jump.end
        done[jump.knob] = jump.end
        found.append(tuple(done))
    return found


def loss(curves: Sequence[Curve], done: Counts) -> float:
    return sum(float(curve[count]) for curve, count in zip(curves, done, strict=True))


def convex(generator: np.random.Generator, steps: int) -> Curve:
    return np.concatenate([[0.0], np.cumsum(np.sort(generator.exponential(size=steps)))])


@pytest.mark.parametrize("seed", range(5))
def test_where_savings_add_up_no_combination_is_better(seed: int) -> None:
    generator = np.random.default_rng(seed)
    curves = [convex(generator, steps) for steps in (5, 6, 4)]
    rates = generator.uniform(0.5, 2, 3)

    def cost(done: Counts) -> float:
        return float(20 - rates @ done)

    jumps = path(curves, cost)
    everything = [
        (cost(done), loss(curves, done))
        for done in itertools.product(*(range(len(curve)) for curve in curves))
    ]
    for done in states(jumps, 3):
        # The slow way: no other combination costs as little and loses less.
        best = min(lost for spent, lost in everything if spent <= cost(done) + 1e-9)
        assert loss(curves, done) == pytest.approx(best, rel=1e-9)
    assert [jump.saving for jump in jumps] == pytest.approx(
        [rates[jump.knob] * (jump.end - jump.start) for jump in jumps]
    )
    assert sum(jump.loss for jump in jumps) == pytest.approx(loss(curves, (5, 6, 4)))


@pytest.mark.parametrize("seed", range(5))
def test_where_work_is_a_product_of_sizes_few_combinations_are_better(seed: int) -> None:
    generator = np.random.default_rng(seed)
    curves = [convex(generator, 7) for _ in range(3)]
    weights = generator.uniform(0.2, 1, 3)

    def cost(done: Counts) -> float:
        first, second, third = (8 - each for each in done)
        return float(weights @ [first * second, second * second, second * third])

    everything = [
        (cost(done), loss(curves, done)) for done in itertools.product(range(8), repeat=3)
    ]
    for done in states(path(curves, cost), 3):
        best = min(lost for spent, lost in everything if spent <= cost(done) + 1e-9)
        assert loss(curves, done) <= 1.15 * best + 1e-9


def test_a_jump_passes_over_what_does_not_pay_alone() -> None:
    # A narrow layer before 100 x 10 weights pays when fewer than 100 * 10 / 110 = 9.1 are left.
    def cost(done: Counts) -> float:
        return min(1000.0, 110.0 * (10 - done[0])) + 20.0 * (10 - done[1])

    curves = [np.arange(10) ** 2 / 100, np.arange(10) ** 2 / 30]
    jumps = path(curves, cost)
    first = next(jump for jump in jumps if jump.knob == 0)
    assert (first.start, first.end) == (0, 2)
    assert first.saving == pytest.approx(1000 - 880)
    assert all(jump.saving > 0 for jump in jumps)


def test_what_saves_nothing_is_no_part_of_a_path() -> None:
    curves = [np.arange(5) / 10, np.arange(5) / 10]
    jumps = path(curves, lambda done: 5.0 - done[0] + done[1])
    assert {jump.knob for jump in jumps} == {0}
    assert path(curves, lambda done: 1.0) == []


UNITS_LOSE, RANKS_LOSE = 0.08, 0.005
"""Nats for half of either: a unit's cell is a memory, a direction of the read-out is not."""


def recurrent(units: int, *, dispatch: float) -> Callable[[Counts], float]:
    """A made-up clock: an LSTM, or a Scan that costs its dispatch and less multiply-adds."""

    def cost(done: Counts) -> float:
        left, rank = units - done[0], units - done[1]
        native = 4.0 * left * left
        scan = dispatch + 5.0 * min(rank, left) * left
        return min(native, scan) / (4 * units * units)

    return cost


@pytest.mark.parametrize(
    ("units", "graph"), [(100, "units"), (300, "units"), (1000, "rank"), (1500, "rank")]
)
def test_small_layers_lose_units_and_large_ones_rank(units: int, graph: str) -> None:
    half = units // 2
    curves = [loses * (np.arange(units - 3) / half) ** 2 for loses in (UNITS_LOSE, RANKS_LOSE)]
    cost = recurrent(units, dispatch=400_000.0)
    found = next(done for done in states(path(curves, cost), 2) if cost(done) <= 0.5)
    everything = itertools.product(range(0, units - 3, units // 50), repeat=2)
    best = min(loss(curves, done) for done in everything if cost(done) <= 0.5)
    assert loss(curves, found) <= 1.25 * best
    assert (found[1] > 0) is (graph == "rank")


def test_paths_of_many_axes_take_few_evaluations() -> None:
    asked = 0

    def cost(done: Counts) -> float:
        nonlocal asked
        asked += 1
        return float(np.prod([400 - each for each in done[:2]])) + 1000.0 * sum(
            400 - each for each in done[2:]
        )

    curves = [np.arange(397) ** 2 * (1 + axis) / 1e6 for axis in range(9)]
    jumps = path(curves, cost)
    assert states(jumps, 9)[-1] == (396,) * 9
    assert len(jumps) > 100
    assert asked < 20_000
