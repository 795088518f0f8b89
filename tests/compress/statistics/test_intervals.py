"""Intervals against slow references, and how often they hold what they should on drawn data."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.statistics import intervals
from isslim.compress.statistics.intervals import (
    blocks,
    bootstrap,
    fall_of_mean,
    rise_of_perplexity,
    share_of,
    student,
    wilson,
)
from isslim.types.manifest import Estimate


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (1, 128), (37, 100), (128, 128), (3, 2000)])
def test_wilson_holds_the_shares_that_a_score_test_does_not_refuse(hits: int, count: int) -> None:
    share = np.linspace(0, 1, 1_000_001)
    held = share[
        np.abs(hits / count - share) <= 1.959963985 * np.sqrt(share * (1 - share) / count) + 1e-12
    ]
    assert wilson(hits, count) == pytest.approx(
        (held.min(), held.max()), abs=2e-6
    )  # the grid's step


def test_share_without_any_decision_is_unknown_and_an_impossible_one_is_refused() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="12 of 10 decisions"):
        wilson(12, 10)
    with pytest.raises(ValueError, match="more differing decisions"):
        share_of([3], [2])


def test_decisions_of_runs_that_differ_count_as_fewer() -> None:
    alike, unlike = share_of([5] * 20, [50] * 20), share_of([50, 50] + [0] * 18, [50] * 20)
    assert (alike.low, alike.high) == wilson(100, 1000)
    assert unlike.high - unlike.low > 3 * (alike.high - alike.low)
    assert share_of([100], [1000]).high == wilson(100, 1000)[1]
    assert alike.count == unlike.count == 1000


def test_quantiles_of_students_t() -> None:
    for freedom, known in (
        (7, 2.36462),
        (9, 2.26216),
        (19, 2.09302),
        (99, 1.98422),
    ):  # of printed tables
        assert student(freedom) == pytest.approx(known, rel=1e-3)


def slowly(sums: NDArray[np.float64], resamples: int = 4000) -> tuple[float, float]:
    """Block by block, of a ratio of two sums."""
    drawing, values = random.Random(5), []
    for _ in range(resamples):
        top = bottom = 0.0
        for _ in range(len(sums)):
            one, other = sums[drawing.randrange(len(sums))]
            top, bottom = top + one, bottom + other
        values.append(top / bottom)
    values.sort()
    tail = 0.5 * math.erfc(
        math.sqrt(len(sums) / (len(sums) - 1)) * student(len(sums) - 1) / math.sqrt(2)
    )
    return values[int(tail * resamples)], values[int((1 - tail) * resamples)]


def test_bootstrap_is_that_of_drawing_block_by_block() -> None:
    generator = np.random.default_rng(1)
    sums = np.stack([generator.normal(3, 2, 30), generator.uniform(0.5, 2, 30)], axis=1)
    found = bootstrap(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], count=30, unit="rows")
    assert found is not None
    low, high = slowly(sums)
    assert (found.low, found.high) == pytest.approx(
        (low, high), abs=0.08 * (high - low)
    )  # the noise of 2,000 draws
    again = bootstrap(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], count=30, unit="rows")
    assert again == found


def test_too_few_blocks_or_an_infinite_figure_have_no_interval() -> None:
    assert bootstrap(np.ones((7, 1)), lambda drawn: drawn[:, 0], count=7, unit="rows") is None
    assert (
        bootstrap(np.full((9, 1), np.inf), lambda drawn: drawn[:, 0], count=9, unit="rows") is None
    )
    with pytest.raises(ValueError, match="expected"):
        bootstrap(np.ones(9), lambda drawn: drawn[:, 0], count=9, unit="rows")


def test_blocks_hold_every_row_once() -> None:
    runs = [np.arange(2.0 * rows).reshape(rows, 2) for rows in (300, 7, 1, 0)]
    found = blocks(runs).sums
    assert len(found) >= intervals.ENOUGH_BLOCKS
    assert found.sum(axis=0) == pytest.approx(sum(run.sum(axis=0) for run in runs))
    assert blocks([np.ones((1000, 1))] * 25).sums.tolist() == [[1000.0]] * 25


def correlated(
    generator: np.random.Generator, shape: tuple[int, int], persistence: float
) -> NDArray[np.float64]:
    """Rows of an autoregressive series of unit variance."""
    noise = generator.normal(size=shape) * math.sqrt(1 - persistence**2)
    series = np.empty(shape)
    series[:, 0] = generator.normal(size=shape[0])
    for step in range(1, shape[1]):
        series[:, step] = persistence * series[:, step - 1] + noise[:, step]
    return series


@pytest.mark.parametrize(("tokens", "persistence"), [(1000, 0.0), (3000, 0.6)])
def test_interval_of_perplexity_holds_the_truth_as_often_as_it_says(
    tokens: int, persistence: float
) -> None:
    generator, held, texts = np.random.default_rng(3), 0, 200
    hard = generator.normal(-5, 3, (texts, tokens))  # of both alike: it must cancel
    rises = 0.04 + 0.5 * correlated(generator, (texts, tokens), persistence)
    for original, rise in zip(hard, rises, strict=True):
        found = rise_of_perplexity(original, original - rise)
        assert found is not None
        held += found.low <= math.expm1(0.04) <= found.high
    assert 0.90 <= held / texts <= 0.99  # 95 % but for the luck of 200 texts


def test_tokens_that_are_not_scored_do_not_count() -> None:
    original = np.r_[np.nan, np.random.default_rng(0).normal(-4, 1, 500)].astype(np.float32)
    found = rise_of_perplexity(original, original - np.float32(0.1))
    assert found is not None
    assert found.count == 500
    assert (found.low, found.high) == pytest.approx((math.expm1(0.1),) * 2, rel=1e-4)  # float32
    with pytest.raises(ValueError, match="shapes"):
        rise_of_perplexity(original, original[1:])


def test_questions_about_one_paragraph_are_drawn_together() -> None:
    generator = np.random.default_rng(2)
    of_paragraph = np.repeat(generator.normal(1, 5, 60), 5)
    scores = np.full(300, 80.0)
    apart = fall_of_mean(scores, scores - of_paragraph, range(300), most=100)
    together = fall_of_mean(
        scores, scores - of_paragraph, [index // 5 for index in range(300)], most=100
    )
    assert apart is not None
    assert together is not None
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(
        math.sqrt(5), rel=0.15
    )  # five equal ones are one; the noise of the draws


def test_no_changed_answer_of_few_questions_is_no_certainty() -> None:
    scores = np.full(30, 70.0)
    found = fall_of_mean(scores, scores, range(30), most=100)
    assert found == Estimate(
        low=-100 * wilson(0, 30)[1],
        high=100 * wilson(0, 30)[1],
        count=30,
        unit="questions",
        method="block bootstrap",
    )
    many = np.zeros(1000)
    assert fall_of_mean(many, many, range(1000), most=100).high < 0.4  # type: ignore[union-attr]


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = sums[:, 0] / sums[:, 1]
    return mean


def _coverage(between: float, within: float, runs: int, rows: int) -> float:
    """How often the interval of a mean holds the true mean, 0, when runs differ in level."""
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        levels = between * generator.standard_normal(runs)
        sample = [
            np.stack([level + within * generator.standard_normal(rows), np.ones(rows)], axis=1)
            for level in levels
        ]
        found = bootstrap(blocks(sample), _mean, count=runs * rows, unit="rows")
        assert found is not None
        held += found.low <= 0 <= found.high
    return held / 200


def test_interval_holds_the_truth_where_rows_of_a_run_are_alike() -> None:
    # 8 runs of 5 rows, a voice each: with rows taken as independent it holds it 62 % of the time.
    assert _coverage(between=1.0, within=0.5, runs=8, rows=5) > 0.9


def test_interval_of_independent_rows_stays_as_it_is() -> None:
    assert _coverage(between=0.0, within=1.0, runs=8, rows=5) > 0.9


def test_design_effect_is_the_number_of_rows_where_all_of_a_run_are_equal() -> None:
    levels = np.array([1.0, 2.0, 4.0, 3.0, 7.0])
    alike = [np.tile([[level, 1.0]], (4, 1)) for level in levels]
    whole = bootstrap(blocks(alike), _mean, count=20, unit="rows")
    free = bootstrap(blocks(alike).sums, _mean, count=20, unit="rows")
    assert whole is not None
    assert free is not None
    middle = levels.mean()
    # Twice as wide for four equal rows of a run, and wider still for the few runs that it rests on.
    assert whole.high - middle > 2 * (free.high - middle)
    assert middle - whole.low > 2 * (middle - free.low)
