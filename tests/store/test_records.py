"""The database is away or damaged, at the start and later; and deaths of a job are counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient
from uvicorn.config import STARTUP_FAILURE

from benchmarks.cluster.postgres import Postgres
from isslim.compress.worker.main import NO_DATABASE
from isslim.demo.ports import free_port
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.attempts import Reached
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from isslim.types.recipe import Recipe
from tests.jobs import begin
from tests.postgres import or_skipped


def request(name: str) -> CompressionRequest:
    model = UploadRef(sha256="0" * 64, filename="f", size_bytes=1)
    return CompressionRequest(model=model, recipe=Recipe(name=name))


@pytest.mark.parametrize(
    ("module", "status"),
    [("isslim.service", STARTUP_FAILURE), ("isslim.compress.worker", NO_DATABASE)],
)
def test_start_without_a_database_says_which_and_what_to_do(
    module: str, status: int, tmp_path: Path
) -> None:
    url = f"postgresql+psycopg://iss:secret@127.0.0.1:{free_port()}/jobs"
    done = subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, "ISS_HOME": str(tmp_path), "ISS_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert f"{url.replace('secret', '***')}: " in done.stderr
    assert "correct ISS_DATABASE_URL" in done.stderr


@pytest.mark.slow
def test_damaged_page_and_a_server_that_is_gone_are_no_readiness(tmp_path: Path) -> None:
    with or_skipped(Postgres) as server:
        url = server.new_database().replace("postgresql:", "postgresql+psycopg:")
        settings = ServiceSettings(home=tmp_path, database_url=url)
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            records = JobRecords(settings)
            for number in range(30):
                records.add(f"job-{number}", request(f"m{number}"))
            records.close()
            assert client.get("/health/ready").status_code == 200
            server.stop()
            away = client.get("/health/ready")
            assert (away.status_code, away.json()["type"]) == (503, "database-unavailable")
            assert int(away.headers["retry-after"]) > 0
            server.start()
            with psycopg.connect(url.replace("+psycopg", "")) as connection:
                row = connection.execute("select pg_relation_filepath('iss_jobs')").fetchone()
                assert row is not None
            server.stop()
            file = server.data / row[0]
            file.write_bytes(os.urandom(8192) + file.read_bytes()[8192:])
            server.start()
            for path in ("/health/ready", "/jobs", "/jobs/job-1"):
                found = client.get(path)
                assert (found.status_code, found.json()["type"]) == (503, "database-unavailable")


def test_killed_child_is_a_death_and_a_worker_that_leaves_is_none(settings: StoreSettings) -> None:
    records = JobRecords(settings)
    records.add("job", request("m"))
    for died, deaths in ((True, 0), (False, 1), (True, 1), (True, 2)):
        attempt = begin(records, "job")
        assert attempt.deaths == deaths
        assert records.attempts.hand_back(attempt, "queued again", died=died)
        assert records.get("job").state is JobState.QUEUED
    assert begin(records, "job").deaths == 3
    records.close()


def test_places_in_the_queue_are_in_the_order_of_requests(settings: StoreSettings) -> None:
    records = JobRecords(settings)
    for name in ("a", "b", "c"):
        records.add(name, request(name))
    assert [records.get(name).queue_position for name in "abc"] == [1, 2, 3]
    attempt = begin(records, "a")
    assert [records.get(name).queue_position for name in "abc"] == [None, 1, 2]
    assert [job.queue_position for job in records.page(9)[0]] == [2, 1, None]
    # A page holds but some of the jobs that wait.
    assert [job.queue_position for job in records.page(1)[0]] == [2]
    # One that comes back has been asked for first.
    assert records.attempts.hand_back(attempt, "queued again")
    assert [records.get(name).queue_position for name in "abc"] == [1, 2, 3]
    records.cancel("b", 1)
    assert [records.get(name).queue_position for name in "abc"] == [1, None, 2]
    records.close()


@pytest.mark.parametrize("way", ["back", "cancelled", "failed"])
def test_time_left_is_that_of_a_running_job_alone(way: str, settings: StoreSettings) -> None:
    records = JobRecords(settings)
    records.add("job", request("m"))
    attempt = begin(records, "job")
    assert records.get("job").seconds_left is None
    reached = Reached("search", 0.3, "40% removed", ["40% removed"], 140.0)
    assert records.attempts.advance(attempt, reached)
    assert records.get("job").seconds_left == 140.0
    if way == "back":
        records.attempts.hand_back(attempt, "queued again")
        assert records.get("job").seconds_left is None
        begin(records, "job")
    elif way == "cancelled":
        records.cancel("job", 1)
    else:
        records.attempts.finish(attempt, JobState.FAILED)
    assert records.get("job").seconds_left is None
    records.close()
