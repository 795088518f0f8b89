"""Jobs through interruptions of their database and workers: does any run twice?

    python -m tests.compress.worker.interruptions --jobs 20 --workers 2 --stopped 30
    python -m tests.compress.worker.interruptions --cancels 100 --seconds 0.4 --backend sqlite

The second one cancels each of so many jobs at a random moment: is there a model where there should
be none, or none where there should be one?

Workers and a Postgres server (or SQLite) are real; the children only beat, and publish.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.cluster.postgres import Postgres
from isslim.store.errors import Unavailable
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from isslim.types.recipe import Recipe

CHILD = """
import json, os, secrets, sys, threading, time
from pathlib import Path

folder = Path(sys.argv[1])
name = json.loads((folder / "request.json").read_text())["recipe"]["name"]
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()

def tell(**line):
    print(json.dumps(line), flush=True)

def beat():
    with Path(os.environ["BEATS"]).open("a") as file:
        file.write(f"{name} {os.getpid()} {time.monotonic():.3f}\\n")

step, end = 0, time.monotonic() + float(os.environ["SECONDS"])
while time.monotonic() < end:
    beat()
    tell(stage="work", progress=min(1.0, step / 1000), message=f"step {step}")
    step += 1
    time.sleep(0.05)
model, artifacts = secrets.token_hex(8), Path(os.environ["ISS_HOME"]) / "artifacts"
tell(staging=model)
for place, file in ((f"bundles/{model}", "graph.onnx"), (f"staged/{model}", "manifest.json")):
    (artifacts / place).mkdir(parents=True)
    (artifacts / place / file).write_text(name)
beat()
tell(result={"model_id": model})
"""


@dataclass
class Found:
    """What happened to a number of jobs.

    Attributes:
        jobs: how many there were.
        states: how many ended in which state.
        doubled: of how many two children ran at a time.
        bundles: how many bundles there are.
        orphaned: bundles that no job names.
        mistaken: jobs that have another number of bundles than one, where they succeeded, or than
            none.
        starts: how often a child was started.
    """

    jobs: int
    states: dict[str, int] = field(default_factory=dict)
    doubled: int = 0
    bundles: int = 0
    orphaned: int = 0
    mistaken: int = 0
    starts: int = 0


class Scene:
    """A home with jobs, and workers at them.

    Args:
        folder: of everything.
        database_url: of Postgres; None: SQLite.
        seconds: that each child works.
    """

    def __init__(self, folder: Path, database_url: str | None, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.settings = StoreSettings(home=folder / "home", database_url=database_url)
        self.queue = JobQueue(self.settings)
        (folder / "child.py").write_text(CHILD)
        self.beats = folder / "beats"
        self.beats.touch()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.jobs: list[str] = []

    def environment(self) -> dict[str, str]:
        given = {
            "ISS_HOME": str(self.settings.home),
            "ISS_CHILD_COMMAND": json.dumps([sys.executable, "-S", str(self.folder / "child.py")]),
            "BEATS": str(self.beats),
            "SECONDS": str(self.seconds),
        }
        if self.settings.database_url is not None:
            given["ISS_DATABASE_URL"] = self.settings.database_url
        return os.environ | given

    def start(self, count: int = 1) -> None:
        with (self.folder / "workers.log").open("a") as log:
            for _ in range(count):
                self.workers.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "isslim.compress.worker"],
                        env=self.environment(),
                        stdout=log,
                        stderr=log,
                    )
                )

    def ask(self, count: int) -> None:
        model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
        for number in range(len(self.jobs), len(self.jobs) + count):
            recipe = Recipe(name=f"job-{number}")
            job = self.queue.enqueue(CompressionRequest(model=model, recipe=recipe))
            self.jobs.append(job.id)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.beats.read_text().splitlines()]

    def until(self, done: Callable[[], bool], seconds: float) -> None:
        limit = time.monotonic() + seconds
        while not _so(done):
            assert time.monotonic() < limit, (self.folder / "workers.log").read_text()[-4000:]
            time.sleep(0.1)

    def until_running(self, count: int) -> None:
        self.until(lambda: len({(name, pid) for name, pid, _ in self.lines()}) >= count, 60)

    def until_ended(self, seconds: float) -> None:
        self.until(lambda: all(self.queue.get(job).state.ended for job in self.jobs), seconds)

    def found(self) -> Found:
        """Counts, once the last child is silent."""
        time.sleep(0.3)
        jobs = [self.queue.get(job) for job in self.jobs]
        spans: dict[str, dict[str, list[float]]] = {}
        for name, pid, moment in self.lines():
            spans.setdefault(name, {}).setdefault(pid, []).append(float(moment))
        bundles = {
            path.parent.name: path.read_text()
            for path in (self.settings.home / "artifacts" / "bundles").glob("*/manifest.json")
        }
        made = Counter(bundles.values())
        return Found(
            jobs=len(jobs),
            states=dict(Counter(str(job.state) for job in jobs)),
            doubled=sum(_overlap(list(each.values())) for each in spans.values()),
            bundles=len(bundles),
            orphaned=len(bundles.keys() - {job.model_id for job in jobs}),
            mistaken=sum(made[job.name] != (job.state is JobState.SUCCEEDED) for job in jobs),
            starts=sum(map(len, spans.values())),
        )

    def worker_of(self, pid: int) -> int:
        """The worker above a child; a guard is in between."""
        for _ in range(2):
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return pid

    def are_ready(self, count: int) -> bool:
        """Whether so many workers have said so."""
        return (self.folder / "workers.log").read_text().count("is ready") >= count

    def close(self) -> None:
        end(self.workers, self.queue)


def end(workers: Iterable[subprocess.Popen[bytes]], queue: JobQueue) -> None:
    """Ends workers, also those that are stopped, and gives the queue's connections back."""
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()
    queue.close()


def _so(done: Callable[[], bool]) -> bool:
    """Whether something is so; not while nobody can tell."""
    try:
        return done()
    except Unavailable:
        return False


def _overlap(spans: list[list[float]]) -> bool:
    """Whether two children beat at a time; one that was stopped in between did not."""
    ordered = sorted((moment, number) for number, span in enumerate(spans) for moment in span)
    changes = [b for a, b in itertools.pairwise(ordered) if a[1] != b[1]]
    return len(changes) > len(spans) - 1


@contextmanager
def scene(folder: Path, database_url: str | None, seconds: float) -> Iterator[Scene]:
    """A scene that is cleaned up.

    Args:
        folder: of everything.
        database_url: of Postgres; None: SQLite.
        seconds: that each child works.
    """
    made = Scene(folder, database_url, seconds)
    try:
        yield made
    finally:
        made.close()


def restart(postgres: Postgres, seconds: float = 2.0) -> None:
    """Stops a server, and starts it again."""
    postgres.stop()
    time.sleep(seconds)
    postgres.start()


def cut(url: str) -> None:
    """Ends every connection to a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )


def stop(worker: subprocess.Popen[bytes], seconds: float) -> None:
    """Stops a worker for a while, as a debugger or a full host would."""
    worker.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    worker.send_signal(signal.SIGCONT)


def interrupted(made: Scene, postgres: Postgres | None, jobs: int, stopped: float) -> Found:
    """Jobs through a restart of the database, its connections cut, and a worker that stands still.

    Args:
        made: with its workers.
        postgres: the server; None: SQLite, which only knows the last of these.
        jobs: how many.
        stopped: seconds for which a worker stands still.
    """
    made.ask(jobs)
    made.until_running(2)
    if postgres is not None and made.settings.database_url is not None:
        restart(postgres)
        made.until_running(3)
        cut(made.settings.database_url)
        made.until_running(4)
        cut(made.settings.database_url)
    still = threading.Thread(target=stop, args=(made.workers[0], stopped))
    still.start()
    made.until_ended(60 + stopped + jobs * (made.seconds + 2))
    still.join()
    return made.found()


def cancelled_at_random(made: Scene, count: int) -> Found:
    """Cancels jobs at any moment of their lives, most of them at publication.

    Args:
        made: with its workers.
        count: how many jobs, one after the other.
    """
    chance = random.Random(1)
    made.ask(count)
    for job in made.jobs[-count:]:
        made.until(lambda: made.queue.get(job).state is not JobState.QUEUED, 60)  # noqa: B023
        time.sleep(made.seconds * chance.choice((chance.random(), 0.95 + chance.random() * 0.6)))
        made.queue.cancel(job)
    made.until_ended(60)
    made.until(lambda: not list(made.settings.work.iterdir()), 5)
    return made.found()


def main() -> None:
    """Prints what was found, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--stopped", type=float, default=30.0)
    parser.add_argument("--cancels", type=int)
    parser.add_argument("--backend", choices=("sqlite", "postgres"), default="postgres")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(Postgres()) if given.backend == "postgres" else None
        url = None if postgres is None else postgres.new_database()
        made = stack.enter_context(scene(folder, url, given.seconds))
        made.start(given.workers)
        if given.cancels is None:
            found = interrupted(made, postgres, given.jobs, given.stopped)
        else:
            found = cancelled_at_random(made, given.cancels)
    sys.stdout.write(json.dumps(vars(found)) + "\n")
    expected = {"succeeded"} if given.cancels is None else {"succeeded", "cancelled"}
    is_bad = found.doubled or found.orphaned or found.mistaken or found.states.keys() - expected
    sys.exit(1 if is_bad else 0)


if __name__ == "__main__":
    main()
