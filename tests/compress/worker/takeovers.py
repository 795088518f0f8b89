"""How soon the job of a killed worker goes on at a peer.

    python -m tests.compress.worker.takeovers --kills 20 --backend sqlite|postgres

Workers and the database are real; the child only beats. Each time counts from the kill to the first
beat of the next child, so that the start of a process is part of it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cluster.postgres import Postgres
from tests.compress.worker.interruptions import Scene, scene

REQUIRED_SECONDS = {"sqlite": 2.0, "postgres": 1.0}


def taken_over(made: Scene, kills: int) -> list[float]:
    """Kills a worker at a job, again and again; the seconds until a peer went on with each.

    Args:
        made: without workers or jobs; its children work for longer than this takes.
        kills: how many, of a job each.
    """
    chance, found = random.Random(1), list[float]()
    made.start(2)
    for number in range(kills):
        made.until(lambda: made.are_ready(2 + number), 30)  # noqa: B023
        made.ask(1)
        name = f"job-{number}"
        made.until(lambda: _beats(made, name), 30)  # type: ignore[arg-type, return-value]  # noqa: B023
        time.sleep(chance.random())
        pid = int(_beats(made, name)[-1][1])
        owner = next(each for each in made.workers if each.pid == made.worker_of(pid))
        killed = time.monotonic()
        owner.kill()
        owner.wait()
        made.until(lambda: _first_of_next(made, name, pid) is not None, 30)  # noqa: B023
        found.append((_first_of_next(made, name, pid) or 0.0) - killed)
        made.queue.cancel(made.jobs[-1])
        made.workers.remove(owner)
        if number + 1 < kills:
            made.start()
    return found


def _beats(made: Scene, name: str) -> list[list[str]]:
    return [line for line in made.lines() if line[0] == name]


def _first_of_next(made: Scene, name: str, pid: int) -> float | None:
    """When a child other than the first began to beat; None: it has not yet."""
    moments = (float(moment) for _, each, moment in _beats(made, name) if int(each) != pid)
    return next(moments, None)


def main() -> None:
    """Prints what was measured, as JSON; 1 where a time was too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", choices=sorted(REQUIRED_SECONDS), default="sqlite")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = None
        if given.backend == "postgres":
            url = stack.enter_context(Postgres()).new_database()
        times = taken_over(stack.enter_context(scene(folder, url, 600.0)), given.kills)
    line = {
        "backend": given.backend,
        "kills": len(times),
        "median_seconds": round(statistics.median(times), 3),
        "most_seconds": round(max(times), 3),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.exit(1 if max(times) > REQUIRED_SECONDS[given.backend] else 0)


if __name__ == "__main__":
    main()
