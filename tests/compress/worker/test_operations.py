"""What operations do to jobs: rolling restarts, lost writes, stops, restarts of the database."""

from __future__ import annotations

import random
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.cluster.postgres import Postgres
from isslim.store.locks import LEASE_SECONDS
from isslim.types.jobs import JobState
from tests.compress.worker.interruptions import Scene, cancelled_at_random, interrupted, scene
from tests.compress.worker.takeovers import REQUIRED_SECONDS, taken_over
from tests.postgres import or_skipped


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with or_skipped(Postgres) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path, None, 1.0) as made:
        yield made


@pytest.mark.slow
def test_workers_that_are_told_to_stop_never_fail_a_job(home: Scene) -> None:
    home.seconds = 30.0
    home.ask(1)
    (job,) = home.jobs
    for count in range(1, 5):  # a rolling restart, and another
        if count == 4:
            home.seconds = 0.5
        home.start()
        home.until_running(count)
        if count < 4:
            home.workers[-1].terminate()
            assert home.workers[-1].wait(timeout=10) == 0
            left = home.queue.get(job)
            assert (left.state, left.attempts) == (JobState.QUEUED, count)
            assert "told to stop" in left.message
            assert (home.settings.work / f"{job}-1").is_dir()  # with its checkpoints
    home.until_ended(20)
    found = home.found()
    assert (found.states, found.bundles, found.doubled) == ({"succeeded": 1}, 1, 0)
    with home.queue.records.engine.connect() as connection:
        assert connection.execute(sa.text("select deaths from iss_jobs")).scalar() == 0


@pytest.mark.slow
def test_cancel_holds_without_its_second_write(home: Scene) -> None:
    home.seconds = 30.0
    home.start()
    home.ask(2)
    home.until_running(1)
    running, queued = home.jobs
    began = time.monotonic()
    for job in (queued, running):
        assert home.queue.records.cancel(job, 1)  # the queue never hears of it
    home.until(lambda: not list(home.settings.work.iterdir()), 5)
    assert time.monotonic() - began < 2.0
    home.ask(1)
    home.until_running(2)
    assert [home.queue.get(job).state for job in (running, queued)] == [JobState.CANCELLED] * 2
    assert len({name for name, _, _ in home.lines()}) == 2


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_jobs_of_killed_workers_go_on_at_once(
    kills: int, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres").new_database() if kind == "postgres" else None
    with scene(tmp_path, url, 600.0) as made:
        times = taken_over(made, kills)
    assert max(times) < REQUIRED_SECONDS[kind], times


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_cancelled_job_has_no_model_and_one_that_succeeded_has_one(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres").new_database() if kind == "postgres" else None
    with scene(tmp_path, url, 0.4) as made:
        made.start(2)
        found = cancelled_at_random(made, 15)
    assert (found.doubled, found.orphaned, found.mistaken) == (0, 0, 0)
    assert found.bundles == found.states.get("succeeded", 0)
    assert set(found.states) <= {"succeeded", "cancelled"}


@pytest.mark.slow
def test_no_job_runs_twice_through_restart_cut_connections_and_a_stop(
    tmp_path: Path, postgres: Postgres
) -> None:
    with scene(tmp_path, postgres.new_database(), 3.0) as made:
        made.start(2)
        found = interrupted(made, postgres, 6, 13.0)
    assert found.states == {"succeeded": 6}
    assert (found.doubled, found.bundles, found.orphaned) == (0, 6, 0)


@pytest.mark.slow
def test_worker_that_stands_still_is_replaced_on_one_machine(tmp_path: Path) -> None:
    with scene(tmp_path, None, 2.0) as made:
        made.start(2)
        found = interrupted(made, None, 5, 13.0)
    assert found.states == {"succeeded": 5}
    assert (found.doubled, found.bundles, found.orphaned) == (0, 5, 0)


@pytest.mark.slow
def test_worker_that_is_cut_off_its_database_ends_its_job_within_its_lease(
    tmp_path: Path, postgres: Postgres
) -> None:
    with scene(tmp_path, postgres.new_database(), 60.0) as made:
        made.start()
        made.ask(1)
        made.until_running(1)
        before = time.monotonic()
        postgres.stop()
        after = time.monotonic()
        try:
            time.sleep(10)
            last = float(made.lines()[-1][2])
        finally:
            postgres.start()
        assert last - after < LEASE_SECONDS
        assert last - before > LEASE_SECONDS / 2  # no sooner than it has to
        made.seconds = 0.0
        made.until(lambda: len({pid for _, pid, _ in made.lines()}) > 1, 30)


@pytest.mark.slow
def test_kill_at_publication_leaves_one_bundle(tmp_path: Path) -> None:
    """Workers are killed around the end of their child, again and again, until all jobs ended."""
    chance, times = random.Random(2), list[float]()
    with scene(tmp_path, None, 0.3) as made:
        made.start(2)
        made.ask(12)
        while not all(made.queue.get(job).state.ended for job in made.jobs):
            count = len({pid for _, pid, _ in made.lines()})
            made.until_running(count + 1) if count < 12 else None
            time.sleep(0.25 + chance.random() * 0.25)
            victim = made.workers.pop(chance.randrange(2))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            made.start()
            times.append(time.monotonic())
            if len(times) > 14:
                break
        made.until_ended(60)
        found = made.found()
    assert found.states == {"succeeded": 12}, statistics.mean(times)
    assert (found.doubled, found.bundles, found.orphaned) == (0, 12, 0)
