"""Every step of an interval against a slow reference, and every bound from both sides."""

from __future__ import annotations

import math
from collections.abc import Hashable
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.statistics.intervals import (
    Blocks,
    block_length,
    blocks,
    bootstrap,
    decisions_for,
    fall_of_mean,
    rise_of_perplexity,
    share_of,
    student,
    wilson,
)

Floats = NDArray[np.float64]
Z = 1.959963984540054


@pytest.mark.parametrize(
    ("hits", "count"), [(0, 10), (1, 128), (37, 100), (12.5, 50), (9, 9), (128, 128), (1, 1)]
)
def test_wilson_ends_are_the_roots_of_the_score_equation(hits: float, count: int) -> None:
    share = hits / count
    # (share - p)^2 = z^2 p (1 - p) / n
    low, high = sorted(np.roots([1 + Z**2 / count, -(2 * share + Z**2 / count), share**2]).real)
    assert wilson(hits, count) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    if hits == 0:
        assert wilson(hits, count)[0] == 0.0
    if hits == count:
        assert wilson(hits, count)[1] == 1.0


@pytest.mark.parametrize(("hits", "count"), [(12, 10), (-0.5, 10), (1, 0)])
def test_impossible_decisions_are_refused(hits: float, count: float) -> None:
    words = f"{hits} of {count} decisions: expected between 0 and {count}"
    with pytest.raises(ValueError, match=words):
        wilson(hits, count)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.02, 0.001])
def test_so_many_decisions_show_a_share_and_one_less_does_not(share: float) -> None:
    count = decisions_for(share)
    assert wilson(0, count)[1] <= share + 1e-12
    if count:
        assert wilson(0, count - 1)[1] > share


def design_effect(hits: list[int], counts: list[int]) -> float:
    """The variance of a share over runs, divided by that of as many single decisions."""
    runs = [(h, n) for h, n in zip(hits, counts, strict=True) if n]
    total = sum(n for _, n in runs)
    share = sum(h for h, _ in runs) / total
    if len(runs) < 2 or share in (0, 1):
        return 1.0
    variance = sum((h - share * n) ** 2 for h, n in runs)
    variance *= len(runs) / (len(runs) - 1) / total**2
    return min(max(1.0, variance / (share * (1 - share) / total)), max(n for _, n in runs))


@pytest.mark.parametrize(
    ("hits", "counts"),
    [
        ([5] * 20, [50] * 20),
        ([50, 50] + [0] * 18, [50] * 20),
        ([3, 9, 0, 1], [10, 30, 5, 40]),
        ([1, 0], [2, 3]),
        ([1, 0, 0], [2, 3, 0]),
        ([4, 0], [4, 4]),
        ([7], [50]),
        ([0, 0], [5, 9]),
        ([5, 9], [5, 9]),
        ([10, 0, 0, 0], [10, 1, 1, 1]),
    ],
)
def test_decisions_of_runs_are_divided_by_their_design_effect(
    hits: list[int], counts: list[int]
) -> None:
    found, effect, total = share_of(hits, counts), design_effect(hits, counts), sum(counts)
    expected = wilson(sum(hits) / effect, total / effect)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert (found.count, found.unit, found.method) == (total, "decisions", "wilson")


def test_runs_without_decisions_say_nothing() -> None:
    assert share_of([0, 3], [0, 10]) == share_of([3], [10])
    nothing = share_of([], [])
    assert (nothing.low, nothing.high, nothing.count) == (0.0, 1.0, 0)
    assert share_of([0], [0]) == nothing


def test_decisions_are_counted_in_double_precision() -> None:
    """Single precision cannot tell 2^24 from 2^24 + 1."""
    hits, counts = [2**24, 3], [2**25, 5]
    assert share_of(np.array(hits, np.float32), np.array(counts, np.float32)) == share_of(
        hits, counts
    )


@pytest.mark.parametrize(
    ("hits", "counts", "words"),
    [
        ([3], [2], "^a run has more differing decisions than decisions, or fewer than none$"),
        ([-1], [2], "more differing decisions than decisions"),
        ([1, 3], [2, 2], "more differing decisions than decisions"),
        ([1, 2], [2], r"shape \(2,\) and counts of shape \(1,\): expected one each for every run$"),
        ([[1]], [[2]], r"hits of shape \(1, 1\)"),
    ],
)
def test_runs_that_cannot_be_are_refused(hits: list[int], counts: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        share_of(hits, counts)


def t_quantile(freedom: int) -> float:
    """97.5 % of Student's t, by the integral of its density."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    scale /= math.sqrt(freedom * math.pi)

    def mass(end: float) -> float:
        points = np.linspace(0, end, 4001)
        density = scale * (1 + points**2 / freedom) ** (-(freedom + 1) / 2)
        weights = np.ones(4001)
        weights[1:-1:2], weights[2:-1:2] = 4, 2
        return float(density @ weights * (points[1] - points[0]) / 3)

    low, high = 1.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mass(middle) < 0.475 else (low, middle)
    return low


@pytest.mark.parametrize(
    ("freedom", "error"), [(5, 3e-3), (7, 8e-4), (19, 2e-5), (99, 2e-8), (400, 7e-11)]
)
def test_quantiles_of_students_t(freedom: int, error: float) -> None:
    assert student(freedom) == pytest.approx(t_quantile(freedom), abs=error)


def ratio(drawn: Floats) -> Floats:
    return drawn[:, 0] / drawn[:, 1]  # type: ignore[no-any-return]


def slow_bootstrap(
    sums: Floats, effect: float = 1.0, worth: float | None = None
) -> tuple[float, float]:
    """The same draws; of few blocks one resample and one block at a time."""
    number = len(sums)
    drawn = np.random.default_rng(20150).multinomial(number, [1 / number] * number, size=2000)
    if number > 9:
        top, bottom = (drawn @ sums).T
        values = (top / bottom).tolist()
    else:
        values = []
        for counts in drawn:
            top = bottom = 0.0
            for count, (one, other) in zip(counts, sums, strict=True):
                top, bottom = top + count * one, bottom + count * other
            values.append(top / bottom)
    values.sort()
    worth = number if worth is None else worth
    tail = NormalDist().cdf(-math.sqrt(worth / (worth - 1)) * student(worth - 1))
    whole = sums.sum(axis=0)
    found = whole[0] / whole[1]

    def quantile(share: float) -> float:
        place = share * 1999
        below = math.floor(place)
        above = min(below + 1, 1999)
        return values[below] + (place - below) * (values[above] - values[below])

    low, high = (found + (quantile(each) - found) * math.sqrt(effect) for each in (tail, 1 - tail))
    return low, high


@pytest.mark.parametrize("number", [8, 9, 30])
def test_bootstrap_is_that_of_drawing_block_by_block(number: int) -> None:
    generator = np.random.default_rng(1)
    sums = np.stack([generator.normal(3, 2, number), generator.uniform(0.5, 2, number)], axis=1)
    found = bootstrap(sums, ratio, count=77, unit="rows")
    assert found is not None
    assert (found.low, found.high) == pytest.approx(slow_bootstrap(sums), rel=1e-9)
    assert (found.count, found.unit, found.method) == (77, "rows", "block bootstrap")


def test_sums_of_blocks_are_added_in_double_precision() -> None:
    generator = np.random.default_rng(1)
    single = generator.uniform(0.5, 2, (30, 2)).astype(np.float32)
    single[:10, 0] += 1
    runs = np.repeat([0, 1, 2], 10)
    double = Blocks(single.astype(np.float64), runs)
    found = bootstrap(Blocks(single, runs), ratio, count=30, unit="rows")  # type: ignore[arg-type]
    assert found == bootstrap(double, ratio, count=30, unit="rows")


def without_each(sums: Floats, members: list[list[int]]) -> list[float]:
    """The ratio where one group of blocks after another is left out."""
    found = []
    for group in members:
        rest = [row for place, row in enumerate(sums.tolist()) if place not in group]
        found.append(sum(row[0] for row in rest) / sum(row[1] for row in rest))
    return found


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("sizes", [(4, 4, 4), (2, 6, 1, 3), (1, 11), (6, 6)])
def test_blocks_of_runs_that_differ_count_as_fewer(sizes: tuple[int, ...], spread: float) -> None:
    generator = np.random.default_rng(1)
    runs = np.repeat([5, 2, 9, 7][: len(sizes)], sizes)
    sums = np.stack([generator.normal(3, 1, 12), generator.uniform(0.5, 2, 12)], axis=1)
    sums[:, 0] += spread * (runs - runs.mean()) * sums[:, 1]
    groups = [[k for k in range(12) if runs[k] == run] for run in dict.fromkeys(runs.tolist())]
    over_blocks = 11 * float(np.var(without_each(sums, [[k] for k in range(12)])))
    over_runs = (len(sizes) - 1) * float(np.var(without_each(sums, groups)))
    effect = min(max(1.0, over_runs / over_blocks), max(sizes))
    worth = 12.0 if effect == 1.0 else max(len(sizes), 12 / effect, 2.0)
    found = bootstrap(Blocks(sums, runs), ratio, count=12, unit="rows")
    assert found is not None
    assert (found.low, found.high) == pytest.approx(slow_bootstrap(sums, effect, worth), rel=1e-9)


@pytest.mark.parametrize("runs", [np.zeros(12, np.int64), np.arange(12)], ids=["one", "each"])
def test_one_run_or_a_run_for_each_block_has_no_design_effect(runs: NDArray[np.int64]) -> None:
    generator = np.random.default_rng(1)
    sums = np.stack([generator.normal(3, 1, 12), generator.uniform(0.5, 2, 12)], axis=1)
    blocked = bootstrap(Blocks(sums, runs), ratio, count=12, unit="rows")
    assert blocked == bootstrap(sums, ratio, count=12, unit="rows")


def test_blocks_that_are_all_alike_have_no_design_effect() -> None:
    runs = np.repeat([0, 1], 6)
    found = bootstrap(Blocks(np.ones((12, 2)), runs), ratio, count=12, unit="rows")
    assert found is not None
    assert (found.low, found.high) == (1.0, 1.0)


def test_run_without_which_there_is_no_figure_has_no_design_effect() -> None:
    generator = np.random.default_rng(1)
    sums = np.stack([generator.normal(3, 1, 12), generator.uniform(0.5, 2, 12)], axis=1)
    sums[11, 1] = 0.0
    found = bootstrap(Blocks(sums, np.repeat([0, 1], [11, 1])), ratio, count=12, unit="rows")
    assert found is not None
    assert (found.low, found.high) == pytest.approx(slow_bootstrap(sums), rel=1e-9)


@pytest.mark.parametrize("number", [1000, 1001])
def test_joined_blocks_are_of_no_run(number: int) -> None:
    sums = np.random.default_rng(0).uniform(1, 2, (number, 2))
    sums[500:, 0] += 1.0
    runs = np.repeat([0, 1], [500, number - 500])
    blocked = bootstrap(Blocks(sums, runs), ratio, count=9, unit="rows")
    # A thousand blocks are not joined yet, and are widened by how far both runs differ.
    assert (blocked == bootstrap(sums, ratio, count=9, unit="rows")) is (number > 1000)


def test_fewer_than_eight_blocks_have_no_interval() -> None:
    assert bootstrap(np.ones((7, 2)), ratio, count=7, unit="rows") is None
    assert bootstrap(np.ones((8, 2)), ratio, count=8, unit="rows") is not None


@pytest.mark.parametrize("number", [1001])
def test_more_than_a_thousand_blocks_are_joined_with_their_neighbours(number: int) -> None:
    joined = 1000
    sums = np.random.default_rng(0).uniform(1, 2, (number, 2))
    parts = np.array(
        [
            sums[int(k * number / joined) : int((k + 1) * number / joined)].sum(axis=0)
            for k in range(joined)
        ]
    )
    found = bootstrap(sums, ratio, count=number, unit="rows")
    assert found is not None
    assert (found.low, found.high) == pytest.approx(slow_bootstrap(parts), rel=1e-9)


def test_a_figure_that_is_not_finite_has_no_interval() -> None:
    sums = np.ones((9, 2))
    sums[0] = np.inf
    assert bootstrap(sums, ratio, count=9, unit="rows") is None
    sums[0] = 0.0
    sums[:, 1] = 0.0
    assert bootstrap(sums, ratio, count=9, unit="rows") is None  # and no warning


def test_sums_and_statistics_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sums of shape \(9,\): expected \(blocks, sums\)"):
        bootstrap(np.ones(9), ratio, count=9, unit="rows")
    with pytest.raises(
        ValueError, match=r"the statistic gave shape \(2000, 2\): expected \(2000,\)"
    ):
        bootstrap(np.ones((9, 2)), lambda drawn: drawn, count=9, unit="rows")


@pytest.mark.parametrize(
    ("count", "length"),
    [
        (0, 1),
        (19, 1),
        (39, 1),
        (40, 2),
        (999, 49),
        (1000, 50),
        (1020, 50),
        (50_999, 50),
        (51_000, 51),
        (100_000, 100),
    ],
)
def test_blocks_are_of_fifty_where_there_are_twenty_of_them(count: int, length: int) -> None:
    assert block_length(count) == length


def runs_of(*lengths: int) -> list[NDArray[np.int64]]:
    """Rows that are numbered through, and how many they are."""
    ends = np.cumsum(lengths)
    return [
        np.stack([np.arange(end - n, end), np.ones(n, np.int64)], axis=1)
        for n, end in zip(lengths, ends, strict=True)
    ]


def test_twenty_runs_are_their_own_blocks() -> None:
    found, runs = blocks(runs_of(*[7] * 19, 0, 3))
    assert runs.tolist() == list(range(21))
    assert found[:, 1].tolist() == [7] * 19 + [0, 3]
    assert found.dtype == np.float64
    assert found[1, 0] == sum(range(7, 14))
    assert blocks(runs_of(0, 0)).sums.tolist() == [[0, 0], [0, 0]]


def test_fewer_runs_are_cut_into_nearly_equal_blocks() -> None:
    found, runs = blocks(runs_of(300, 7, 0, 1))  # 308 rows: blocks of 15
    assert runs.tolist() == [0] * 20 + [1, 2]
    assert found[:, 1].tolist() == [15.0] * 20 + [7.0, 1.0]
    assert found[0, 0] == sum(range(15))
    assert found[21, 0] == 307
    long = blocks(runs_of(2075, 1000)).sums  # 41.5 and 20 of 50
    assert len(long) == 42 + 20
    assert set(long[:, 1]) <= {49.0, 50.0}
    assert len(blocks(runs_of(*[1] * 19)).sums) == 19


@pytest.mark.parametrize("runs", [[], [np.ones(5)], [np.ones((2, 2)), np.ones(5)]])
def test_runs_of_other_shapes_are_refused(runs: list[Floats]) -> None:
    with pytest.raises(
        ValueError, match=r"^expected at least one run, each of shape \(rows, sums\)$"
    ):
        blocks(runs)


def test_rise_of_perplexity_is_that_of_blocks_of_the_text() -> None:
    generator = np.random.default_rng(0)
    original = generator.normal(-4, 1, 2001).astype(np.float32)
    candidate = (original - generator.normal(0.1, 0.3, 2001)).astype(np.float32)
    original[0] = candidate[0] = np.nan
    found = rise_of_perplexity(original, candidate)
    difference = (original.astype(np.float64) - candidate.astype(np.float64))[1:]
    sums = np.array([(difference[k : k + 50].sum(), 50.0) for k in range(0, 2000, 50)])
    low, high = slow_bootstrap(sums)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((math.expm1(low), math.expm1(high)), rel=1e-6)
    assert (found.count, found.unit) == (2000, "tokens")


def test_texts_that_cannot_be_compared_have_no_interval() -> None:
    nothing = np.full(50, np.nan)
    assert rise_of_perplexity(nothing, nothing) is None
    some = np.zeros(50)
    lost = some.copy()
    lost[3] = np.nan  # scored by one of both alone
    assert rise_of_perplexity(some, lost) is None
    impossible = some.copy()
    impossible[3] = -np.inf
    assert rise_of_perplexity(some, impossible) is None
    for other in (np.zeros(49), np.zeros((50, 1))):
        with pytest.raises(ValueError, match=r"log-probabilities of shapes \(50,\) and \("):
            rise_of_perplexity(some, other)
    with pytest.raises(ValueError, match=r"expected two of \(tokens,\)"):
        rise_of_perplexity(np.zeros((2, 2)), np.zeros((2, 2)))


def changed(count: int, size: int = 200) -> tuple[Floats, Floats]:
    """Scores of questions, of which so many lose 10 points."""
    original = np.full(size, 80.0)
    candidate = original.copy()
    candidate[: 2 * count : 2] -= 10
    return original, candidate


@pytest.mark.parametrize("groups", [list(range(200)), ["a", "b", "c", "d", "e"] * 8 * 5])
def test_questions_of_a_group_are_drawn_together(groups: list[Hashable]) -> None:
    generator = np.random.default_rng(2)
    original = np.full(200, 80.0)
    candidate = original - generator.normal(3, 20, 200)
    names = list(dict.fromkeys(groups))
    differences = original - candidate
    of_groups = [[d for d, g in zip(differences, groups, strict=True) if g == n] for n in names]
    found = fall_of_mean(original, candidate, groups, most=100)
    if len(names) < 8:
        assert found is None
        return
    sums = np.array([(sum(each), len(each)) for each in of_groups], np.float64)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(slow_bootstrap(sums), rel=1e-9)
    assert (found.count, found.unit) == (200, "questions")


def test_no_questions_have_no_interval() -> None:
    assert fall_of_mean(np.zeros(0), np.zeros(0), [], most=100) is None


@pytest.mark.parametrize("count", [0, 1, 9, 10])
def test_few_changed_answers_leave_room_for_those_that_were_not_seen(count: int) -> None:
    original, candidate = changed(count)
    found = fall_of_mean(original, candidate, range(200), most=50)
    difference = original - candidate
    low, high = slow_bootstrap(np.stack([difference, np.ones(200)], axis=1))
    if count < 10:
        unseen = 50 * (wilson(count, 200)[1] - count / 200)
        low, high = min(low, difference.mean() - unseen), max(high, difference.mean() + unseen)
        assert high == difference.mean() + unseen  # it is what counts here
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)


def test_a_wide_bootstrap_of_few_changes_stays_as_wide() -> None:
    original, candidate = changed(9)
    found = fall_of_mean(original, candidate, range(200), most=1e-6)
    difference = original - candidate
    expected = slow_bootstrap(np.stack([difference, np.ones(200)], axis=1))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("lengths", [(3, 2, 3), (2, 3, 3), (3, 3, 2)])
def test_scores_of_other_lengths_are_refused(lengths: tuple[int, int, int]) -> None:
    first, second, third = lengths
    words = f"{first} and {second} scores of {third} questions: expected as many of each"
    with pytest.raises(ValueError, match=words):
        fall_of_mean(np.zeros(first), np.zeros(second), range(third), most=1)
