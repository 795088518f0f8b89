"""Sweeps: the front of many curves, and what is told of children in every state."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from isslim.store.bundles import BundleStore
from isslim.store.errors import NotFound
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.store.sweeps import SweepStore, pareto, state_of
from isslim.types.jobs import CompressionRequest, FrontPoint, JobState
from isslim.types.manifest import CurvePoint
from isslim.types.recipe import Budget, Recipe
from tests.jobs import begin
from tests.uploads import upload_of


def point(mult_adds: int, rise: float, model_id: str | None = None) -> FrontPoint:
    return FrontPoint(job_id="j", model_id=model_id, parameters=1, mult_adds=mult_adds, loss=rise)


def test_front_is_what_no_other_point_beats_by_brute_force() -> None:
    draw = random.Random(1)
    for _ in range(20):
        points = [point(draw.randrange(8), draw.randrange(8) / 10) for _ in range(12)]
        expected = {
            (a.mult_adds, a.loss)
            for a in points
            if not any(
                b.mult_adds <= a.mult_adds and b.loss <= a.loss
                and (b.mult_adds, b.loss) != (a.mult_adds, a.loss)
                for b in points
            )
        }  # fmt: skip
        found = [(p.mult_adds, p.loss) for p in pareto(points)]
        assert set(found) == expected
        assert len(found) == len(expected)
        assert found == sorted(found)


def test_published_model_wins_a_draw() -> None:
    assert [p.model_id for p in pareto([point(3, 0.1), point(3, 0.1, "m")])] == ["m"]


@pytest.fixture
def sweeps(
    settings: StoreSettings, tmp_path: Path
) -> Iterator[tuple[SweepStore, JobQueue, list[CompressionRequest]]]:
    (tmp_path / "model.pt").write_bytes(b"weights")
    upload = upload_of(tmp_path / "model.pt")
    requests = [
        CompressionRequest(
            model=upload, recipe=Recipe(name=f"m-{rise}", budget=Budget(perplexity_rise=rise))
        )
        for rise in (0.01, 0.1)
    ]
    queue = JobQueue(settings)
    yield SweepStore(queue, BundleStore(settings)), queue, requests
    queue.close()


def test_sweep_follows_its_jobs(
    sweeps: tuple[SweepStore, JobQueue, list[CompressionRequest]],
) -> None:
    store, queue, requests = sweeps
    sweep = store.begin("m", requests)
    assert sweep.state is JobState.QUEUED
    assert store.begin("m", requests).id == sweep.id
    assert [each.id for each in store.all()] == [sweep.id]
    first, second = (job.id for job in sweep.jobs)
    attempt = begin(queue.records, first)
    assert store.get(sweep.id).state is JobState.RUNNING
    tried = CurvePoint(
        removed_share=0.1,
        sizes={"embedding": 4, "units:lstm0": 3},
        parameters=50,
        mult_adds=20,
        value=9.0,
        loss=0.2,
        within_budget=False,
    )
    queue.records.attempts.finish(attempt, JobState.BUDGET_NOT_MET, curve=[tried])
    found = store.get(sweep.id)
    assert (found.state, found.progress) == (JobState.RUNNING, 0.5)
    assert [(p.job_id, p.mult_adds, p.loss) for p in found.front] == [(first, 20, 0.2)]
    ended = store.cancel(sweep.id)
    assert ended.state is JobState.CANCELLED
    assert queue.get(first).state is JobState.BUDGET_NOT_MET
    assert queue.get(second).state is JobState.CANCELLED
    queue.close()


def test_unknown_sweep_is_not_found(
    sweeps: tuple[SweepStore, JobQueue, list[CompressionRequest]],
) -> None:
    with pytest.raises(NotFound, match="no sweep 'nope'"):
        sweeps[0].get("nope")
    sweeps[1].close()


def test_sweep_ends_with_its_last_job_and_well_with_one_good_one() -> None:
    for states in itertools.product(JobState, repeat=2):
        found = state_of(states)
        assert found.ended == all(state.ended for state in states)
        assert (found is JobState.SUCCEEDED) == (found.ended and JobState.SUCCEEDED in states)
