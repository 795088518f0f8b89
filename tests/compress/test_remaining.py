"""Time that is left: told when there is something to go by, and near what it then took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest

from isslim.compress.progress import CallbackProgress
from isslim.compress.remaining import LEAST_WORK, ORDER, WORK, Remaining

DEMO = [
    ("ingest", 9.3), ("calibrate", 61.4), ("search", 54.5), ("fine-tune", 69.5), ("export", 2.4),
    ("measure", 3.5), ("export", 0.6), ("measure", 1.6), ("search", 12.2), ("fine-tune", 64.4),
    ("export", 0.7), ("measure", 1.3), ("search", 1.9), ("measure", 12.6), ("publish", 1.6),
]  # fmt: skip
"""Stages of a run of `isslim demo` with their seconds, at three minutes of distillation."""


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def replayed(
    stages: list[tuple[str, float]], minutes: float, steps: int = 10
) -> Iterator[tuple[str, float, float | None]]:
    """Plays a job; stage, seconds that it will still take, and the estimate, at every step."""
    clock = Clock()
    remaining = Remaining(clock)
    remaining.allow(minutes)
    left = sum(seconds for _, seconds in stages)
    for stage, seconds in stages:
        remaining.enter(stage)
        for step in range(steps):
            remaining.advance(step / steps)
            yield stage, left, remaining.seconds()
            clock.now += seconds / steps
            left -= seconds / steps


def test_estimate_of_the_demo_is_near_what_it_took() -> None:
    told = [(left, found) for _, left, found in replayed(DEMO, 3.0) if found is not None]
    assert len(told) > 0.85 * 10 * len(DEMO)
    # Until the last minute within a factor of two, and mostly too long.
    early = [(left, found) for left, found in told if left > 60]
    assert all(left / 2 < found < 2 * left for left, found in early)
    assert sum(found > left for left, found in told) > 0.75 * len(told)


def test_nothing_is_told_before_there_is_something_to_go_by() -> None:
    found = list(replayed(DEMO, 3.0))
    assert [stage for stage, _, seconds in found if seconds is None] == ["ingest"] * 10 + [
        "calibrate"
    ]
    assert WORK["ingest"] / sum(WORK.values()) < LEAST_WORK


def test_minutes_of_distillation_count_down_and_a_step_back_adds_none() -> None:
    clock = Clock()
    remaining = Remaining(clock)
    remaining.allow(2.0)
    for stage in ("ingest", "calibrate", "search", "fine-tune"):
        remaining.enter(stage)
        if stage != "fine-tune":
            clock.now += 10.0
    before = remaining.seconds()
    clock.now += 50.0
    remaining.advance(0.8)
    after = remaining.seconds()
    assert before is not None
    assert after == pytest.approx(before - 50.0)
    remaining.enter("export")
    remaining.enter("measure")
    remaining.advance(0.9)
    last = remaining.seconds()
    remaining.enter("search")
    again = remaining.seconds()
    assert last is not None
    assert again is not None
    assert again == pytest.approx(last, abs=1.0)
    clock.now += 500.0
    remaining.enter("publish")
    found = remaining.seconds()
    # Nothing is distilled after publication has begun, whatever minutes are left.
    assert found is not None
    assert found < 10.0


def test_last_measurement_is_expected_however_often_candidates_were_measured() -> None:
    """Without distillation, whose minutes would hide it."""
    stages = [each for each in DEMO if each[0] != "fine-tune"]
    told = [(left, found) for _, left, found in replayed(stages, 0.0) if found is not None]
    assert all(left / 2.5 < found < 2.5 * left for left, found in told if left > 10)


def test_learning_is_as_fast_as_it_was_since_it_went_on() -> None:
    clock = Clock()
    remaining = Remaining(clock)
    remaining.enter("ingest")
    clock.now += 4.0
    remaining.enter("learn")
    assert remaining.seconds() is None
    remaining.advance(0.5)  # an earlier attempt got so far
    clock.now += 100.0
    assert remaining.seconds() is None
    remaining.advance(0.6)
    # 0.1 took 100 s, so 0.4 takes 400 s; export, measurement and publication follow.
    found = remaining.seconds()
    assert found == pytest.approx(400.0 + 4.0 * 4.2, rel=0.01)
    remaining.enter("learn")  # once more, from the beginning
    assert remaining.seconds() is None
    remaining.advance(0.0)
    clock.now += 10.0
    remaining.advance(0.1)
    assert remaining.seconds() == pytest.approx(90.0 + 4.0 * 4.2, rel=0.01)
    remaining.enter("export")
    found = remaining.seconds()
    assert found is not None
    assert found < 20.0


def test_order_is_that_of_the_pipeline() -> None:
    shares = CallbackProgress.SHARES
    assert set(ORDER) == set(shares)
    assert all(shares[a][0] <= shares[b][0] for a, b in pairwise(ORDER) if b != "learn")


def test_child_sends_the_estimate_with_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    from isslim.compress.worker.child import _Sent

    progress = _Sent()
    progress.on_minutes(2.0)
    for stage in ("ingest", "calibrate", "search", "fine-tune"):
        progress.enter(stage, "begins")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["seconds_left"] for each in lines[:2]] == [None, None]
    assert 119.0 < lines[-1]["seconds_left"] < 125.0
    assert lines[-1]["stage"] == "fine-tune"
