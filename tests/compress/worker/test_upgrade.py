"""A home of the release before, and one of a release after: served, and its jobs are done."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.jobs import JobState
from tests.compress.worker.interruptions import Scene

STORE = Path(__file__).parents[2] / "store"
BUNDLE_ID = hashlib.sha256((STORE / "bundle-2" / "manifest.json").read_bytes()).hexdigest()[:16]


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Scene]:
    """A home as the release before left it."""
    home = tmp_path / "home"
    shutil.copytree(STORE / "bundle-2", home / "artifacts" / "bundles" / BUNDLE_ID)
    with closing(sqlite3.connect(home / "jobs.sqlite")) as database:
        database.executescript((STORE / "home-before" / "jobs.sql").read_text())
    made = Scene(tmp_path, None, 0.3)
    yield made
    made.close()


def states(scene: Scene) -> dict[str, JobState]:
    return {job.name: job.state for job in scene.queue.page(99)[0]}


def lists_answer(scene: Scene) -> None:
    with TestClient(create_app(ServiceSettings(home=scene.settings.home))) as client:
        for path in ("/jobs", "/sweeps", "/aliases", "/models", "/health/ready"):
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
        scored = client.post("/score", json={"model": "prod", "token_ids": [[3, 4, 5]]})
        assert scored.status_code == 200, scored.text


def test_home_of_the_release_before_is_served_and_its_jobs_are_done(before: Scene) -> None:
    lists_answer(before)
    assert states(before) == {
        "done": JobState.SUCCEEDED,
        "cancelled": JobState.CANCELLED,
        "running": JobState.RUNNING,
        "queued": JobState.QUEUED,
    }
    before.jobs = [job.id for job in before.queue.page(99)[0]]
    before.start()
    before.until_ended(40)
    found = before.found()
    assert found.states == {"succeeded": 3, "cancelled": 1}
    assert (found.doubled, found.orphaned, found.starts) == (0, 0, 3)  # and the inspection
    lists_answer(before)


@pytest.mark.slow
def test_home_of_a_later_release_is_served_and_what_is_known_of_it_is_done(before: Scene) -> None:
    scene = before
    jobs = {job.name: job.id for job in scene.queue.page(99)[0]}
    model = scene.queue.get(jobs["cancelled"]).request
    later = json.loads(model.model_dump_json())
    later["recipe"] |= {"name": "later", "rotate_everything": True}
    with scene.queue.records.engine.begin() as connection:
        for statement, values in (
            ("update iss_jobs set request = :text where id = :id", {"text": json.dumps(later)}),
            ("update iss_jobs set state = 'queued' where id = :id", {}),
            ("insert into iss_schema values (99, 'of later', '2027-01-01 00:00:00')", None),
            ("alter table iss_jobs add column colour text", None),
            ("update workflow_status set application_version = '2', status = 'ENQUEUED', "
             "queue_name = 'compress' where workflow_uuid = :id || '-1'", {}),
        ):  # fmt: skip
            given = {} if values is None else values | {"id": jobs["cancelled"]}
            connection.execute(sa.text(statement), given)
    lists_answer(scene)
    scene.start()
    known = [jobs["queued"], jobs["running"]]
    scene.until(lambda: all(scene.queue.get(job).state.ended for job in known), 40)
    scene.until(lambda: "release" in scene.queue.get(jobs["cancelled"]).message, 20)
    assert scene.queue.get(jobs["cancelled"]).state is JobState.QUEUED
    assert scene.found().starts == 3
    lists_answer(scene)
