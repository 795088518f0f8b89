"""Jobs that nobody would ever do are brought back to the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from dbos import DBOSClient

from isslim.store.queue import JobQueue, workflow_id_of
from isslim.store.reconciliation import Reconciler
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from tests.jobs import WORKER, begin, end


class Case:
    """A queue with one job, and what looks for stray ones."""

    def __init__(self, settings: StoreSettings) -> None:
        self.queue = JobQueue(settings)
        self.client = DBOSClient(system_database_url=self.queue.records.url)
        self.dead: set[str] = set()
        self.reconciler = Reconciler(
            self.queue.records.engine, self.client, lambda token: token in self.dead
        )
        model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
        self.job = self.queue.enqueue(CompressionRequest(model=model)).id
        self.flow = workflow_id_of(self.job, 1)

    def write(self, statement: str, **values: object) -> None:
        with self.queue.records.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                statement = statement.replace("workflow_status", "dbos.workflow_status")
            connection.execute(sa.text(statement), values)

    def flow_is(self, status: str) -> None:
        self.write(
            "update workflow_status set status = :status where workflow_uuid = :id",
            status=status,
            id=self.flow,
        )

    def status(self) -> str | None:
        found = self.client.list_workflows(workflow_ids=[self.flow])
        return found[0].status if found else None

    def looks(self) -> tuple[int, int]:
        return self.reconciler.look(), self.reconciler.look()


@pytest.fixture
def case(settings: StoreSettings) -> Iterator[Case]:
    made = Case(settings)
    yield made
    made.client.destroy()
    made.queue.close()


def test_job_that_waits_as_it_should_is_left(case: Case) -> None:
    assert case.looks() == (0, 0)
    case.flow_is("PENDING")
    assert case.looks() == (0, 0)


@pytest.mark.parametrize(
    "status", ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
)
def test_job_whose_workflow_has_ended_waits_again(status: str, case: Case) -> None:
    case.flow_is(status)
    assert case.looks() == (0, 1)  # not at once: a request may be in the middle of its writes
    assert case.status() == "ENQUEUED"
    assert case.looks() == (0, 0)


def test_job_whose_service_died_before_it_was_queued_is_queued(case: Case) -> None:
    case.client.delete_workflow(case.flow)
    assert case.looks() == (0, 1)
    assert case.status() == "ENQUEUED"


def test_running_job_is_taken_up_only_from_a_dead_worker(case: Case) -> None:
    begin(case.queue.records, case.job)
    case.flow_is("SUCCESS")
    assert case.looks() == (0, 0)
    case.dead.add(WORKER)
    assert case.looks() == (1, 0)
    assert case.status() == "ENQUEUED"


def test_ended_job_is_left(case: Case) -> None:
    assert end(case.queue.records, case.job, JobState.FAILED)
    case.client.delete_workflow(case.flow)
    assert case.looks() == (0, 0)


def test_job_of_another_version_is_taken_over_or_named(case: Case) -> None:
    case.write("update workflow_status set application_version = '0'")
    assert case.looks() == (0, 1)
    (flow,) = case.client.list_workflows(workflow_ids=[case.flow])
    assert (flow.app_version, flow.status) == ("1", "ENQUEUED")
    # One that holds what is not known here waits for its own release, and says so.
    with case.queue.records.engine.connect() as connection:
        content = json.loads(
            connection.execute(sa.text("select request from iss_jobs")).scalar() or ""
        )
    content["recipe"]["rotate_everything"] = True
    case.write("update workflow_status set application_version = '2'")
    case.write("update iss_jobs set request = :request", request=json.dumps(content))
    assert case.looks() == (0, 0)
    (flow,) = case.client.list_workflows(workflow_ids=[case.flow])
    assert flow.app_version == "2"
    assert (
        case.queue.get(case.job).message == "waits for a worker of the release that it was sent to"
    )
