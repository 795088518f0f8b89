"""A worker's beats: for how long it may go on, and what a lease that is taken away ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isslim.compress.worker.heart import BEAT_SECONDS, MARGIN_SECONDS, Heart
from isslim.store.errors import Unavailable
from isslim.store.locks import LEASE_SECONDS, FileLocks, Held

OWN = LEASE_SECONDS - MARGIN_SECONDS
"""Seconds for which a worker that nobody hears goes on."""


class Clock:
    """Seconds as a test sets them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Unheard:
    """A lease of a database that does not answer, or worse."""

    token = "unheard"

    def __init__(self, fault: Exception, takes: Callable[[], object] = lambda: None) -> None:
        self.fault, self.takes, self.beats = fault, takes, 0

    def beat(self) -> bool:
        self.beats += 1
        self.takes()
        raise self.fault

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        """Nothing."""


class Slow(Unheard):
    """One whose database takes its time."""

    def beat(self) -> bool:
        self.takes()
        return True


@pytest.fixture
def locks(tmp_path: Path) -> FileLocks:
    return FileLocks(tmp_path / "locks")


def held_of(locks: FileLocks) -> Held:
    held = locks.acquire("own")
    assert held is not None
    return held


def test_worker_goes_on_for_less_than_a_lease_from_its_last_beat(locks: FileLocks) -> None:
    clock = Clock()
    heart = Heart(locks, "own", held_of(locks), clock)
    assert heart.remaining(heart.token) == OWN
    clock.now += OWN - 1
    assert heart.remaining(heart.token) == 1
    heart.beat()
    assert heart.remaining(heart.token) == OWN
    clock.now += OWN
    assert heart.remaining(heart.token) <= 0
    assert heart.remaining("another token") == 0
    heart.stop()
    assert not locks.is_held("own")


def test_beat_counts_from_its_beginning(locks: FileLocks) -> None:
    """Others may have seen it as soon as it was on its way."""
    clock = Clock()

    def take() -> None:
        clock.now += 3

    heart = Heart(locks, "own", Slow(Unavailable("away"), take), clock)
    heart.beat()
    assert heart.remaining("unheard") == OWN - 3


@pytest.mark.parametrize("fault", [Unavailable("away"), OSError(5, "the disk")])
def test_beat_that_nobody_hears_lengthens_nothing_and_ends_nothing(
    fault: Exception, locks: FileLocks, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    heart = Heart(locks, "own", Unheard(fault), clock)
    clock.now += 5
    with caplog.at_level(logging.WARNING, logger="worker.heart"):
        for _ in range(5):
            heart.beat()
    assert heart.remaining("unheard") == OWN - 5
    assert [each.levelname for each in caplog.records] == ["WARNING"]  # and not one for each beat
    assert "not heard: " in caplog.text


def test_outage_is_said_once_and_the_next_one_again(
    locks: FileLocks, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[Exception | None] = [Unavailable("a\n\tb"), Unavailable("c"), None, OSError("d")]

    class Off(Unheard):
        def beat(self) -> bool:
            fault = faults[self.beats]
            self.beats += 1
            if fault is not None:
                raise fault
            return True

    heart = Heart(locks, "own", Off(OSError()), Clock())
    with caplog.at_level(logging.WARNING, logger="worker.heart"):
        for _ in faults:
            heart.beat()
    assert caplog.messages == ["this worker is not heard: a b", "this worker is not heard: d"]


def test_what_was_begun_under_a_lost_lease_ends_and_a_new_one_is_taken(locks: FileLocks) -> None:
    clock = Clock()
    heart = Heart(locks, "own", held_of(locks), clock)
    first = heart.token
    assert locks.bury("own", locks.seen()["own"])
    heart.beat()
    assert heart.remaining(first) == 0
    heart.beat()
    assert heart.token != first
    assert (heart.remaining(first), heart.remaining(heart.token)) == (0, OWN)
    assert locks.seen()["own"].token == heart.token
    heart.stop()


def test_worker_whose_id_another_has_begins_nothing_until_it_is_free(
    locks: FileLocks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heart = Heart(locks, "own", held_of(locks), Clock())
    first = heart.token
    for path in (tmp_path / "locks").iterdir():
        path.unlink()
    other = held_of(locks)
    for _ in range(3):
        heart.beat()
        assert (heart.token, heart.remaining(first)) == (first, 0)
    assert caplog.text.count("taken for dead") == 1
    assert other.beat()
    other.close()
    heart.beat()
    assert heart.remaining(heart.token) > 0
    assert heart.token != first
    heart.stop()


def test_beats_go_on_by_themselves_until_they_are_stopped(locks: FileLocks) -> None:
    heart = Heart(locks, "own", held_of(locks))
    heart.start()
    time.sleep(4 * BEAT_SECONDS)
    beats = locks.seen()["own"].beats
    assert 1 <= beats <= 4
    heart.stop()
    time.sleep(2 * BEAT_SECONDS)
    last = locks.seen()["own"]
    assert last.beats <= beats + 1
    assert not last.locked


def test_fault_of_one_beat_is_not_the_end_of_the_others(
    locks: FileLocks, caplog: pytest.LogCaptureFixture
) -> None:
    held = Unheard(RuntimeError("nobody thought of it"))
    heart = Heart(locks, "own", held)
    with caplog.at_level(logging.ERROR, logger="worker.heart"):
        heart.start()
        limit = time.monotonic() + 5
        while held.beats < 2 and time.monotonic() < limit:
            time.sleep(0.02)
        heart.stop()
    assert held.beats >= 2
    assert "a beat failed" in caplog.text
