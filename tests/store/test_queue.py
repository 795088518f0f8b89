"""The queue on a real database: what is one job, what runs anew, and what DBOS is asked for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOSClient

from isslim.store.artifacts import Artifacts
from isslim.store.bundles import BundleStore
from isslim.store.errors import AnotherRelease, BadCursor, NotFound
from isslim.store.folders import seal
from isslim.store.integrity import MANIFEST
from isslim.store.job_rows import hashes_in
from isslim.store.owners import Owners
from isslim.store.queue import (
    JobQueue,
    inspection_workflow_id_of,
    job_id_of,
    workflow_id_of,
)
from isslim.store.settings import StoreSettings
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from isslim.types.names import (
    APPLICATION_VERSION,
    INSPECTION_QUEUE,
    INSPECTION_WORKFLOW,
    QUEUE,
    WORKFLOW,
)
from isslim.types.recipe import Recipe
from tests.jobs import answer, begin, end
from tests.store.manifests import manifest_of


def upload(digit: str, filename: str = "f") -> UploadRef:
    return UploadRef(sha256=digit * 64, filename=filename, size_bytes=1)


def request(digit: str = "0", name: str = "m") -> CompressionRequest:
    return CompressionRequest(model=upload(digit), recipe=Recipe(name=name))


@pytest.fixture
def queue(settings: StoreSettings) -> Iterator[JobQueue]:
    made = JobQueue(settings)
    yield made
    made.close()


@pytest.fixture
def workflows(queue: JobQueue) -> Iterator[DBOSClient]:
    """A look at what DBOS was asked for, past the queue."""
    client = DBOSClient(system_database_url=queue.records.url)
    yield client
    client.destroy()


def asked(client: DBOSClient) -> dict[str, tuple[str, str | None, str | None, str]]:
    """Name, queue, version and state of every workflow, by its id."""
    return {
        each.workflow_id: (each.name, each.queue_name, each.app_version, each.status)
        for each in client.list_workflows()
    }


def arguments_of(client: DBOSClient, workflow_id: str) -> tuple[object, ...]:
    (found,) = client.list_workflows(workflow_ids=[workflow_id])
    return tuple(found.input["args"])


def published(settings: StoreSettings, folder: Path) -> str:
    """The id of a real bundle, of one file."""
    folder.mkdir()
    (folder / "README.md").write_text("a card")
    seal(folder, manifest_of())
    return BundleStore(settings).publish(folder)


def test_id_is_made_of_content_and_recipe_and_not_of_file_names() -> None:
    one = CompressionRequest(model=upload("0", "a"), held_out=upload("1", "b"), recipe=Recipe())
    other = CompressionRequest(model=upload("0", "x"), held_out=upload("1", "y"), recipe=Recipe())
    assert job_id_of(one) == job_id_of(other)
    content = one.model_dump(mode="json", exclude={"recipe": {"minutes"}})
    for field in ("model", "held_out"):
        del content[field]["filename"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert job_id_of(one) == digest[:20]
    different = [
        CompressionRequest(model=upload("0"), held_out=upload("2"), recipe=Recipe()),
        CompressionRequest(model=upload("0"), calibration=upload("1"), recipe=Recipe()),
        CompressionRequest(model=upload("0"), held_out=upload("1"), recipe=Recipe(name="n")),
    ]
    assert len({job_id_of(each) for each in (one, *different)}) == 4


def test_workflow_ids_name_the_run() -> None:
    assert workflow_id_of("j", 2) == "j-2"
    assert inspection_workflow_id_of("i", 3) == "inspect-i-3"


def test_request_is_queued_once(queue: JobQueue, workflows: DBOSClient) -> None:
    job = queue.enqueue(request())
    assert (job.id, job.state) == (job_id_of(request()), JobState.QUEUED)
    assert queue.enqueue(request()) == job
    assert asked(workflows) == {f"{job.id}-1": (WORKFLOW, QUEUE, APPLICATION_VERSION, "ENQUEUED")}
    assert arguments_of(workflows, f"{job.id}-1") == (job.id, 1)
    assert queue.get(job.id) == job
    assert queue.page(9) == ([job], None)


def test_request_that_died_between_the_two_writes_is_mended(
    queue: JobQueue, workflows: DBOSClient
) -> None:
    job_id = job_id_of(request())
    queue.records.add(job_id, request())
    assert asked(workflows) == {}
    queue.enqueue(request())
    assert list(asked(workflows)) == [f"{job_id}-1"]


def test_running_job_is_not_queued_again(queue: JobQueue, workflows: DBOSClient) -> None:
    job_id = job_id_of(request())
    queue.records.add(job_id, request())
    begin(queue.records, job_id)
    assert queue.enqueue(request()).state is JobState.RUNNING
    assert asked(workflows) == {}


def test_failed_job_begins_a_new_run(queue: JobQueue, workflows: DBOSClient) -> None:
    job = queue.enqueue(request())
    end(queue.records, job.id, JobState.FAILED)
    assert queue.enqueue(request()).state is JobState.QUEUED
    assert set(asked(workflows)) == {f"{job.id}-1", f"{job.id}-2"}
    assert arguments_of(workflows, f"{job.id}-2") == (job.id, 2)


def test_job_runs_anew_once_its_model_is_gone_or_damaged(
    queue: JobQueue, settings: StoreSettings, tmp_path: Path
) -> None:
    model_id = published(settings, tmp_path / "made")
    job = queue.enqueue(request())
    end(queue.records, job.id, JobState.SUCCEEDED, model_id=model_id)
    stands = queue.enqueue(request())
    assert (stands.state, stands.model_id) == (JobState.SUCCEEDED, model_id)
    store = Artifacts(settings)
    (tmp_path / "other").write_text("another")
    store.copy_in(f"bundles/{model_id}/README.md", tmp_path / "other")
    if settings.artifacts_url is not None:  # its copy was verified before, and is used until then
        shutil.rmtree(settings.cache)
    again = queue.enqueue(request())
    assert (again.state, again.model_id, queue.records.run_of(job.id)) == (
        JobState.QUEUED, None, 2,
    )  # fmt: skip
    end(queue.records, job.id, JobState.SUCCEEDED, run=2, model_id="0" * 16)
    assert queue.enqueue(request()).state is JobState.QUEUED
    assert queue.records.run_of(job.id) == 3


def test_bundles_may_lie_where_the_caller_says(settings: StoreSettings, tmp_path: Path) -> None:
    elsewhere = StoreSettings(home=tmp_path / "elsewhere")
    model_id = published(elsewhere, tmp_path / "made")
    queue = JobQueue(settings, BundleStore(elsewhere))
    job = queue.enqueue(request())
    end(queue.records, job.id, JobState.SUCCEEDED, model_id=model_id)
    assert queue.enqueue(request()).model_id == model_id
    assert (tmp_path / "elsewhere" / "artifacts" / "bundles" / model_id / MANIFEST).is_file()
    queue.close()


def test_forgotten_model_is_forgotten_by_its_job(queue: JobQueue) -> None:
    job = queue.enqueue(request())
    end(queue.records, job.id, JobState.SUCCEEDED, model_id="0" * 16)
    queue.forget_model("1" * 16)
    assert queue.get(job.id).model_id == "0" * 16
    queue.forget_model("0" * 16)
    assert queue.get(job.id).model_id is None


def test_cancelled_job_is_cancelled_for_dbos_too(queue: JobQueue, workflows: DBOSClient) -> None:
    job = queue.enqueue(request())
    assert queue.cancel(job.id).state is JobState.CANCELLED
    assert asked(workflows)[f"{job.id}-1"][3] == "CANCELLED"


def test_ended_job_is_not_cancelled(queue: JobQueue, workflows: DBOSClient) -> None:
    job = queue.enqueue(request())
    end(queue.records, job.id, JobState.FAILED)
    assert queue.cancel(job.id).state is JobState.FAILED
    assert asked(workflows)[f"{job.id}-1"][3] == "ENQUEUED"


def test_inspection_is_asked_for_once_and_anew_after_its_answer(
    queue: JobQueue, workflows: DBOSClient
) -> None:
    inspection_id = queue.inspect(request())
    assert inspection_id == job_id_of(request())
    assert queue.inspect(request()) == inspection_id
    expected = (INSPECTION_WORKFLOW, INSPECTION_QUEUE, APPLICATION_VERSION, "ENQUEUED")
    assert asked(workflows) == {f"inspect-{inspection_id}-1": expected}
    assert arguments_of(workflows, f"inspect-{inspection_id}-1") == (inspection_id, 1)
    assert isinstance(queue.inspection(inspection_id), PendingInspection)
    answer(queue.inspections, inspection_id, Inspection(understood=True))
    assert queue.inspection(inspection_id) == Inspection(understood=True)
    queue.inspect(request())
    assert arguments_of(workflows, f"inspect-{inspection_id}-2") == (inspection_id, 2)


def test_rows_of_an_earlier_release_are_read(queue: JobQueue) -> None:
    # Its fields had other names; the bundle's report holds the same record.
    report = json.loads((Path(__file__).parent / "bundle-2" / "report.json").read_text())
    assert "judged_on" in report["inspection"]
    job = queue.enqueue(request()).id
    inspection_id = queue.inspect(request())
    answer = json.dumps(report["inspection"])
    with queue.records.engine.begin() as connection:
        for statement in (
            f"UPDATE iss_jobs SET inspection = :answer, curve = :curve WHERE id = '{job}'",
            "UPDATE iss_inspections SET state = 'answered', answer = :answer "
            f"WHERE id = '{inspection_id}'",
        ):
            values = {"answer": answer, "curve": json.dumps(report["curve"])}
            connection.execute(sa.text(statement), values)
    read = queue.get(job)
    assert (read.points, read.epochs) == ([], [])  # columns that there were not
    assert read.inspection == queue.inspection(inspection_id)
    assert read.inspection is not None
    assert read.inspection.evaluated_on.startswith("uploaded text (1,289 tokens")
    assert len(read.curve) == len(report["curve"])


def test_states_are_counted(queue: JobQueue) -> None:
    for digit in "012":
        queue.enqueue(request(digit))
    queue.cancel(job_id_of(request("1")))
    expected = dict.fromkeys(JobState, 0) | {JobState.QUEUED: 2, JobState.CANCELLED: 1}
    assert queue.counts() == expected


def test_pages_hold_every_job_once_newest_first(queue: JobQueue) -> None:
    jobs = [queue.enqueue(request(digit)).id for digit in "0123456"]
    with queue.records.engine.begin() as connection:  # of one moment, as a sweep's are
        connection.execute(sa.text("update iss_jobs set created_at = '2026-12-01 10:00:00.500000'"))
        connection.execute(
            sa.text("update iss_jobs set created_at = '2026-12-02 10:00:00.000000' where id = :id"),
            {"id": jobs[3]},
        )
    found, cursor, pages = list[str](), None, 0
    while pages == 0 or (cursor is not None and pages < 9):
        page, cursor = queue.page(3, cursor)
        found += [job.id for job in page]
        pages += 1
    assert (pages, found[0]) == (3, jobs[3])
    assert sorted(found) == sorted(jobs)
    assert queue.page(7)[1] is None
    for wrong in ("", "x", "2026-12-01", "2026-12-01T10:00:00", "2026-12-01T10:00:00+00:00~a"):
        with pytest.raises(BadCursor, match="no cursor"):
            queue.page(3, wrong)


def test_pages_of_a_key_are_full_and_hold_its_jobs_alone(queue: JobQueue) -> None:
    owners, mine = Owners(queue.records.engine), list[str]()
    for number, digit in enumerate("0123456789"):  # two keys' and nobody's, in turn
        owner = ("ann", "ben", None)[number % 3]
        job = queue.enqueue(request(digit), owner)
        if owner is not None:
            owners.claim("job", job.id, owner)
        if owner == "ann":
            mine.append(job.id)
    owners.claim("sweep", queue.enqueue(request("a"), "ben").id, "ann")  # of that id, and no job
    sizes, found, cursor = list[int](), list[str](), None
    while not sizes or cursor is not None:
        page, cursor = queue.page(3, cursor, "ann")
        assert {job.owner for job in page} == {"ann"}
        sizes.append(len(page))
        found += [job.id for job in page]
    assert (sizes, found) == ([3, 1], mine[::-1])
    assert queue.page(4, None, "ann")[1] is None
    assert queue.page(9, None, "eve") == ([], None)
    everybodys, _ = queue.page(20)
    assert [job.owner for job in everybodys] == [None, "ann", *[None, "ben", "ann"] * 3]


def spoil(queue: JobQueue, job: str, **values: str) -> None:
    """Writes into the row of a job what another release might have written."""
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    with queue.records.engine.begin() as connection:
        connection.execute(
            sa.text(f"update iss_jobs set {assignments} where id = :job"), values | {"job": job}
        )


def test_rows_of_another_release_break_no_list(queue: JobQueue) -> None:
    known = queue.enqueue(request("0"))
    added, state, unreadable, figures = (queue.enqueue(request(each)).id for each in "1234")
    content = json.loads(request("1").model_dump_json())
    content["recipe"]["rotate_everything"] = True
    content["adapter"] = content["model"]
    spoil(queue, added, request=json.dumps(content))
    spoil(queue, state, state="paused")
    spoil(queue, unreadable, request='{"model": "a URL", "sha256": "' + "9" * 64 + '"}')
    spoil(queue, figures, curve='[{"energy": 3}]', problem='{"kind": "k"}', inspection="[]")
    jobs = {job.id: job for job in queue.page(9)[0]}
    assert jobs[known.id] == known
    assert jobs[added].request == request("1")
    problem = jobs[added].problem
    assert problem is not None
    assert problem.kind == "another-release"
    assert sorted(problem.issues) == [
        "adapter: Extra inputs are not permitted",
        "recipe.rotate_everything: Extra inputs are not permitted",
    ]
    assert jobs[state].state is JobState.FAILED
    assert jobs[state].problem is not None
    assert jobs[unreadable].request.model.filename == "?"
    assert jobs[figures].curve == []
    assert queue.get(figures).inspection is None
    assert queue.counts()["queued"] == 4
    # None of them loses its files.
    active = queue.records.active()
    needed = hashes_in(each.request for each in active)
    assert {digit * 64 for digit in "01249"} - {"3" * 64} <= needed
    for job in (added, unreadable):
        with pytest.raises(AnotherRelease):
            queue.records.request_of(job)


def test_unknown_ids_are_refused(queue: JobQueue) -> None:
    for ask in (queue.get, queue.cancel, queue.inspection):
        with pytest.raises(NotFound):
            ask("nope")


def test_closed_queue_gives_its_connections_back(settings: StoreSettings) -> None:
    queue = JobQueue(settings)
    queue.enqueue(request())
    assert queue.records.engine.pool.checkedin() > 0  # type: ignore[attr-defined]
    queue.close()
    assert queue.records.engine.pool.checkedin() == 0  # type: ignore[attr-defined]
