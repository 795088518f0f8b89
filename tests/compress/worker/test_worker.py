"""The worker as real processes on a real database: outcomes, cancel, kill -9, double start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from isslim.compress.worker.main import ID_IN_USE
from isslim.demo.ports import free_port
from isslim.store.artifacts import Artifacts
from isslim.store.bundles import BundleStore
from isslim.store.errors import NotFound
from isslim.store.listing import LISTING_SECONDS
from isslim.store.liveness import locks_of
from isslim.store.locks import FileLocks
from isslim.store.queue import JobQueue
from isslim.store.sweeps import SweepStore
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest, Job, JobState, UploadRef
from isslim.types.recipe import Recipe
from tests.backends import Backend
from tests.compress.worker.interruptions import end
from tests.conftest import Published

CHILD = """
import json, os, shutil, subprocess, sys, threading, time
from pathlib import Path

folder = Path(sys.argv[1])
request = json.loads((folder / "request.json").read_text())
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runs = Path(os.environ["RUNS"])
with runs.open("a") as file:
    file.write(f"start {request['recipe']['name']} {os.getpid()}\\n")
# Slow until it is killed: what is taken up again need not be waited for.
is_slow = runs.read_text().count(f"start {request['recipe']['name']} ") == 1

def tell(**line):
    print(json.dumps(line), flush=True)

tell(stage="work", progress=0.3, message="begun")
kind = request["recipe"]["name"].split("-")[0]
if sys.argv[2:] == ["inspect"]:
    if kind == "stuck":
        time.sleep(600)
    if kind == "unread":
        tell(problem={"kind": "out-of-memory", "title": "t", "detail": "d", "issues": []}, curve=[])
    elif kind != "crash":
        time.sleep(2 if kind == "slow" and is_slow else 0)
        tell(inspection={"understood": True, "layout": "two layers"})
        tell(result={"model_id": None})
    sys.exit(7 if kind == "crash" else 0)
if kind == "crash":
    print("the reason", file=sys.stderr)
    sys.exit(7)
if kind == "answer":
    tell(problem={"kind": "bad-weights", "title": "t", "detail": "d", "issues": ["i"]}, curve=[])
    sys.exit(0)
if kind == "budget":
    tell(problem={"kind": "budget-not-met", "title": "t", "detail": "d", "issues": []}, curve=[])
    sys.exit(0)
if kind in ("long", "still", "greedy"):
    size = 200 if kind == "greedy" else 0
    taking = f"taken = bytearray({size} << 20); import time; time.sleep(60)"
    below = subprocess.Popen([sys.executable, "-S", "-c", taking])
    with runs.open("a") as file:
        file.write(f"start {kind} {below.pid}\\n")
    while kind == "long":
        time.sleep(0.1)
        tell(stage="work", progress=0.5, message="going on")
    time.sleep(60)
if kind == "slow":
    for step in range(40 if is_slow else 2):
        time.sleep(0.1)
        tell(stage="work", progress=step / 40, message=f"step {step}")
with runs.open("a") as file:
    file.write(f"end {request['recipe']['name']} {os.getpid()}\\n")
made = Path(os.environ["MADE"])
tell(staging=made.name)
if "ISS_ARTIFACTS_URL" in os.environ:
    from isslim.store.bundles import BundleStore
    from isslim.store.settings import StoreSettings
    BundleStore(StoreSettings()).stage(made)
else:
    artifacts = Path(os.environ["ISS_HOME"]) / "artifacts"
    if not (artifacts / "bundles" / made.name / "manifest.json").exists():
        ignore = shutil.ignore_patterns("manifest.json")
        shutil.copytree(made, artifacts / "bundles" / made.name, ignore=ignore, dirs_exist_ok=True)
        (artifacts / "staged" / made.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(made / "manifest.json", artifacts / "staged" / made.name)
tell(result={"model_id": made.name})
"""


class House:
    """A home folder, its queue, and the workers started in it."""

    def __init__(self, folder: Path, backend: Backend, made: Path) -> None:
        self.backend = backend
        self.settings = backend.settings(folder / "home")
        self.child = folder / "child.py"
        self.child.write_text(CHILD)
        self.made = made
        self.runs = folder / "runs.txt"
        self.runs.touch()
        self.queue = JobQueue(self.settings)
        self.workers: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        return os.environ | self.backend.variables(self.settings.home)

    def worker(
        self,
        executor_id: str,
        python: str = sys.executable,
        inspection_seconds: float = 20,
        **variables: str,
    ) -> subprocess.Popen[bytes]:
        environment = self.environment() | variables
        environment |= {
            "ISS_EXECUTOR_ID": executor_id,
            "ISS_INSPECTION_SECONDS": str(inspection_seconds),
            "ISS_CHILD_COMMAND": f'["{python}", "{self.child}"]',
            "RUNS": str(self.runs),
            "MADE": str(self.made),
        }
        started = subprocess.Popen(
            [sys.executable, "-m", "isslim.compress.worker"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(started)
        return started

    def ask(self, name: str) -> Job:
        model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
        return self.queue.enqueue(CompressionRequest(model=model, recipe=Recipe(name=name)))

    def inspect(self, name: str) -> str:
        model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
        return self.queue.inspect(CompressionRequest(model=model, recipe=Recipe(name=name)))

    def answered(self, inspection_id: str, seconds: float = 20) -> Inspection:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            found = self.queue.inspection(inspection_id)
            if isinstance(found, Inspection):
                return found
            time.sleep(0.05)
        pytest.fail(f"still {found}")

    def until(self, job_id: str, done: Callable[[Job], bool], seconds: float = 20) -> Job:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            job = self.queue.get(job_id)
            if done(job):
                return job
            time.sleep(0.05)
        pytest.fail(f"still {self.queue.get(job_id)}")

    def ended(self, job_id: str) -> Job:
        return self.until(job_id, lambda job: job.state.ended)

    def lines(self, word: str) -> list[str]:
        return [line for line in self.runs.read_text().splitlines() if line.startswith(word)]


@pytest.fixture
def house(backend: Backend, tmp_path: Path, published: Published) -> Iterator[House]:
    bundles = published.settings.home / "artifacts" / "bundles"
    made = House(tmp_path, backend, bundles / published.bundle_id)
    yield made
    end(made.workers, made.queue)


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A zombie that init has not collected yet is dead.
    return "\nState:\tZ" not in status


def test_jobs_end_as_success_answer_budget_and_crash(house: House) -> None:
    house.worker("one")
    jobs = {name: house.ask(name).id for name in ("good", "answer", "budget", "crash")}
    good = house.ended(jobs["good"])
    assert (good.state, good.model_id, good.progress) == (
        JobState.SUCCEEDED,
        house.made.name,
        1.0,
    ), good.problem
    answer = house.ended(jobs["answer"])
    assert answer.state is JobState.FAILED
    assert answer.problem is not None
    assert (answer.problem.kind, answer.problem.issues) == ("bad-weights", ["i"])
    assert house.ended(jobs["budget"]).state is JobState.BUDGET_NOT_MET
    crash = house.ended(jobs["crash"])
    assert crash.problem is not None
    assert crash.problem.kind == "crashed"
    assert "status 7" in crash.problem.detail
    assert "the reason" in crash.problem.issues
    assert list(house.settings.work.iterdir()) == []
    # The same request is the same job; a failed one runs anew under the same id.
    assert house.ask("good").state is JobState.SUCCEEDED
    assert house.ask("crash").id == jobs["crash"]
    house.ended(jobs["crash"])
    house.until(jobs["crash"], lambda job: len(house.lines("start crash")) == 2)
    assert len(house.lines("start good")) == 1


def test_inspections_do_not_wait_for_jobs_and_always_have_an_answer(house: House) -> None:
    house.worker("one", inspection_seconds=1.5)
    job = house.ask("slow")
    house.until(job.id, lambda job: job.stage == "work")
    asked = {name: house.inspect(name) for name in ("good", "unread", "crash", "stuck")}
    good = house.answered(asked["good"])
    assert (good.understood, good.layout) == (True, "two layers")
    kinds = {"unread": "out-of-memory", "crash": "crashed", "stuck": "inspection-too-long"}
    for name, kind in kinds.items():
        found = house.answered(asked[name])
        assert not found.understood
        assert found.problem is not None
        assert found.problem.kind == kind
    assert house.queue.get(job.id).state is JobState.RUNNING
    pids = [int(line.split()[-1]) for line in house.lines("start stuck")]
    assert [pid for pid in pids if alive(pid)] == []
    assert [path.name for path in house.settings.work.iterdir()] == [f"{job.id}-1"]
    # The same request again is inspected anew, under the same id.
    assert house.inspect("good") == asked["good"]
    assert house.answered(asked["good"]).understood
    assert len(house.lines("start good")) == 2


@pytest.mark.slow
def test_inspection_of_a_killed_worker_is_taken_up_by_a_peer(house: House) -> None:
    first = house.worker("one")
    asked = house.inspect("slow")
    limit = time.monotonic() + 20
    while not house.lines("start slow") and time.monotonic() < limit:
        time.sleep(0.05)
    assert house.inspect("slow") == asked  # joins the one that is under way
    house.worker("two")
    first.send_signal(signal.SIGKILL)
    assert house.answered(asked).understood
    assert len(house.lines("start slow")) == 2
    with pytest.raises(NotFound):
        house.queue.inspection("nope")


def test_inspection_without_a_worker_waits(house: House) -> None:
    locks = locks_of(house.settings)
    assert not locks.held()
    asked = house.inspect("good")
    found = house.queue.inspection(asked)
    assert isinstance(found, PendingInspection)
    assert (found.id, found.state) == (asked, "queued")
    house.worker("one")
    assert house.answered(asked).understood
    assert locks.held()


@pytest.mark.slow
def test_child_that_cannot_be_started_ends_the_job_and_is_told(house: House) -> None:
    house.worker("one", python="/nonexistent/python")
    job = house.ended(house.ask("good").id)
    assert job.state is JobState.FAILED
    assert job.problem is not None
    assert job.problem.kind == "worker-fault"
    assert "/nonexistent/python" in job.problem.detail
    assert list(house.settings.work.iterdir()) == []


@pytest.mark.slow
def test_each_limit_of_a_job_is_set_by_the_operator(house: House) -> None:
    house.worker(
        "one", ISS_STAGE_SECONDS="2", ISS_STILL_SECONDS="1", ISS_JOB_MEMORY_BYTES=str(150 << 20)
    )
    jobs = {name: house.ask(name).id for name in ("long", "still", "greedy", "good")}
    kinds = {"long": "stage-too-long", "still": "no-progress", "greedy": "out-of-memory"}
    for name, kind in kinds.items():
        job = house.ended(jobs[name])
        assert job.problem is not None
        assert (job.state, job.problem.kind, job.attempts) == (JobState.FAILED, kind, 1)
        pids = [int(line.split()[-1]) for line in house.lines(f"start {name}")]
        assert len(pids) == 2
        assert not any(map(alive, pids))
    assert house.ended(jobs["good"]).state is JobState.SUCCEEDED
    assert list(house.settings.work.iterdir()) == []


@pytest.mark.slow
def test_request_whose_model_was_deleted_makes_it_anew(house: House) -> None:
    house.worker("one")
    job = house.ended(house.ask("good").id)
    house.queue.forget_model(house.made.name)
    assert house.queue.get(job.id).model_id is None
    assert house.ask("good").id == job.id
    house.until(job.id, lambda job: job.model_id == house.made.name)
    assert len(house.lines("start good")) == 2


@pytest.mark.slow
def test_request_whose_model_was_removed_or_damaged_on_disk_makes_it_anew(house: House) -> None:
    house.worker("one")
    job = house.ended(house.ask("good").id)
    assert house.ask("good").state is JobState.SUCCEEDED
    artifacts, bundles = Artifacts(house.settings), BundleStore(house.settings)
    if bundles.is_remote:  # some servers go on listing a folder whose files are gone
        bundles.delete(house.made.name)
    else:
        artifacts.delete(artifacts.names(f"bundles/{house.made.name}"))
    limit = time.monotonic() + 20 * LISTING_SECONDS
    while house.ask("good").state is not JobState.QUEUED:  # remote bundles are listed now and then
        assert time.monotonic() < limit
        time.sleep(LISTING_SECONDS)
    assert house.ended(job.id).model_id == house.made.name
    artifacts.delete([f"bundles/{house.made.name}/README.md"])
    shutil.rmtree(house.settings.cache, ignore_errors=True)  # what was verified before is used
    assert house.ask("good").id == job.id
    house.until(job.id, lambda job: job.model_id == house.made.name)
    assert len(house.lines("start good")) == 3


def test_cancel_kills_the_child_within_a_second_and_leaves_nothing(house: House) -> None:
    house.worker("one")
    running, queued = house.ask("slow-a"), house.ask("slow-b")
    house.until(running.id, lambda job: job.stage == "work")
    pid = int(house.lines("start slow-a")[0].split()[-1])
    assert house.queue.cancel(queued.id).state is JobState.CANCELLED
    assert house.queue.cancel(running.id).state is JobState.CANCELLED
    limit = time.monotonic() + 2.5
    while alive(pid) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not alive(pid)
    after = house.ask("good")
    assert house.ended(after.id).state is JobState.SUCCEEDED
    assert house.queue.get(running.id).state is JobState.CANCELLED
    assert house.lines("start slow-b") == []
    assert list(house.settings.work.iterdir()) == []
    assert house.queue.cancel(after.id).state is JobState.SUCCEEDED  # an ended job stays as it is


def test_killed_workers_job_is_taken_up_by_a_peer_once(house: House) -> None:
    first = house.worker("one")
    job = house.ask("slow")
    house.until(job.id, lambda job: job.stage == "work")
    second = house.worker("two")
    pid = int(house.lines("start slow")[0].split()[-1])
    first.send_signal(signal.SIGKILL)
    done = house.ended(job.id)
    assert done.state is JobState.SUCCEEDED
    assert done.attempts == 2
    assert not alive(pid)
    assert len(house.lines("start")) == 2
    assert len(house.lines("end")) == 1
    assert second.poll() is None


def test_child_that_is_killed_is_started_again(house: House) -> None:
    house.worker("one")
    job = house.ask("slow")
    house.until(job.id, lambda job: job.stage == "work")
    os.kill(int(house.lines("start slow")[0].split()[-1]), signal.SIGKILL)
    done = house.ended(job.id)
    assert (done.state, done.attempts) == (JobState.SUCCEEDED, 2)
    assert len(house.lines("end")) == 1


@pytest.mark.slow
def test_stranded_work_of_an_unknown_job_does_not_keep_others_from_being_taken_up(
    house: House,
) -> None:
    unknown, known = house.ask("slow-a"), house.ask("slow-b")
    dead = [house.worker("one")]
    house.until(unknown.id, lambda job: job.stage == "work")
    dead.append(house.worker("two"))
    house.until(known.id, lambda job: job.stage == "work")
    for worker in dead:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    with house.queue.records.engine.begin() as connection:
        connection.execute(sa.text("delete from iss_jobs where id = :id"), {"id": unknown.id})
    house.worker("three")  # looks for work of `one` before that of `two`
    assert house.ended(known.id).state is JobState.SUCCEEDED
    assert len(house.lines("start slow-a")) == 1


@pytest.mark.slow
def test_restarted_worker_takes_up_its_own_job(house: House) -> None:
    first = house.worker("one")
    job = house.ask("slow")
    house.until(job.id, lambda job: job.stage == "work")
    first.send_signal(signal.SIGKILL)
    first.wait()
    house.worker("one")
    done = house.ended(job.id)
    assert (done.state, done.attempts) == (JobState.SUCCEEDED, 2)
    assert len(house.lines("end")) == 1


def test_id_that_no_job_can_have_is_not_found(house: House) -> None:
    for wrong in ("nope", "a\0b", "\ufffd", "x" * 5000):
        for ask in (
            house.queue.get,
            house.queue.cancel,
            SweepStore(house.queue, BundleStore(house.settings)).get,
        ):
            with pytest.raises(NotFound):
                ask(wrong)


@pytest.mark.slow
def test_second_worker_of_the_same_id_refuses_to_start(house: House) -> None:
    house.worker("one")
    house.ended(house.ask("good").id)
    assert house.worker("one").wait(timeout=20) == ID_IN_USE


@pytest.mark.slow
def test_job_cancelled_while_its_worker_is_dead_stays_cancelled(house: House) -> None:
    first = house.worker("one")
    job = house.ask("slow")
    house.until(job.id, lambda job: job.stage == "work")
    first.send_signal(signal.SIGKILL)
    first.wait()
    house.queue.cancel(job.id)
    house.worker("two")
    assert house.ended(house.ask("good").id).state is JobState.SUCCEEDED
    assert house.queue.get(job.id).state is JobState.CANCELLED
    assert len(house.lines("start slow")) == 1
    assert list(house.settings.work.iterdir()) == []


@pytest.mark.slow
def test_worker_that_starts_before_its_storage_is_ready_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    variables = {
        "ISS_HOME": str(tmp_path),
        "ISS_ARTIFACTS_URL": "s3://isslim/x",
        "ISS_STORAGE_SECONDS": "1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "isslim",
        "AWS_SECRET_ACCESS_KEY": "isslim",
    }
    log = tmp_path / "log"
    with log.open("wb") as written:
        worker = subprocess.Popen(
            [sys.executable, "-m", "isslim.compress.worker"],
            env=os.environ | variables,
            stderr=written,
        )
        limit = time.monotonic() + 60
        while " is ready" not in log.read_text() and time.monotonic() < limit:
            assert worker.poll() is None, log.read_text()
            time.sleep(0.1)
        worker.terminate()
        assert worker.wait(20) == 0
    said = log.read_text()
    assert "the storage of uploads and models cannot be read: it refuses connections" in said
    assert "Traceback" not in said


def health(house: House, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "isslim.compress.worker.health"]
    return subprocess.run(
        command,
        env=house.environment() | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_health_tells_a_living_worker_from_a_dead_one_whatever_its_slot(house: House) -> None:
    assert health(house).returncode == 1
    first, second = (house.worker("") for _ in range(2))
    for name in ("slow-a", "slow-b"):  # both have taken an id once both have a job
        job = house.ask(name)
        house.until(job.id, lambda job: job.stage == "work")
    assert health(house).returncode == 0
    assert health(house, ISS_EXECUTOR_ID="named").returncode == 1
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert health(house).returncode == 0  # the one in the other slot
    second.send_signal(signal.SIGKILL)
    second.wait()
    dead = health(house)
    assert dead.returncode == 1
    assert "no worker" in dead.stderr


def test_question_for_health_makes_no_folder(tmp_path: Path) -> None:
    environment = {name: each for name, each in os.environ.items() if name != "ISS_HOME"}
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "isslim.compress.worker.health"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (asked.returncode, "no worker" in asked.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_lock_that_cannot_be_looked_at_is_no_sign_of_life(
    tmp_path: Path, published: Published
) -> None:
    house = House(tmp_path, Backend(), published.settings.home)
    held = FileLocks(house.settings.locks).acquire("named")
    assert held is not None
    assert health(house, ISS_EXECUTOR_ID="named").returncode == 0
    house.settings.locks.rename(tmp_path / "moved")
    house.settings.locks.write_text("no folder")
    unseen = health(house, ISS_EXECUTOR_ID="named")
    assert unseen.returncode == 1
    assert "cannot be read" in unseen.stderr
    gone = health(house, ISS_DATABASE_URL=f"postgresql://iss@127.0.0.1:{free_port()}/none")
    assert gone.returncode == 1
    assert "cannot be read" in gone.stderr
    held.close()
    house.queue.close()


def test_worker_never_imports_torch() -> None:
    code = "import sys, isslim.compress.worker.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
