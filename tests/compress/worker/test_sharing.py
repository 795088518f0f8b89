"""A job goes on at a worker of another machine from where it was: over Postgres and S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.cluster.object_storage import BUCKET, ObjectStorage
from benchmarks.cluster.postgres import Postgres
from isslim.compress.worker.garbage import Keep, Stores, collect_garbage
from isslim.store.bundles import BundleStore
from isslim.store.checkpoints import Checkpoints
from isslim.store.queue import JobQueue
from isslim.store.uploads import UploadStore
from isslim.types.jobs import CompressionRequest, Job, JobState, UploadRef
from isslim.types.names import CHECKPOINT_NOTE
from isslim.types.recipe import Recipe
from tests.backends import Backend
from tests.compress.worker.interruptions import end

pytestmark = pytest.mark.slow
STEPS = 40
COUNTING = f"""
import json, os, sys, threading, time
from pathlib import Path

threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from isslim.store.checkpoints import Checkpoints
from isslim.types.names import CHECKPOINT_NOTE
from isslim.store.settings import StoreSettings

folder = Path(sys.argv[1])
Checkpoints(StoreSettings()).fetch(folder)
state = folder / "learn" / "step"
state.parent.mkdir(exist_ok=True)
begun = int(state.read_text()) if state.exists() else 0
for step in range(begun, {STEPS}):
    (folder / CHECKPOINT_NOTE).write_text("of this request")
    partial = folder / "learn" / ".partial-0"
    partial.write_text(str(step))
    partial.replace(state)
    news = {{"stage": "learn", "progress": step / {STEPS}, "message": f"{{step}} from {{begun}}"}}
    print(json.dumps(news), flush=True)
    time.sleep(0.1)
print(json.dumps({{"problem": {{"kind": "counted", "title": "t", "detail": "d"}}}}), flush=True)
"""


class Machines:
    """Workers that have a home each, and share a database and a storage."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.folder, self.backend = folder, backend
        self.settings = backend.settings(folder / "asking")
        self.queue = JobQueue(self.settings)
        self.checkpoints = Checkpoints(self.settings)
        self.workers: list[subprocess.Popen[bytes]] = []
        (folder / "child.py").write_text(COUNTING)

    def start(self, home: str, share_seconds: float = 0.3) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("a") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "isslim.compress.worker"],
                env=os.environ
                | self.backend.variables(self.folder / home)
                | {
                    "ISS_EXECUTOR_ID": home,
                    "ISS_SHARE_SECONDS": str(share_seconds),
                    "ISS_CHILD_COMMAND": json.dumps(
                        [sys.executable, str(self.folder / "child.py")]
                    ),
                },
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def ask(self) -> str:
        model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
        return self.queue.enqueue(CompressionRequest(model=model, recipe=Recipe(name="m"))).id

    def until(self, job_id: str, done: Callable[[Job], bool], seconds: float = 30) -> Job:
        limit = time.monotonic() + seconds
        while not done(job := self.queue.get(job_id)):
            assert time.monotonic() < limit, (job, (self.folder / "log").read_text()[-3000:])
            time.sleep(0.05)
        return job


@pytest.fixture
def machines(
    postgres_server: Postgres, object_storage: ObjectStorage, tmp_path: Path
) -> Iterator[Machines]:
    made = Machines(
        tmp_path, Backend(postgres_server.new_database(), f"s3://{BUCKET}/{uuid4().hex}")
    )
    yield made
    end(made.workers, made.queue)


def begun_at(job: Job) -> int:
    """The step from which the present attempt went on."""
    return int(job.message.rpartition(" ")[2])


@pytest.mark.parametrize(("number", "share"), [(signal.SIGKILL, 0.3), (signal.SIGTERM, 600.0)])
def test_job_goes_on_from_its_last_checkpoint_on_another_machine(
    number: signal.Signals, share: float, machines: Machines
) -> None:
    """A worker that is killed has put some there; one that is told to stop does it as it leaves."""
    first = machines.start("one", share)
    job = machines.ask()
    machines.until(job, lambda job: job.progress >= 15 / STEPS)
    second = machines.start("two", share)
    first.send_signal(number)
    first.wait()
    going_on = machines.until(job, lambda job: job.attempts == 2 and " from " in job.message)
    assert begun_at(going_on) >= 8
    ended = machines.until(job, lambda job: job.state.ended)
    assert ended.problem is not None
    assert (ended.problem.kind, ended.attempts) == ("counted", 2)
    assert machines.checkpoints.names() == set()
    assert second.poll() is None


def test_older_checkpoints_of_ones_own_are_no_place_to_go_on_from(machines: Machines) -> None:
    first = machines.start("one")
    job = machines.ask()
    machines.until(job, lambda job: job.progress >= 8 / STEPS)
    first.kill()
    first.wait()
    second = machines.start("two")
    machines.until(job, lambda job: job.attempts == 2 and job.progress >= 25 / STEPS)
    second.kill()
    second.wait()
    assert (machines.folder / "one" / "work" / f"{job}-1" / CHECKPOINT_NOTE).exists()
    machines.start("one")
    going_on = machines.until(job, lambda job: job.attempts == 3 and " from " in job.message)
    assert begun_at(going_on) >= 18


def test_checkpoints_of_a_cancelled_job_are_removed(machines: Machines) -> None:
    worker = machines.start("one")
    job = machines.ask()
    machines.until(job, lambda job: bool(machines.checkpoints.names()))
    machines.queue.cancel(job)
    limit = time.monotonic() + 10
    while machines.checkpoints.names():
        assert time.monotonic() < limit
        time.sleep(0.1)
    # Nobody watches this one as it is cancelled.
    machines.queue.enqueue(machines.queue.get(job).request)
    machines.until(job, lambda job: bool(machines.checkpoints.names()))
    worker.kill()
    worker.wait()
    queue = machines.queue
    stores = Stores(
        queue.records,
        queue.inspections,
        machines.settings.work,
        UploadStore(machines.settings),
        BundleStore(machines.settings),
        machines.checkpoints,
    )
    collect_garbage(stores, Keep())
    assert machines.checkpoints.names() == {f"{job}-2"}
    queue.cancel(job)
    collect_garbage(stores, Keep())
    assert machines.checkpoints.names() == set()
    assert queue.get(job).state is JobState.CANCELLED
