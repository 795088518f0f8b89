"""Which variant is recommended: what was measured decides, not the precision."""

from __future__ import annotations

import pytest

from isslim.types.recommendation import recommended
from tests.compress.measurement.test_alternatives import Timed, made
from tests.compress.measurement.test_verdict import Interval

ORIGINAL = made("original", 1000, 1000, [(30, 1, (1.0, 1.0, 1.0), None)])
TINY = made("compressed", 300, 400, [(30, 1, (1.9, 2.0, 2.1), None)])


@pytest.mark.parametrize(
    ("int8", "name"),
    [
        ((0.9, 1.0, 1.1), "compressed"),  # a tiny model: float32 is faster
        ((1.7, 1.8, 1.89), "compressed"),
        ((1.7, 1.8, 1.9), "compressed-int8"),  # as fast, as far as the clock can tell
        ((2.2, 2.3, 2.4), "compressed-int8"),
    ],
)
def test_the_faster_is_recommended_and_of_equals_the_smaller(int8: Interval, name: str) -> None:
    best = recommended([ORIGINAL, TINY, made("compressed-int8", 80, 400, [(30, 1, int8, None)])])
    assert best is not None
    assert best.name == name


def test_only_the_primary_run_counts() -> None:
    runs: list[Timed] = [(1, 1, (1.0, 1.1, 1.2), None), (30, 1, (8.0, 9.0, 9.9), None)]
    slow = made("compressed-int8", 80, 400, runs)
    best = recommended([ORIGINAL, TINY, slow])
    assert best is TINY


def test_an_unsteady_time_makes_none_the_faster_one() -> None:
    unsteady = made("compressed", 300, 400, [(30, 1, (8.0, 9.0, 9.9), None)], steady=False)
    small = made("compressed-int8", 80, 400, [(30, 1, (1.0, 1.1, 1.2), None)])
    assert recommended([ORIGINAL, unsteady, small]) is small


def test_the_original_is_never_recommended() -> None:
    assert recommended([ORIGINAL]) is None
    assert recommended([ORIGINAL, TINY]) is TINY
