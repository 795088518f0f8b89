"""A process in another environment that serves one variant, and rounds over several of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.peers.serving import BURST
from isslim.runtime.clock import MIN_ROUNDS, Comparison, Timed

ROOT = Path(__file__).parents[2]
PROGRAM = """
from benchmarks.peers.serving import serve
from benchmarks.peers.variants import open_variant
serve(open_variant)
"""


class WorkerFailed(Exception):
    """A worker answered with an error, or ended; the message is why."""


class Worker:
    """A process that serves one variant; a context manager that ends it.

    Args:
        python: the interpreter of its environment.
        log: takes what its libraries print.
    """

    def __init__(self, python: Path, log: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            _there(self._process.stdin).close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _there(self._process.stdout).close()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Sends one request of `serving` and waits for its answer.

        Raises:
            WorkerFailed: when it cannot answer, with what it said.
        """
        line = ""
        with suppress(BrokenPipeError):
            pipe = _there(self._process.stdin)
            pipe.write(json.dumps({"do": do, **request}) + "\n")
            pipe.flush()
            line = _there(self._process.stdout).readline()
        if not line:
            last = self._log.read_text().strip().splitlines()[-1:]
            raise WorkerFailed(f"it ended during '{do}': {' '.join(last)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"'{do}': {answer['error']}")
        return answer


def race(
    workers: Mapping[str, Worker], shape: tuple[int, int], vocabulary: int, seconds: float
) -> Comparison:
    """Times workers in turn, a burst of each in every round.

    Args:
        workers: ready to run, by name.
        shape: steps and batch.
        vocabulary: number of tokens.
        seconds: no round is begun after that, beyond `MIN_ROUNDS`.

    Returns:
        As `isslim.runtime.clock.interleave`, with the CPU time of the whole process.
    """
    walls: dict[str, list[list[float]]] = {name: [] for name in workers}
    least: dict[str, list[float]] = {name: [] for name in workers}
    began, rounds = time.monotonic(), 0
    while rounds < MIN_ROUNDS or time.monotonic() - began < seconds:
        for name, worker in workers.items():
            found = worker.ask("time", shape=shape, vocabulary=vocabulary)
            walls[name].append(found["wall"])
            least[name].append(found["cpu"])
        rounds += 1
    timed = {
        name: Timed(np.array(walls[name]).reshape(rounds, BURST), np.array(least[name]))
        for name in workers
    }
    return Comparison(timed, any(each.is_disturbed for each in timed.values()))


def _there(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # Popen was asked for it
    return pipe
