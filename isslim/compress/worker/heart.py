"""A worker's beats: as long as they are heard, its jobs are its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from isslim.store.errors import Unavailable
from isslim.store.locks import LEASE_SECONDS, Held, Locks

BEAT_SECONDS = 0.25
MARGIN_SECONDS = 2.0
"""By which a worker, which is not heard, ends its child before others take its jobs up."""
_LOG = logging.getLogger("worker.heart")


class Heart:
    """Beats in a thread of its own, and knows for how long its worker may go on.

    A lease that was taken away is replaced by a new one, with another token: the jobs that were
    begun under the old one are others' now.

    Args:
        locks: of all workers.
        executor_id: of this one.
        held: its lease.
        clock: of this process, in seconds.
    """

    def __init__(
        self,
        locks: Locks,
        executor_id: str,
        held: Held,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._locks, self._id, self._held, self._clock = locks, executor_id, held, clock
        self._token: str = held.token
        self._until = clock() + LEASE_SECONDS - MARGIN_SECONDS
        self._lasts, self._said = True, ""
        self._stopped = threading.Event()

    @property
    def token(self) -> str:
        """Of the present lease."""
        return self._token

    def remaining(self, token: str) -> float:
        """Seconds for which what was begun under a lease may go on; not positive: it must end.

        Args:
            token: of the lease.
        """
        return self._until - self._clock() if token == self._token and self._lasts else 0.0

    def start(self) -> None:
        """Beats from now on, until `stop` or the end of the process."""
        threading.Thread(target=self._go_on, daemon=True).start()

    def stop(self) -> None:
        """Ends the beats, and gives the lease back."""
        self._stopped.set()
        self._held.close()

    def beat(self) -> None:
        """Beats once; what was begun under a lease that is lost must end."""
        began = self._clock()
        try:
            self._lasts = self._held.beat() if self._lasts else self._renewed()
        except (Unavailable, OSError) as fault:
            reason = " ".join(str(getattr(fault, "reason", fault)).split())
            self._say(logging.WARNING, "this worker is not heard", f": {reason}")
            return
        if self._lasts:
            self._until, self._said = began + LEASE_SECONDS - MARGIN_SECONDS, ""
        else:
            self._say(logging.ERROR, "this worker was taken for dead: its jobs go to others")

    def _say(self, level: int, state: str, why: str = "") -> None:
        """Logs a state once, and not with each beat of an outage."""
        if state != self._said:
            _LOG.log(level, "%s%s", state, why)
        self._said = state

    def _renewed(self) -> bool:
        """Takes a new lease in place of one that was taken away; False while another has it."""
        self._held.close()
        held = self._locks.acquire(self._id)
        if held is None:
            return False
        self._held, self._token = held, held.token
        return True

    def _go_on(self) -> None:
        while not self._stopped.is_set():
            self._held.wait(BEAT_SECONDS)
            if self._stopped.is_set():
                return
            try:
                self.beat()
            except Exception:
                _LOG.exception("a beat failed")  # the next one is another try
