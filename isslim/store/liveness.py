"""Which workers are dead, and what becomes of their jobs.

A worker is dead when it has lost its lock and is silent, or when it has been silent for as long as
a lease lasts; one of the same machine at once when its process has ended. How long that is, each
process measures by its own clock and by what it sees: no clock of another host, and no jump of one,
has a say. A worker ends its child before its lease does (`isslim.compress.worker.heart`). Whoever
finds a dead one takes its lease away first, by a write that fails where the worker has beaten
since, and hands its jobs back to the queue.

DBOS itself leaves a dead executor's jobs alone, and starts them twice when an id is used twice:
both are what the lease is for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isslim.store.errors import Unavailable
from isslim.store.locks import LEASE_SECONDS, FileLocks, Locks, Seen
from isslim.store.postgres_locks import PostgresLocks
from isslim.store.processes import has_ended
from isslim.store.settings import StoreSettings
from isslim.types.names import INSPECTION_QUEUE, QUEUE

# It takes a second to import, and the health check looks at a lock every few seconds.
if TYPE_CHECKING:
    from dbos import DBOSClient

LOOK_SECONDS = 0.3
"""Between two looks for dead workers: how soon their jobs go on."""
SUSPICION_SECONDS = 0.05
"""The same while a worker has lost its lock, but its silence is not long enough yet."""
_LOG = logging.getLogger("worker.liveness")


def locks_of(settings: StoreSettings) -> Locks:
    """The kind of lease that matches the database."""
    if settings.database.startswith("sqlite"):
        return FileLocks(settings.locks)
    return PostgresLocks(settings.database)


@dataclass(frozen=True)
class _Sight:
    """What was seen of a worker, for how long it has been the same."""

    seen: Seen
    silent_seconds: float
    since: float


class Watch:
    """Looks at the workers' leases, and remembers what it saw.

    Args:
        locks: the leases.
        clock: of this process, in seconds.
    """

    def __init__(self, locks: Locks, clock: Callable[[], float] = time.monotonic) -> None:
        self._locks, self._clock = locks, clock
        self._sights: dict[str, _Sight] | None = None

    def look(self) -> None:
        """Looks at all leases.

        Raises:
            Unavailable: when they cannot be seen; what was seen before stays.
        """
        found, moment = self._locks.seen(), self._clock()
        before, sights = self._sights or {}, {}
        for executor_id, seen in found.items():
            last = before.get(executor_id)
            same = last is not None and (last.seen.token, last.seen.beats) == (
                seen.token,
                seen.beats,
            )
            since = last.since if last is not None and same else moment
            sights[executor_id] = _Sight(seen, moment - since, since)
        self._sights = sights

    def is_dead(self, token: str) -> bool:
        """Whether the worker that had a token is: it holds no lease, or cannot any more.

        Raises:
            Unavailable: when that cannot be seen.
        """
        if self._sights is None:
            self.look()
        holder = next(
            (each for each in (self._sights or {}).values() if each.seen.token == token), None
        )
        if holder is None or self._is_over(holder):
            return True
        # Who brought its job to the queue may know more by now than this process saw last. Its
        # silence is no argument here: this process itself may have been stopped since.
        now = next((each for each in self._locks.seen().values() if each.token == token), None)
        return now is None or self._is_over(_Sight(now, 0.0, self._clock()))

    def bury(self, executor_id: str) -> bool:
        """Takes the lease of an executor id away, if its worker is dead.

        Args:
            executor_id: whose.

        Returns:
            Whether nobody is left who works under that id.
        """
        sight = (self._sights or {}).get(executor_id)
        if sight is None:  # of an earlier release, which has a lock and no lease, or gone
            return not self._locks.is_held(executor_id)
        return self._is_over(sight) and self._locks.bury(executor_id, sight.seen)

    @property
    def suspects(self) -> bool:
        """Whether a worker has lost its lock, and may be dead in a moment."""
        return any(
            _has_lost_its_lock(sight) and not self._is_over(sight)
            for sight in (self._sights or {}).values()
        )

    def _is_over(self, sight: _Sight) -> bool:
        if sight.silent_seconds >= LEASE_SECONDS or has_ended(sight.seen.token):
            return True
        return _has_lost_its_lock(sight) and sight.silent_seconds >= self._locks.quiet_seconds


def _has_lost_its_lock(sight: _Sight) -> bool:
    """Whether a lock that is free says that its worker has ended; not where that is known."""
    is_free = not sight.seen.locked and sight.seen.lasting
    return is_free and has_ended(sight.seen.token) is None


def recover_dead_peers(
    client: DBOSClient,
    watch: Watch,
    own_id: str,
    stop: threading.Event,
    may_resume: Callable[[str], bool],
    every_seconds: float = LOOK_SECONDS,
) -> None:
    """Until `stop`: hands jobs of dead executors back to the queue.

    Args:
        client: of the shared database.
        watch: sees who is dead.
        own_id: this worker's id, left alone.
        stop: ends the loop.
        may_resume: whether a workflow id stands for a job that is still wanted; resuming would
            revive a cancelled one.
        every_seconds: interval of the checks.
    """
    pause, is_answered = every_seconds, True
    while not stop.wait(pause):
        pause = every_seconds
        try:
            watch.look()
            if watch.suspects:
                pause = min(SUSPICION_SECONDS, every_seconds)
            _look(client, watch, own_id, may_resume)
            is_answered = True
        except Unavailable as fault:
            if is_answered:  # an outage is one line, and not one for each look
                _LOG.warning(
                    "dead workers are not looked for while the database does not answer: %s",
                    fault.reason,
                )
            is_answered = False
        except Exception:
            # Whatever failed (the database for a moment, a deleted job), the loop has to go on:
            # without it, the jobs of every worker that dies from now on would be stranded.
            _LOG.exception("looking for jobs of dead workers failed")


_QUEUES = [QUEUE, INSPECTION_QUEUE]


def _look(client: DBOSClient, watch: Watch, own_id: str, may_resume: Callable[[str], bool]) -> None:
    pending = client.list_workflows(
        status="PENDING", queue_name=_QUEUES, load_input=False, load_output=False
    )
    for executor_id in sorted(
        {flow.executor_id for flow in pending if flow.executor_id} - {own_id}
    ):
        if not watch.bury(executor_id):
            continue
        stranded = client.list_workflows(
            status="PENDING",
            executor_id=executor_id,
            queue_name=_QUEUES,
            load_input=False,
            load_output=False,
        )
        for flow in stranded:
            if may_resume(flow.workflow_id):
                client.resume_workflow(flow.workflow_id, queue_name=flow.queue_name)
            else:
                client.cancel_workflow(flow.workflow_id)
