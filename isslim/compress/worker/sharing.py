"""Checkpoints of a running job for workers on other machines; see `isslim.store.checkpoints`."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from isslim.store.artifacts import FileStamp
from isslim.store.attempts import Attempt
from isslim.store.checkpoints import Checkpoints
from isslim.store.errors import StoreError

LAST_SECONDS = 5.0
"""How long a worker that leaves a job waits until its last checkpoints are in storage."""
SHARE = 0.1
"""Of the time, that at most is spent on putting checkpoints into storage."""
ATTEMPT = "attempt"
"""File of a job's folder with the number of the last attempt that was made in it."""
_LOG = logging.getLogger("worker.sharing")


@dataclass
class Sharing:
    """Puts the checkpoints of one attempt into remote storage, now and then.

    Attributes:
        checkpoints: of all jobs.
        folder: of the job.
        seconds: between two times, at least.
    """

    checkpoints: Checkpoints
    folder: Path
    seconds: float
    _known: dict[str, FileStamp] = field(default_factory=dict)

    def begin(self, attempt: Attempt) -> None:
        """Prepares the folder for an attempt.

        What an earlier one left there counts only where it was the last one: others have gone on
        elsewhere, and the storage has what they left.

        Args:
            attempt: that begins.
        """
        if not self.checkpoints.is_needed:
            return
        note = self.folder / ATTEMPT
        last = note.read_text() if note.exists() else ""
        if last != str(attempt.number - 1):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        note.write_text(str(attempt.number))

    async def go_on(self) -> None:
        """Puts what is new into storage, until it is cancelled."""
        pause = self.seconds
        while self.checkpoints.is_needed:
            await asyncio.sleep(pause)
            began = time.monotonic()
            await asyncio.to_thread(self._put)
            pause = max(self.seconds, (time.monotonic() - began) / SHARE)

    async def finish(self) -> None:
        """Puts what is new into storage before others go on with it, if that takes no time."""
        if self.checkpoints.is_needed:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._put), LAST_SECONDS)

    def forget(self) -> None:
        """Removes the job's checkpoints from storage: it has ended."""
        try:
            self.checkpoints.remove(self.folder.name)
        except StoreError as fault:  # the next removal of what nobody needs is another try
            _LOG.warning("the checkpoints of %s stay for now: %s", self.folder.name, fault)

    def _put(self) -> None:
        try:
            self._known = self.checkpoints.put(self.folder, self._known)
        except (StoreError, OSError) as fault:
            # No job ends because a peer would have to do more of it again.
            _LOG.warning("the checkpoints of %s are not shared: %s", self.folder.name, fault)
