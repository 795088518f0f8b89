"""Locks on executor ids, of files and of a Postgres server, and jobs of workers that died."""

from __future__ import annotations

import hashlib
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from dbos import DBOSClient
from psycopg.pq import TransactionStatus

from benchmarks.cluster.postgres import Postgres
from isslim.demo.ports import free_port
from isslim.store.errors import Unavailable
from isslim.store.liveness import (
    LOOK_SECONDS,
    SUSPICION_SECONDS,
    Watch,
    locks_of,
    recover_dead_peers,
)
from isslim.store.locks import LEASE_SECONDS, MAX_WORKERS, FileLocks, Locks, Seen, executor_ids
from isslim.store.migrations import migrate
from isslim.store.postgres_locks import QUIET_SECONDS, PostgresLease, PostgresLocks
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, UploadRef
from isslim.types.names import INSPECTION_QUEUE, QUEUE
from tests.postgres import new_database
from tests.store.conftest import Telling

HOLDING = """
import sys
from pathlib import Path
from isslim.store.locks import FileLocks
held = FileLocks(Path(sys.argv[1])).acquire("w")
print(held is not None, flush=True)
sys.stdin.read()
"""


def test_ids_of_a_host_are_numbered_and_a_name_stands_alone() -> None:
    assert list(executor_ids("mine")) == ["mine"]
    host = socket.gethostname()
    assert list(executor_ids("")) == [f"{host}-{slot}" for slot in range(MAX_WORKERS)]
    assert MAX_WORKERS == 64


def test_kind_of_lock_goes_with_the_database(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path / "home")
    assert isinstance(locks_of(settings), FileLocks)
    assert not settings.locks.exists()
    other = StoreSettings(home=tmp_path / "other", database_url="postgresql://nowhere/none")
    assert isinstance(locks_of(other), PostgresLocks)
    assert not (tmp_path / "other").exists()


@pytest.fixture
def locks(tmp_path: Path) -> FileLocks:
    return FileLocks(tmp_path / "home" / "locks")


def comes_true(what: Callable[[], bool]) -> bool:
    """Whether something is so within a few seconds: a server frees a lock a moment after."""
    limit = time.monotonic() + 5
    while not what():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def held_once(locks: Locks) -> None:
    """The life of a lock, whatever its kind."""
    assert not locks.is_held("w")
    assert not locks.held()
    held = locks.acquire("w")
    assert held is not None
    for _ in range(2):  # a look changes nothing
        assert locks.is_held("w")
        assert not locks.is_held("other")
        assert locks.held()
    assert locks.acquire("w") is None
    other = locks.acquire("other")
    assert other is not None
    other.close()
    assert comes_true(lambda: not locks.is_held("other"))
    assert locks.is_held("w")
    held.close()
    assert comes_true(lambda: not locks.is_held("w"))
    assert not locks.held()
    again = locks.acquire("w")
    assert again is not None
    again.close()


def test_lock_of_a_file_is_held_once(locks: FileLocks, tmp_path: Path) -> None:
    held_once(locks)
    names = {hashlib.sha256(each.encode()).hexdigest()[:16] for each in ("w", "other")}
    assert {path.name for path in (tmp_path / "home" / "locks").iterdir()} == names


def test_kernel_frees_the_lock_of_a_killed_worker(locks: FileLocks, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "locks"
    worker = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "True\n"
    assert locks.is_held("w")
    assert locks.acquire("w") is None
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert not locks.is_held("w")


def test_look_of_a_moment_is_waited_for_and_a_worker_is_not(locks: FileLocks) -> None:
    held = locks.acquire("w")
    assert held is not None
    threading.Timer(0.05, held.close).start()
    taken = locks.acquire("w")  # tries for 0.17 s
    assert taken is not None
    began = time.monotonic()
    assert locks.acquire("w") is None
    assert 0.15 < time.monotonic() - began < 1.0
    taken.close()


def test_lock_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path / "locks")
    (tmp_path / "locks").write_text("no folder")
    for look in (locks.held, lambda: locks.is_held("w")):
        with pytest.raises(NotADirectoryError, match="locks"):
            look()


def test_a_look_at_locks_makes_no_folder(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path / "home" / "locks")
    assert not locks.held()
    assert not locks.is_held("w")
    assert list(tmp_path.iterdir()) == []


class Jobs:
    """A database with workflows as they stand after their workers began them."""

    def __init__(self, home: Path) -> None:
        settings = StoreSettings(home=home)
        self.queue = JobQueue(settings)
        self.folder = settings.locks
        self.locks = FileLocks(self.folder)
        self.client = DBOSClient(system_database_url=self.queue.records.url)

    def begun(self, digit: str, executor_id: str, *, inspection: bool = False) -> str:
        """A workflow that an executor has in flight; its id."""
        model = UploadRef(sha256=digit * 64, filename="f", size_bytes=1)
        request = CompressionRequest(model=model)
        ask = self.queue.inspect if inspection else self.queue.enqueue
        before = {each.workflow_id for each in self.client.list_workflows()}
        ask(request)
        (found,) = {each.workflow_id for each in self.client.list_workflows()} - before
        self.change(found, status="PENDING", executor_id=executor_id)
        return found

    def change(self, workflow_id: str, **values: str | None) -> None:
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        with self.queue.records.engine.begin() as connection:
            connection.execute(
                sa.text(f"update workflow_status set {assignments} where workflow_uuid = :id"),
                {"id": workflow_id, **values},
            )

    def queued(self) -> dict[str, str | None]:
        """The queue of each workflow that waits for a worker."""
        return {
            each.workflow_id: each.queue_name
            for each in self.client.list_workflows(status="ENQUEUED")
        }

    def looked_through(self, may_resume: Callable[[str], bool], looks: int = 1) -> None:
        """Lets a worker look for jobs of others so many times."""
        recover_dead_peers(
            self.client, Watch(self.locks), "own", Looks(looks), may_resume, every_seconds=0.0
        )


class Looks(threading.Event):
    """Ends a loop after so many rounds, and keeps the pauses that it asked for."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left, self.pauses = count, list[float | None]()

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        self._left -= 1
        return self._left < 0


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path / "home")
    yield made
    made.client.destroy()
    made.queue.close()


def test_jobs_of_dead_workers_go_back_to_their_queues(jobs: Jobs) -> None:
    dead, inspection = jobs.begun("0", "dead"), jobs.begun("1", "dead", inspection=True)
    other = jobs.begun("2", "zombie")  # of a name behind that of the living one
    living, own = jobs.begun("3", "living"), jobs.begun("4", "own")
    held = jobs.locks.acquire("living")
    assert held is not None
    jobs.looked_through(lambda workflow_id: True)
    assert jobs.queued() == {dead: QUEUE, inspection: INSPECTION_QUEUE, other: QUEUE}
    held.close()
    jobs.looked_through(lambda workflow_id: True)
    assert jobs.queued().keys() == {dead, inspection, other, living}
    assert own not in jobs.queued()


def test_job_that_nobody_wants_any_more_is_left(jobs: Jobs) -> None:
    wanted, cancelled = jobs.begun("0", "dead"), jobs.begun("1", "dead")
    jobs.looked_through(lambda workflow_id: workflow_id != cancelled)
    assert jobs.queued().keys() == {wanted}


def test_job_of_a_dead_worker_that_has_ended_is_not_asked_for(jobs: Jobs) -> None:
    wanted, ended = jobs.begun("0", "dead"), jobs.begun("1", "dead")
    jobs.change(ended, status="CANCELLED")
    asked = list[str]()

    def may_resume(workflow_id: str) -> bool:
        asked.append(workflow_id)
        return True

    jobs.looked_through(may_resume)
    assert asked == [wanted]
    assert jobs.queued().keys() == {wanted}


def test_job_of_another_program_or_without_an_executor_is_left(jobs: Jobs) -> None:
    jobs.change(jobs.begun("0", "dead"), queue_name="of another program")
    ours = jobs.begun("1", "dead")
    jobs.change(jobs.begun("2", "x"), executor_id=None)
    jobs.looked_through(lambda workflow_id: True)
    assert jobs.queued().keys() == {ours}


class Shown:
    """Leases as a test shows them."""

    quiet_seconds = 1.0

    def __init__(self) -> None:
        self.shown: dict[str, Seen] = {}
        self.buried: list[tuple[str, Seen]] = []
        self.held: set[str] = set()

    def seen(self) -> dict[str, Seen]:
        return dict(self.shown)

    def is_held(self, executor_id: str) -> bool:
        return executor_id in self.held

    def bury(self, executor_id: str, seen: Seen) -> bool:
        self.buried.append((executor_id, seen))
        return True


class Watched:
    """A watch over shown leases, with a clock that a test sets."""

    def __init__(self) -> None:
        self.locks, self.now = Shown(), 100.0
        self.watch = Watch(self.locks, lambda: self.now)  # type: ignore[arg-type]

    def after(self, seconds: float, **shown: Seen) -> Watch:
        self.now += seconds
        self.locks.shown = shown
        self.watch.look()
        return self.watch


def test_worker_without_its_lock_is_dead_once_it_is_silent() -> None:
    case, quiet = Watched(), Seen("t", 5, locked=False)
    case.after(0, w=Seen("t", 5, locked=True))
    for seconds in (0.6, 0.3):
        assert not case.after(seconds, w=quiet).is_dead("t")
        assert not case.watch.bury("w")
    assert case.after(0.2, w=quiet).is_dead("t")
    assert case.watch.bury("w")
    assert case.locks.buried == [("w", quiet)]


def test_worker_that_beats_lives_without_its_lock() -> None:
    case = Watched()
    for beats in range(5):
        assert not case.after(5.0, w=Seen("t", beats, locked=False)).is_dead("t")


def test_worker_that_is_silent_for_a_lease_is_dead_with_its_lock() -> None:
    case, stopped = Watched(), Seen("t", 5, locked=True)
    case.after(0, w=stopped)
    assert not case.after(LEASE_SECONDS - 0.1, w=stopped).is_dead("t")
    assert case.after(0.2, w=stopped).is_dead("t")


def test_restart_of_the_server_gives_workers_a_lease_to_be_heard_again() -> None:
    case, cut = Watched(), Seen("t", 5, locked=False, lasting=False)
    case.after(0, w=Seen("t", 5, locked=True))
    assert not case.after(LEASE_SECONDS - 0.1, w=cut).is_dead("t")
    assert case.after(0.2, w=cut).is_dead("t")


def test_process_that_was_stopped_itself_takes_no_living_one_for_dead() -> None:
    case = Watched()
    case.after(0, w=Seen("t", 5, locked=True))
    case.now += 3600
    assert not case.watch.is_dead("t")
    assert not case.after(0, w=Seen("t", 9, locked=True)).is_dead("t")


def test_worker_that_lost_its_lock_is_suspect_until_it_beats_or_is_dead() -> None:
    case = Watched()
    assert not case.watch.suspects
    assert not case.after(0, w=Seen("t", 5, locked=True)).suspects
    for seconds in (0.5, 0.4):
        assert case.after(seconds, w=Seen("t", 5, locked=False)).suspects
    assert not case.after(0.2, w=Seen("t", 5, locked=False)).suspects  # it is dead
    assert case.after(0, w=Seen("t", 6, locked=False)).suspects
    assert not case.after(0, w=Seen("t", 6, locked=True)).suspects
    assert not case.after(0, w=Seen("t", 6, locked=False, lasting=False)).suspects


def test_process_of_this_machine_is_dead_once_it_has_ended_and_not_before(
    telling: Telling,
) -> None:
    token = telling.token
    case, cut = Watched(), Seen(token, 5, locked=False)
    case.after(0, w=Seen(token, 5, locked=True))
    # Its connection was cut, and it is slow to make another.
    assert not case.after(LEASE_SECONDS - 0.1, w=cut).is_dead(token)
    assert not case.watch.suspects
    telling.process.kill()
    telling.process.wait()
    assert case.watch.is_dead(token)
    assert case.after(0, w=Seen(token, 5, locked=True)).is_dead(token)  # the server is late
    assert case.watch.bury("w")


def test_lease_that_others_took_away_since_the_last_look_is_a_dead_workers() -> None:
    case = Watched()
    case.after(0, w=Seen("t", 5, locked=True))
    case.locks.shown = {"w": Seen("t", 5, locked=False)}
    assert not case.watch.is_dead("t")  # it may beat
    case.locks.shown = {"w": Seen("another", 0, locked=True)}
    assert case.watch.is_dead("t")


def test_lock_that_the_kernel_freed_since_the_last_look_is_a_dead_workers(
    locks: FileLocks,
) -> None:
    held, watch = locks.acquire("w"), Watch(locks)
    assert held is not None
    watch.look()
    assert not watch.is_dead(held.token)
    held.close()
    assert watch.is_dead(held.token)


def test_suspect_worker_is_looked_at_more_often_while_the_database_answers(jobs: Jobs) -> None:
    case, stop = Watched(), Looks(3)
    case.locks.shown = {"w": Seen("t", 5, locked=False)}
    recover_dead_peers(jobs.client, case.watch, "own", stop, lambda workflow_id: True)
    assert stop.pauses == [LOOK_SECONDS, *[SUSPICION_SECONDS] * 3]

    def fails() -> dict[str, Seen]:
        raise Unavailable("away")

    case.locks.seen, stop = fails, Looks(2)  # type: ignore[method-assign]
    recover_dead_peers(jobs.client, case.watch, "own", stop, lambda workflow_id: True)
    assert stop.pauses == [LOOK_SECONDS] * 3


def test_token_that_nobody_has_is_of_a_dead_worker() -> None:
    case = Watched()
    assert case.watch.is_dead("t")  # it looks where it has not yet
    assert case.after(0, w=Seen("new", 0, locked=True)).is_dead("t")


def test_worker_of_an_earlier_release_lives_by_its_lock_alone() -> None:
    case = Watched()
    case.locks.held = {"old"}
    case.after(60)
    assert not case.watch.bury("old")
    case.locks.held = set()
    assert case.watch.bury("old")


def test_holder_that_is_taken_for_dead_learns_it_at_its_next_beat(locks: FileLocks) -> None:
    held = locks.acquire("w")
    assert held is not None
    assert held.beat()
    assert locks.bury("w", locks.seen()["w"])
    assert not held.beat()
    held.close()
    again = locks.acquire("w")
    assert again is not None
    assert again.beat()
    assert again.token != held.token
    again.close()


def test_holder_whose_file_is_gone_learns_it(locks: FileLocks, tmp_path: Path) -> None:
    held = locks.acquire("w")
    assert held is not None
    for path in (tmp_path / "home" / "locks").iterdir():
        path.unlink()
    assert not held.beat()
    held.close()


def test_beats_are_seen(locks: FileLocks) -> None:
    held = locks.acquire("w")
    assert held is not None
    assert locks.seen() == {"w": Seen(held.token, 0, locked=True)}
    held.beat()
    assert locks.seen() == {"w": Seen(held.token, 1, locked=True)}
    held.close()
    assert locks.seen() == {"w": Seen(held.token, 1, locked=False)}


def test_look_that_fails_is_logged_and_followed_by_the_next(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    found, failures = jobs.begun("0", "dead"), [True, False]

    def may_resume(workflow_id: str) -> bool:
        if failures.pop(0):
            raise RuntimeError("the database for a moment")
        return True

    with caplog.at_level(logging.ERROR, logger="worker.liveness"):
        jobs.looked_through(may_resume, looks=2)
    assert jobs.queued().keys() == {found}
    (record,) = caplog.records
    assert record.name == "worker.liveness"
    assert record.getMessage() == "looking for jobs of dead workers failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the database for a moment"


def test_outage_of_the_database_is_one_line_however_often_it_is_asked(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [True, False, False, False, True, False, True]

    class Unheard(FileLocks):
        def seen(self) -> Mapping[str, Seen]:
            if not answers.pop(0):
                raise Unavailable("it is starting up")
            return super().seen()

    jobs.locks = Unheard(jobs.folder)
    with caplog.at_level(logging.WARNING, logger="worker.liveness"):
        jobs.looked_through(lambda workflow_id: True, looks=7)
    assert answers == []
    assert len(caplog.records) == 2  # two outages
    for record in caplog.records:
        assert record.exc_info is None
        assert record.getMessage().endswith("does not answer: it is starting up")


def test_id_of_a_worker_whose_jobs_have_ended_is_left_alone(jobs: Jobs) -> None:
    jobs.change(jobs.begun("0", "at rest"), status="SUCCESS")
    jobs.change(jobs.begun("1", "of another program"), queue_name="of another program")
    tried: list[str] = []

    class Asked(FileLocks):
        def is_held(self, executor_id: str) -> bool:
            tried.append(executor_id)
            return super().is_held(executor_id)

    jobs.locks = Asked(jobs.folder)
    jobs.looked_through(lambda workflow_id: True)
    assert tried == []


def test_worker_looks_three_times_a_second_until_it_is_stopped(jobs: Jobs) -> None:
    stop = Looks(3)
    recover_dead_peers(jobs.client, Watch(jobs.locks), "own", stop, lambda workflow_id: True)
    assert stop.pauses == [LOOK_SECONDS] * 4
    assert LOOK_SECONDS == 0.3


def test_server_that_does_not_answer_is_unavailable() -> None:
    locks = PostgresLocks(f"postgresql://iss@127.0.0.1:{free_port()}/none")
    for look in (locks.held, locks.seen, lambda: locks.is_held("w"), lambda: locks.acquire("w")):
        with pytest.raises(Unavailable) as caught:
            look()
        assert "refused" in caught.value.reason


@pytest.mark.slow
def test_server_that_says_nothing_is_unavailable_after_some_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        locks = PostgresLocks(f"postgresql://iss@127.0.0.1:{silent.getsockname()[1]}/none")
        ended = threading.Timer(12.0, silent.close)  # so that this fails instead of waiting on
        ended.start()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            locks.held()
        assert time.monotonic() - began < 10.0
        ended.cancel()


@pytest.fixture
def postgres(postgres_server: Postgres) -> str:
    return postgres_server.address


def migrated(postgres: str) -> str:
    """A new database with its tables."""
    url = new_database(postgres)
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    migrate(engine)
    engine.dispose()
    return url


@pytest.mark.slow
def test_lock_of_a_server_is_held_once(postgres: str) -> None:
    # SQLAlchemy's name of the driver in the address is none of the driver's own.
    url = migrated(postgres)
    held_once(PostgresLocks(url.replace("postgresql://", "postgresql+psycopg://")))


@pytest.mark.slow
def test_lock_of_a_server_is_of_one_database_and_of_one_kind(postgres: str) -> None:
    locks, others = PostgresLocks(migrated(postgres)), PostgresLocks(migrated(postgres))
    held = locks.acquire("w")
    assert held is not None
    assert not others.is_held("w")
    assert not others.held()
    theirs = others.acquire("w")
    assert theirs is not None
    theirs.close()
    held.close()


@pytest.mark.slow
def test_locks_that_others_take_in_the_database_are_no_workers(postgres: str) -> None:
    assert PostgresLocks(new_database(postgres)).held() == 0  # without tables yet
    url = migrated(postgres)
    locks = PostgresLocks(url)
    with psycopg.connect(url, autocommit=True) as other:  # as the queue's library does
        other.execute("select pg_advisory_lock(7)")
        assert locks.held() == 0
        held = locks.acquire("w")
        assert held is not None
        assert locks.held() == 1
        held.close()


@pytest.mark.slow
@pytest.mark.parametrize("executor_id", ["w", "host-0", "host-1", "another", "x" * 100])
def test_lock_of_a_server_is_seen_by_either_half_of_its_number(
    postgres: str, executor_id: str
) -> None:
    """Some of these ids have numbers below zero, or halves above 2^31."""
    locks = PostgresLocks(migrated(postgres))
    held = locks.acquire(executor_id)
    assert held is not None
    assert locks.is_held(executor_id)
    assert not locks.is_held(executor_id + "?")
    held.close()


@pytest.mark.slow
def test_connection_of_a_held_lock_notices_a_dead_server(postgres: str) -> None:
    locks = PostgresLocks(migrated(postgres).replace("iss@", "iss:secret@"))
    held = locks.acquire("w")
    assert isinstance(held, PostgresLease)
    connection = held._connection
    assert connection is not None
    assert connection.info.password == "secret"
    # A transaction that stays open for the life of a worker would keep the server from cleaning up.
    assert connection.info.transaction_status is TransactionStatus.IDLE
    shown = connection.info.get_parameters()
    assert {name: shown[name] for name in shown if name.startswith("keepalives")} == {
        "keepalives": "1",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
    }
    held.close()


def cut(url: str) -> None:
    """Ends every connection to a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )


@pytest.mark.slow
def test_holder_whose_connection_is_cut_has_its_lock_again_with_its_next_beat(
    postgres: str,
) -> None:
    url = migrated(postgres)
    locks = PostgresLocks(url)
    held = locks.acquire("w")
    assert held is not None
    assert held.beat()
    cut(url)
    assert comes_true(lambda: not locks.is_held("w"))
    assert locks.seen()["w"] == Seen(held.token, 1, locked=False)
    assert held.beat()
    assert locks.seen()["w"] == Seen(held.token, 2, locked=True)
    held.close()
    assert locks.seen() == {}
    locks.close()


@pytest.mark.slow
def test_holder_sees_at_once_that_its_connection_is_cut(postgres: str) -> None:
    url = migrated(postgres)
    held = PostgresLocks(url).acquire("w")
    assert held is not None
    began = time.monotonic()
    held.wait(0.3)
    assert time.monotonic() - began >= 0.3
    threading.Timer(0.1, cut, (url,)).start()
    began = time.monotonic()
    held.wait(10.0)
    assert time.monotonic() - began < QUIET_SECONDS
    assert held.beat()
    for _ in range(2):  # with the connection that was made anew, and without any
        began = time.monotonic()
        held.wait(0.2)
        assert time.monotonic() - began >= 0.2
        held.close()


@pytest.mark.slow
def test_id_of_a_living_worker_is_not_taken_while_it_has_no_connection(postgres: str) -> None:
    url = migrated(postgres)
    locks, taken = PostgresLocks(url), list[object]()
    held = locks.acquire("w")
    assert held is not None
    cut(url)
    assert comes_true(lambda: not locks.is_held("w"))
    third = threading.Thread(target=lambda: taken.append(PostgresLocks(url).acquire("w")))
    third.start()
    time.sleep(0.3)
    assert held.beat()
    third.join()
    assert taken == [None]
    assert comes_true(lambda: held.beat() and locks.seen()["w"].locked)
    locks.close()
    held.close()


@pytest.mark.slow
def test_lease_is_taken_away_only_from_a_holder_that_did_not_beat_since(postgres: str) -> None:
    locks = PostgresLocks(migrated(postgres))
    held = locks.acquire("w")
    assert held is not None
    seen = locks.seen()["w"]
    assert held.beat()
    assert not locks.bury("w", seen)
    assert locks.bury("w", locks.seen()["w"])
    assert not held.beat()
    locks.close()
    held.close()


@pytest.mark.slow
def test_id_of_a_dead_worker_is_free_after_its_silence(postgres: str) -> None:
    url = migrated(postgres)
    held = PostgresLocks(url).acquire("w")
    assert held is not None
    held._cut()  # as the kernel does for a process that is killed
    began = time.monotonic()
    again = PostgresLocks(url).acquire("w")
    assert again is not None
    assert time.monotonic() - began >= QUIET_SECONDS
    again.close()
