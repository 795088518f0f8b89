"""Kills and other trouble at random while jobs run: nothing may be lost, doubled or left behind.

    python -m benchmarks.chaos [--kills 1000] [--backend sqlite|postgres] [--json]
        [--seed 0] [--minutes M] [--record FILE]

A cluster on loopback (a service and two workers over SQLite and a folder, or two services and three
workers over Postgres and S3) is asked for jobs all the time. Meanwhile workers, their children,
services and Postgres itself are killed with SIGKILL, SIGTERM and worse, disks are full, folders
closed, a worker's clock jumps by three hours, the storage refuses and is slow, and connections are
ended. Whatever was killed is started again at once, as a supervisor does.

It works in rounds of 50 kills. At the end of each there is no more trouble; all jobs have to end,
and are compared with what undisturbed work gives: `lost` are jobs without their model, or with
another result; `doubled` are second models and times when two processes did one job; `orphaned`
are models that no job has, and folders and processes of jobs that have ended; `stuck` are jobs that
do not end. A job whose answer names the machine's trouble (a full disk, workers that died at it
again and again), and says to send it once more, is asked for again: `again` counts these. The
compression is a stand-in of a second (`benchmarks/chaos/child.py`); everything around it is real.

`--record` keeps what the rounds found, and goes on with them the next time; `--minutes` ends after
the round that is under way then. The exit status is 1 where anything is lost, doubled, orphaned or
stuck.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.baseline import cache_folder
from benchmarks.chaos.jobs import Jobs
from benchmarks.chaos.members import Cluster
from benchmarks.chaos.trouble import Trouble

ROUND_KILLS, OPEN_JOBS = 50, 5
"""Kills of a round, and jobs that have not ended at any time of it."""
PAUSE_SECONDS, BEGIN_SECONDS = 0.5, 6.0
"""The longest pause between troubles, after a job has begun anew; how long that is waited for."""
WRONG = ("lost", "doubled", "orphaned", "stuck")


def main() -> None:
    """Runs the rounds and prints what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--backend", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * (arguments.minutes or float("inf"))
    found = _recorded(arguments.record) or dict[str, Any]()
    while found.get("kills", 0) < arguments.kills and time.monotonic() < until:
        number = found.get("rounds", 0)
        kills = min(ROUND_KILLS, arguments.kills - found.get("kills", 0))
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            one = chaos(Path(folder), arguments.backend, kills, arguments.seed + number)
        found = added(found, one)
        if arguments.record is not None:
            arguments.record.write_text(json.dumps(found, indent=1) + "\n")
        sys.stderr.write(f"round {number}: {json.dumps(one)}\n")
    if arguments.json:
        shown = {name: found[name] for name in ("kills", "jobs", *WRONG)}
        sys.stdout.write(json.dumps(shown) + "\n")
    else:
        sys.stdout.write("".join(f"{name:10} {each}\n" for name, each in found.items()))
    sys.exit(any(found[each] for each in WRONG))


def chaos(folder: Path, backend: str, kills: int, seed: int) -> dict[str, Any]:
    """One round: trouble until so many kills, then a look at everything.

    Args:
        folder: an empty one.
        backend: `sqlite` or `postgres`.
        kills: how many.
        seed: of the order of troubles.

    Returns:
        Numbers of kills, jobs and what is wrong, the kinds of trouble, and what is wrong in words.
    """
    random, began = Random(seed), time.monotonic()
    with Cluster(folder, backend) as cluster, Jobs(cluster, random) as jobs:
        trouble = Trouble(cluster, random)
        jobs.ask()
        jobs.insist()
        while trouble.kills < kills:
            while jobs.open() < OPEN_JOBS:
                jobs.ask()
            _wait_for_work(cluster)
            time.sleep(random.uniform(0.0, PAUSE_SECONDS))
            trouble.strike()
            cluster.keep_alive()
        jobs.insist()
        jobs.wait()
        again = jobs.ask_again()
        audit = jobs.audit()
    return {
        "rounds": 1,
        "kills": trouble.kills,
        "jobs": len(jobs.asked),
        **{name: len(getattr(audit, name)) for name in WRONG},
        "again": again,
        "seconds": round(time.monotonic() - began, 1),
        "troubles": dict(sorted(trouble.counts.items())),
        "words": [f"{name}: {each}" for name in WRONG for each in getattr(audit, name)][:20],
    }


def added(total: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    """The sums of several rounds.

    Args:
        total: of the rounds before; empty: there were none.
        one: of another round.
    """
    if not total:
        return one
    troubles = dict(total["troubles"])
    for kind, count in one["troubles"].items():
        troubles[kind] = troubles.get(kind, 0) + count
    numbers = {each: total[each] + one[each] for each in one if isinstance(one[each], int | float)}
    return {**numbers, "troubles": troubles, "words": total["words"] + one["words"]}


def _recorded(record: Path | None) -> dict[str, Any] | None:
    if record is None or not record.exists():
        return None
    found: dict[str, Any] = json.loads(record.read_text())
    return found


def _wait_for_work(cluster: Cluster) -> None:
    """Waits until a job has begun since the last trouble: kills of what only starts hit nothing."""
    begun, limit = cluster.folder / "begun", time.monotonic() + BEGIN_SECONDS
    before = begun.stat().st_size if begun.exists() else 0
    while time.monotonic() < limit:
        if begun.exists() and begun.stat().st_size > before:
            return
        cluster.keep_alive()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
