"""Memory and time of an upload with a text of hundreds of megabytes.

    python -m benchmarks.large_text [--megabytes 540] [--unit word] [--json]

A real service and worker take a small language model with a text of the size of WikiText-103 as its
calibration text, and the beginning of the same as its held-out text: first `POST /inspect`, then
`POST /compress` until its first stage has ended, when the job is cancelled. Watched are the
service's process, the worker's, and each of its children: the one that reads the upload within
limits, and the job's own. The exit status is 1 where one of them took 4 GiB or more, or where the
upload ended as anything but read or refused by name. By characters (`--unit character`) the text
has more tokens than are read.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.baseline import cache_folder
from benchmarks.loopback import serving
from benchmarks.service_overhead import memory, write_model
from benchmarks.serving_peers.processes import family
from isslim.client.api import Client
from isslim.compress.kinds.language.networks.lstm import LstmSpec
from isslim.types.jobs import Job
from isslim.types.recipe import Recipe

SPEC = LstmSpec(10_000, 32, (32, 32))
MOST_BYTES = 4 << 30
LOOK_SECONDS = 0.1
UNKNOWN = ("unheard-of", "=", "Ω")
"""Words that the model does not know."""
LETTERS = sorted({*"w0123456789 \n", *"".join(UNKNOWN)})
HELD_OUT = 2_000_000
"""Characters of the held-out text."""
PIECE_WORDS = 1_500_000
"""Of text that is drawn; it is repeated until there is enough."""
UNNAMED = ("reading-failed", "crashed", "worker-lost")
"""Kinds of problems that say no more than that something ended."""


@dataclass
class Watched:
    """Processes, and the most memory that each of them had.

    Attributes:
        peaks: bytes by process.
    """

    peaks: dict[int, int] = field(default_factory=dict)

    def look(self, pid: int) -> None:
        """Looks at a process and what descends from it."""
        for each in family(pid):
            with suppress(OSError, IndexError):  # it has ended
                self.peaks[each] = max(self.peaks.get(each, 0), memory(each, "VmHWM"))


def main() -> int:
    """Writes the upload, sends it, prints; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=540)
    parser.add_argument("--unit", choices=("word", "character"), default="word")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        figures = measured(Path(name), asked.megabytes, asked.unit)
    sys.stdout.write(json.dumps(figures, indent=None if asked.json else 2) + "\n")
    return 0 if figures["is_within"] else 1


def measured(folder: Path, megabytes: int, unit: Literal["word", "character"]) -> dict[str, Any]:
    """What the upload took.

    Args:
        folder: for everything.
        megabytes: of the text.
        unit: of the model.
    """
    text, held_out, home = folder / "text.txt", folder / "held-out.txt", folder / "home"
    home.mkdir()
    write_text(text, megabytes)
    with text.open() as file:
        beginning = file.read(HELD_OUT)
    held_out.write_text(beginning)
    spec = SPEC if unit == "word" else replace(SPEC, vocabulary=len(LETTERS))
    files = write_model(folder, spec)
    if unit == "character":
        (folder / "words.txt").write_text(json.dumps(LETTERS))
    sent = {"vocabulary": folder / "words.txt", "calibration": text, "held_out": held_out}
    recipe = Recipe(name="large", minutes=0, unit=unit)
    figures: dict[str, Any] = {"text_bytes": text.stat().st_size}
    with serving(home) as (url, pid), working(home) as worker, Client(url) as client:
        service, children = Watched(), Watched()
        with watching([(service, pid), (children, worker)]):
            while not client.status().workers:
                time.sleep(LOOK_SECONDS)
            began = time.monotonic()
            found = client.inspect(files.model, recipe=recipe, **sent)
            figures["inspection"] = {
                "understood": found.understood,
                "problem": found.problem and found.problem.kind,
                "seconds": round(time.monotonic() - began, 1),
            }
            began = time.monotonic()
            job = client.compress(files.model, recipe=recipe, **sent)
            job = begun(client, job)
            figures["job"] = {
                "stage": job.stage,
                "problem": job.problem and job.problem.kind,
                "seconds": round(time.monotonic() - began, 1),
            }
            client.cancel(job.id)
    figures["service_peak_bytes"] = service.peaks[pid]
    figures["worker_peak_bytes"] = children.peaks.pop(worker)
    figures["children_peak_bytes"] = sorted(children.peaks.values(), reverse=True)[:4]
    peaks = [*service.peaks.values(), *children.peaks.values()]
    problems = [figures[part]["problem"] for part in ("inspection", "job")]
    figures["is_within"] = max(peaks) < MOST_BYTES and not set(problems) & set(UNNAMED)
    return figures


def write_text(path: Path, megabytes: int) -> None:
    """Lines of words of the model, frequent and rare, and some that it does not know.

    Args:
        path: of the file.
        megabytes: that it has.
    """
    draw, lines = random.Random(0), list[str]()
    words = [*(f"w{number}" for number in range(SPEC.vocabulary - 2)), *UNKNOWN]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    drawn = draw.choices(words, weights, k=PIECE_WORDS)
    at = 0
    while at < len(drawn):
        length = draw.randint(1, 60)
        lines.append(" ".join(drawn[at : at + length]))
        at += length
    piece = ("\n".join(lines) + "\n").encode()
    with path.open("wb") as file:
        for _ in range(megabytes * 1_000_000 // len(piece) + 1):
            file.write(piece)
        file.truncate(megabytes * 1_000_000)


@contextmanager
def working(home: Path) -> Iterator[int]:
    """A worker over a home: its process id.

    Args:
        home: of its service.
    """
    command = [sys.executable, "-m", "isslim.compress.worker"]
    process = subprocess.Popen(command, env=os.environ | {"ISS_HOME": str(home)})
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def watching(watched: Sequence[tuple[Watched, int]]) -> Iterator[None]:
    """Looks at processes again and again until the block ends.

    Args:
        watched: what notes their peaks, and whose.
    """
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            for each, pid in watched:
                each.look(pid)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()


def begun(client: Client, job: Job) -> Job:
    """A job whose first stage has ended, or that has.

    Args:
        client: of its service.
        job: as it was queued.
    """
    while job.state in ("queued", "running") and job.stage in (None, "", "queued", "ingest"):
        time.sleep(LOOK_SECONDS)
        job = client.job(job.id)
    return job


if __name__ == "__main__":
    sys.exit(main())
