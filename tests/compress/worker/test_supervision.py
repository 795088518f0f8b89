"""One job's child and its record: a database that is locked, children that print nonsense."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from isslim.compress.worker.heart import Heart
from isslim.compress.worker.oversight import Limits
from isslim.compress.worker.supervision import Worker, supervise
from isslim.store.aliases import AliasStore
from isslim.store.attempts import Attempt, Reached
from isslim.store.bundles import BundleStore
from isslim.store.checkpoints import Checkpoints
from isslim.store.errors import Unavailable
from isslim.store.liveness import Watch
from isslim.store.locks import FileLocks
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, Job, JobState, UploadRef
from isslim.types.recipe import Recipe

MODEL = "0123456789abcdef"
TELLING = """
import json, sys, time
from pathlib import Path
for step in range(25):
    news = {"stage": "work", "progress": step / 25, "message": f"step {step}"}
    print(json.dumps(news), flush=True)
    time.sleep(0.1)
print(json.dumps({"result": {"model_id": "0123456789abcdef"}}), flush=True)
"""


@pytest.fixture
def records(tmp_path: Path) -> Iterator[JobRecords]:
    made = JobRecords(StoreSettings(home=tmp_path / "home", database_wait_seconds=0.05))
    model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
    made.add("job", CompressionRequest(model=model))
    yield made
    made.close()


@contextmanager
def locked(records: JobRecords) -> Iterator[None]:
    """Another process is writing, and does not come to an end."""
    other = sqlite3.connect(records.url.removeprefix("sqlite:///"))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


class Heard:
    """A lease that nobody takes away."""

    token = "token"

    def beat(self) -> bool:
        return True

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        """Nothing."""


def worker_of(
    records: JobRecords, code: str, work: Path, limits: Limits | None = None, **more: object
) -> Worker:
    """A worker whose children run `code`; what is published is there already."""
    settings = StoreSettings(home=work.parent / "home")
    bundle = settings.home / "artifacts" / "bundles" / MODEL
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "manifest.json").touch()
    locks = FileLocks(settings.locks)
    heart = Heart(locks, "own", Heard())
    heart.start()
    return Worker(
        records=records,
        bundles=BundleStore(settings),
        checkpoints=Checkpoints(settings),
        heart=heart,
        watch=Watch(locks),
        command=[sys.executable, "-c", code],
        work=work,
        limits=limits or Limits(),
        **more,  # type: ignore[arg-type]
    )


def in_child(
    records: JobRecords, code: str, work: Path, meanwhile: Callable[[], None] = lambda: None
) -> Job:
    """Supervises a child that runs `code`, with something happening in a thread beside it."""
    thread = threading.Thread(target=meanwhile)
    thread.start()
    asyncio.run(supervise(worker_of(records, code, work), "job", 1))
    thread.join()
    assert not list(work.iterdir())
    return records.get("job")


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_locked_database_costs_progress_and_not_the_job(
    records: JobRecords, tmp_path: Path
) -> None:
    seen = []

    def lock() -> None:
        until(lambda: records.get("job").stage == "work")
        with locked(records):
            time.sleep(0.7)
            before = records.get("job").progress
            with pytest.raises(Unavailable) as caught:
                records.attempts.advance(Attempt("job", 1, 1), Reached("other", 0.0))
            assert "locked" in caught.value.reason
        until(lambda: records.get("job").progress > before)  # later news are recorded again
        seen.append(records.get("job").state)

    job = in_child(records, TELLING, tmp_path / "work", lock)
    assert seen == [JobState.RUNNING]
    assert (job.state, job.model_id, job.attempts) == (JobState.SUCCEEDED, "0123456789abcdef", 1), (
        job.problem
    )
    assert "work: step 24" in job.log


@pytest.mark.parametrize(
    "code",
    [
        TELLING.replace("range(25)", "range(1)"),
        pytest.param("raise SystemExit(7)", marks=pytest.mark.slow),
    ],
)
def test_end_of_a_job_is_recorded_however_long_the_database_is_locked(
    code: str, records: JobRecords, tmp_path: Path
) -> None:
    def lock() -> None:
        until(lambda: records.get("job").state is JobState.RUNNING)
        with locked(records):
            time.sleep(2)
            assert records.get("job").state is JobState.RUNNING

    job = in_child(records, code, tmp_path / "work", lock)
    assert job.state is (JobState.SUCCEEDED if code != "raise SystemExit(7)" else JobState.FAILED)
    assert (job.problem is None) == (job.state is JobState.SUCCEEDED)


def test_what_was_understood_is_recorded_with_the_job(records: JobRecords, tmp_path: Path) -> None:
    told = (
        'inspection = {"understood": True, "layout": "two layers"}\n'
        'print(json.dumps({"inspection": inspection}), flush=True)\n'
    )
    code = TELLING.replace("range(25)", "range(2)").replace("for step", told + "for step")
    job = in_child(records, code, tmp_path / "work")
    assert job.inspection is not None
    assert job.inspection.layout == "two layers"
    assert records.page(9)[0][0].inspection is None  # a list is kept short


def test_time_left_is_known_while_the_job_runs_and_not_after_it(
    records: JobRecords, tmp_path: Path
) -> None:
    code = TELLING.replace('"progress"', '"seconds_left": 25 - step, "progress"')
    seen: list[float] = []

    def look() -> None:
        until(lambda: records.get("job").seconds_left is not None)
        seen.append(records.get("job").seconds_left or 0.0)
        until(lambda: (records.get("job").seconds_left or 99.0) < seen[0])

    job = in_child(records, code, tmp_path / "work", look)
    assert 0 < seen[0] <= 25
    assert (job.state, job.seconds_left) == (JobState.SUCCEEDED, None)


def test_points_and_epochs_are_recorded_while_the_job_runs(
    records: JobRecords, tmp_path: Path
) -> None:
    """A point that is sent again replaces the first; one that is no point ends nothing."""
    point = {
        "removed_share": 0.4, "parameters": 9, "mult_adds": 8, "value": 33.4, "loss": 0.045,
        "within_budget": True, "sizes": {"units:lstm0": 3},
        "estimate": {"low": 0.04, "high": 0.05, "count": 900, "unit": "tokens",
                     "method": "block bootstrap"},
    }  # fmt: skip
    epoch = {
        "round": 1, "seconds": 2.0, "steps": 3, "units": {"units:lstm0": 3},
        "training_value": 88.2, "held_out_value": 101.3,
    }  # fmt: skip
    told = [
        {"point": point},
        {"point": point | {"value": 33.5}},
        {"point": point | {"sizes": {"units:lstm0": 2}, "value": None}},
        {"point": point | {"sizes": {"units:lstm0": 1}}},
        {"epoch": epoch},
        {"epoch": "none"},
    ]
    code = TELLING.replace(
        "for step", f"for each in {told!r}:\n    print(json.dumps(each))\nfor step"
    )
    seen: list[Job] = []

    def all_told() -> bool:
        now = records.get("job")
        return len(now.points) == 2 and bool(now.epochs)

    def look() -> None:
        until(all_told)  # they are recorded as they are read, one or several at a time
        seen.append(records.get("job"))

    job = in_child(records, code.replace("range(25)", "range(10)"), tmp_path / "work", look)
    assert seen[0].state is JobState.RUNNING
    for each in (seen[0], job):
        assert [(point.value, point.sizes["units:lstm0"]) for point in each.points] == [
            (33.5, 3),
            (33.4, 1),
        ]
        assert each.points[0].estimate is not None
        assert [epoch.held_out_value for epoch in each.epochs] == [101.3]
    assert job.state is JobState.SUCCEEDED
    ((listed,), _) = records.page(9)
    assert (listed.points, listed.epochs) == ([], [])


@pytest.mark.parametrize(
    ("last_word", "fault"),
    [
        ({"result": {}}, "KeyError"),
        ({"result": None}, "TypeError"),
        ({"problem": {"kind": 3}}, "ValidationError"),
        (
            {"problem": {"kind": "k", "title": "t", "detail": "d"}, "curve": [{"nope": 1}]},
            "ValidationError",
        ),
    ],
)
def test_child_that_ends_with_nonsense_ends_its_job(
    last_word: object, fault: str, records: JobRecords, tmp_path: Path
) -> None:
    job = in_child(records, f"import json; print(json.dumps({last_word!r}))", tmp_path / "work")
    assert job.state is JobState.FAILED
    assert job.problem is not None
    assert job.problem.kind == "worker-fault"
    assert fault in job.problem.detail


@pytest.mark.parametrize("ending", ["succeeded", "failed", "cancelled"])
def test_recipe_promotes_its_model_once_the_job_has_succeeded(
    ending: str, records: JobRecords, tmp_path: Path
) -> None:
    model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
    records.add("prod", CompressionRequest(model=model, recipe=Recipe(promote="prod")))
    result = {"result": {"model_id": "0123456789abcdef"}}
    code = f"import json, sys; print(json.dumps({result!r})); sys.exit({ending == 'failed':d})"
    if ending == "cancelled":
        # The model is published in the moment in which the job is cancelled.
        code = code.replace("import", "import sqlite3,", 1).replace(
            "sys; ",
            f"sys; base = sqlite3.connect({records.url.removeprefix('sqlite:///')!r}); "
            "base.execute(\"update iss_jobs set state = 'cancelled' where id = 'prod'\"); "
            "base.commit(); base.close(); ",
        )
    asyncio.run(supervise(worker_of(records, code, tmp_path / "work"), "prod", 1))
    found = {each.alias: each.model for each in AliasStore(records.engine).all()}
    assert found == ({"prod": "0123456789abcdef"} if ending == "succeeded" else {})


@pytest.mark.slow
def test_what_is_said_again_stands_once_in_the_log(records: JobRecords, tmp_path: Path) -> None:
    job = in_child(
        records, TELLING.replace('f"step {step}"', 'f"part {step // 10}"'), tmp_path / "work"
    )
    assert job.log == ["work: part 0", "work: part 1", "work: part 2"]
    assert job.progress == 1


def test_line_without_end_is_no_fault_of_the_job(records: JobRecords, tmp_path: Path) -> None:
    code = (
        "import sys; sys.stderr.write('x' * 9_000_000 + '\\nlast\\n'); print('y' * 9_000_000)\n"
        + TELLING.replace("range(25)", "range(1)")
    )
    job = in_child(records, code, tmp_path / "work")
    assert job.state is JobState.SUCCEEDED, job.problem
    assert "last" in job.log
    assert "work: step 0" in job.log


@pytest.mark.parametrize(
    "line",
    [
        '{"stage": [1], "progress": "much", "message": {}}',
        '{"stage": "x", "progress": NaN, "message": "m"}',
    ],
)
def test_progress_that_cannot_be_recorded_is_no_fault_of_the_job(
    line: str, records: JobRecords, tmp_path: Path
) -> None:
    code = f"print({line!r}, flush=True); import time; time.sleep(0.5)\n" + TELLING.replace(
        "range(25)", "range(0)"
    )
    assert in_child(records, code, tmp_path / "work").state is JobState.SUCCEEDED
