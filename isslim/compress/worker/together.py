"""A job in several processes, of one machine or of several (`torchrun`).

    python -m torch.distributed.run ... -m isslim.compress.worker.together <folder>    as `child`
    python -m isslim.compress.worker.together                                          a helper

A worker whose `ISS_TORCHRUN` is set starts jobs of the mode `learn` in the first way: the process
of rank 0 is its child (`child.py`), the others train along. The second one does so on another
machine, with an `ISS_TORCHRUN` that names the same meeting point: job after job, until it is
stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from isslim.settings.environment import read_or_exit
from isslim.settings.worker import WorkerSettings

LOOK_SECONDS, PAUSE_SECONDS = 0.5, 1.0
"""How often a process looks whether its launcher lives; a helper's pause between jobs."""
NOT_SET = 2


def launcher(settings: WorkerSettings) -> list[str]:
    """The command that starts the processes of a job; the job's folder is appended."""
    run = [sys.executable, "-P", "-m", "torch.distributed.run", *settings.torchrun]
    return [*run, "-m", "isslim.compress.worker.together"]


def main(arguments: list[str]) -> int:
    """Takes part in a job, or helps with one after another; returns the exit status.

    Args:
        arguments: the job's folder; none of a helper.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _take_part(Path(arguments[0]) if arguments else None)
    settings = read_or_exit(WorkerSettings, "isslim helper")
    if not settings.torchrun:
        sys.stderr.write(
            "isslim helper: ISS_TORCHRUN is not set: expected a worker's meeting point\n"
        )
        return NOT_SET
    while True:
        subprocess.run(launcher(settings), check=False)
        time.sleep(PAUSE_SECONDS)


def _take_part(folder: Path | None) -> int:
    _end_with_parent()
    # Imported here, since it loads torch for seconds, and the watchdog has to run before.
    from isslim.compress.training.along import WAIT, dismiss, follow
    from isslim.compress.training.ranks import joined
    from isslim.compress.worker import child

    with joined(WAIT) as group:
        if not group.first:
            with tempfile.TemporaryDirectory() as own:
                follow(Path(own))
            return 0
        if folder is None:
            raise ValueError("rank 0 is the worker's: give it --node-rank=0, and helpers others")
        status = child.main(folder)
        dismiss()
        return status


def _end_with_parent() -> None:
    """Ends this process when its launcher is gone, which may be killed with no time to end it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
