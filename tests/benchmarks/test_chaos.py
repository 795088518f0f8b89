"""The chaos: what is lost, doubled, orphaned or stuck is found, and short rounds leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from benchmarks.chaos.__main__ import added, chaos
from benchmarks.chaos.child import RESULT, result_of, sealed
from benchmarks.chaos.jobs import Asked, Audit, Jobs
from benchmarks.chaos.members import Cluster
from benchmarks.cluster.object_storage import ObjectStorage
from benchmarks.cluster.postgres import Postgres
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.jobs import JobState
from isslim.types.recipe import Recipe
from tests.postgres import or_skipped


class House:
    """What is left of a cluster when all is over."""

    def __init__(self, folder: Path) -> None:
        self.settings, self.folder = StoreSettings(home=folder / "home"), folder / "noted"
        self.folder.mkdir()
        self.workers = [SimpleNamespace(home=self.settings.home)]
        self.services: list[Any] = []

    def published(self, name: str, content: bytes, result: str | None = None) -> str:
        made = self.settings.home / "made" / uuid4().hex
        made.mkdir(parents=True)
        (made / RESULT).write_text(result or result_of(content))
        sealed(made, Recipe(name=name))
        return BundleStore(self.settings).publish(made)

    def audit(self, *jobs: Asked) -> Audit:
        asked = Jobs(cast(Cluster, self), Random(0))
        asked.asked = list(jobs)
        return asked.audit(seconds=0.0)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def done(name: str, model_id: str | None, outcome: JobState = JobState.SUCCEEDED) -> Asked:
    return Asked(name, name.encode(), "id", outcome, model_id, "crashed: it fell")


def wrong(found: Audit) -> dict[str, int]:
    return {name: len(value) for name, value in vars(found).items() if value}


def test_job_with_its_model_is_all_right(house: House) -> None:
    assert wrong(house.audit(done("job-0", house.published("job-0", b"job-0")))) == {}


def test_job_without_its_model_or_with_another_result_is_lost(house: House) -> None:
    other = house.published("job-0", b"", result="another")
    found = house.audit(
        done("job-0", other),
        done("job-1", None, JobState.FAILED),
        done("job-2", "0" * 16),
        Asked("job-3", b""),
    )
    assert wrong(found) == {"lost": 4}
    assert "crashed: it fell" in found.lost[1]


def test_second_model_and_two_processes_at_one_job_are_doubled(house: House) -> None:
    first, second = (house.published("job-0", b"job-0") for _ in range(2))
    assert first != second
    found = house.audit(done("job-0", first))
    assert wrong(found) == {"doubled": 1, "orphaned": 1}
    (house.folder / "overlaps").write_text("job-0\n")
    assert len(house.audit(done("job-0", first)).doubled) == 2


def test_job_that_does_not_end_is_stuck(house: House) -> None:
    assert wrong(house.audit(Asked("job-0", b"", "id"))) == {"stuck": 1}


def test_model_folder_and_process_that_nobody_has_are_orphaned(house: House) -> None:
    house.published("job-9", b"")
    (house.settings.home / "work" / "dead-1").mkdir(parents=True)
    left = subprocess.Popen(
        [sys.executable, "-c", "input()", "benchmarks.chaos.child"],
        env={**os.environ, "CHAOS_FOLDER": str(house.folder)},
        stdin=subprocess.PIPE,
    )
    try:
        assert wrong(house.audit()) == {"orphaned": 3}
    finally:
        left.communicate()


def test_rounds_are_added() -> None:
    one = {"kills": 3, "jobs": 5, "lost": 1, "troubles": {"worker": 3}, "words": ["lost: a"]}
    assert added({}, one) == one
    assert added(one, one) == {
        "kills": 6, "jobs": 10, "lost": 2, "troubles": {"worker": 6}, "words": ["lost: a"] * 2,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_nothing_is_lost_doubled_or_left_behind_by_fifty_kills(
    backend: str, tmp_path: Path
) -> None:
    if backend == "postgres":
        or_skipped(Postgres)
        or_skipped(ObjectStorage)
    found = chaos(tmp_path, backend, kills=50, seed=1)
    assert found["kills"] == 50
    names = ("lost", "doubled", "orphaned", "stuck")
    assert {each: found[each] for each in names} == dict.fromkeys(names, 0), found
