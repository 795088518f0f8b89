"""A job over Postgres and S3, both of which fail in each of its stages: it ends with its model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

import psycopg
import pytest

from benchmarks.chaos.child import STAGE_VARIABLE
from benchmarks.chaos.jobs import Asked, Jobs
from benchmarks.chaos.members import Cluster
from benchmarks.cluster.object_storage import ObjectStorage
from benchmarks.cluster.postgres import Postgres
from isslim.types.jobs import JobState
from tests.postgres import or_skipped

pytestmark = pytest.mark.slow
STAGES = ("fetch", "search", "publish")
TROUBLE_SECONDS = 2.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for each in (Postgres, ObjectStorage):
        or_skipped(each)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STAGE_VARIABLE, "0.5")
        with Cluster(tmp_path_factory.mktemp("cluster"), "postgres") as made:
            yield made


def refused(cluster: Cluster) -> None:
    assert cluster.storage is not None
    cluster.storage.refuse()
    time.sleep(TROUBLE_SECONDS)
    cluster.storage.accept()


def slow(cluster: Cluster) -> None:
    assert cluster.storage is not None
    cluster.storage.delay = 5.0
    time.sleep(TROUBLE_SECONDS)
    cluster.storage.delay = 0.0


def database_restarted(cluster: Cluster) -> None:
    assert cluster.postgres is not None
    cluster.postgres.stop()
    time.sleep(TROUBLE_SECONDS)
    cluster.postgres.start()


def connections_ended(cluster: Cluster) -> None:
    assert cluster.postgres is not None
    with psycopg.connect(f"{cluster.postgres.address}/postgres", autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and datname is not null"
        )


@pytest.mark.parametrize("trouble", [refused, slow, database_restarted, connections_ended])
def test_job_ends_with_its_one_model_whatever_fails_in_whichever_stage(
    trouble: Callable[[Cluster], None], cluster: Cluster
) -> None:
    with Jobs(cluster, Random(trouble.__name__)) as jobs:
        for stage in STAGES:
            name = f"{trouble.__name__}-{stage}".replace("_", "-")
            jobs.asked.append(Asked(name, name.encode()))
            jobs.insist_on(jobs.asked[-1])
            if stage != "fetch":  # that is what a worker does first
                reached(cluster, jobs.asked[-1], stage)
            trouble(cluster)
            cluster.keep_alive()
        jobs.wait()
        assert [each.outcome for each in jobs.asked] == [JobState.SUCCEEDED] * 3, jobs.asked
        found = jobs.audit()
    mine = {each.name for each in jobs.asked}
    assert (found.lost, found.stuck) == ([], [])
    assert [each for each in found.doubled if each.split(":")[0] in mine] == []


def reached(cluster: Cluster, job: Asked, stage: str) -> None:
    """Waits until a job is in a stage, by what its child notes."""
    noted, limit = cluster.folder / "begun", time.monotonic() + 60
    while not (noted.exists() and f"{job.name} {stage}" in noted.read_text().splitlines()):
        assert time.monotonic() < limit
        time.sleep(0.02)
