"""The same graph and the same requests, answered by isslim and by other servers.

    python -m benchmarks.serving_peers [--json] [--seconds 3] [--repeats 5] [--clients 1 8 64]
        [--only FastAPI LitServe BentoML MLServer] [--variant compressed] [--home FOLDER]

Requests are the token ids of a text of 30 words, answers the log-probabilities of these tokens.
Every server runs the graph of the same bundle (the model of `benchmarks/service_overhead.py`, from
`--home`, where that holds it already) with ONNX Runtime on one thread, on one processor; the load
generator (`benchmarks/load_generator.py`) has another. Each peer has a virtual environment of its
own below the cache folder, with pinned versions from pip; one that cannot be installed or started
is named and left out. Of ours two paths are measured: `POST /score`, and `/v2` (the Open Inference
Protocol), which runs the graph as it is. int8 graphs are run a request at a time, everywhere: a
batch would change their answers.

Before anything is timed, each server's answers are compared with the runtime's. The servers are
measured in turn, again and again; while one is measured, the others are stopped. Figures are
medians. Memory is that of all processes of a server; CPU time is theirs too, by answers, and the
least disturbed by what else the machine does. `ratio_of_ours` is requests a second by those of
`isslim /score`, neighbours in time, and `ratio_of_ours_v2` by those of `isslim /v2`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.baseline import cache_folder
from benchmarks.peers.environments import Environment, NoEnvironment, environment
from benchmarks.service_overhead import SPEC, publish
from benchmarks.serving_load import VARIANTS
from benchmarks.serving_peers.contestants import PEERS, Peer
from benchmarks.serving_peers.measuring import (
    FIGURES,
    NotCompared,
    Row,
    joined,
    measured,
    ours,
    pinned,
    task_of,
)
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings


def main() -> None:
    """Publishes a model, starts all servers, measures in turn, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    names = [each.name for each in PEERS]
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--variant", default="compressed", choices=VARIANTS)
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    chosen = [each for each in PEERS if each.name in arguments.only]
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        home = arguments.home or Path(name)
        if not BundleStore(StoreSettings(home=home)).manifests():
            publish(StoreSettings(home=home), SPEC)
        how = (arguments.clients, arguments.seconds, arguments.repeats)
        places, skipped = installed(chosen)
        figures = compared(places, home, arguments.variant, Path(name).resolve(), how)
    figures["skipped"] |= skipped
    if arguments.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    Console(width=None if sys.stdout.isatty() else 120).print(table(figures))
    for name, why in figures["skipped"].items():
        sys.stdout.write(f"{name} was not measured: {why}\n")


def installed(
    chosen: Sequence[Peer],
) -> tuple[list[tuple[Peer, Environment]], dict[str, str]]:
    """Peers with their environments; and why others have none, by name."""
    places, skipped = list[tuple[Peer, Environment]](), dict[str, str]()
    for peer in chosen:
        _say(f"{peer.name}: installing")
        try:
            places.append((peer, environment(peer.requirements)))
        except NoEnvironment as error:
            skipped[peer.name] = str(error)
    return places, skipped


def compared(
    places: Sequence[tuple[Peer, Environment]],
    home: Path,
    variant: str,
    work: Path,
    how: tuple[Sequence[int], float, int],
) -> dict[str, Any]:
    """All figures: rows of ours and the peers', who was skipped and why, the machine.

    Args:
        places: the peers, each with its environment.
        home: of our service, with one model.
        variant: of the model.
        work: for files.
        how: numbers of clients, seconds of each measurement, repeats.
    """
    task, skipped = task_of(home, variant), dict[str, str]()
    clients, seconds, repeats = how
    with pinned() as load_cpu, ExitStack() as stack:
        servers = ours(home, variant, task, work, stack)
        for peer, place in places:
            _say(f"{peer.name}: starting")
            try:
                servers[peer.name] = joined(peer, place, task, work, stack)
            except NotCompared as error:
                skipped[peer.name] = str(error)
        _say("measuring")
        rows = measured(servers, clients, seconds, repeats, load_cpu)
    return {"peers": rows, "skipped": skipped, "variant": variant, "machine": machine()}


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
        "processors": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def table(figures: dict[str, Any]) -> Table:
    """A line for each row."""
    rows: list[Row] = figures["peers"]
    shown = Table(title=f"30 words, {figures['variant']}, one processor; ratios of requests/s")
    for column in ("peer", "version"):
        shown.add_column(column)
    for column in ("clients", "requests/s", "p50 ms", "p99 ms", "CPU ms", "MB", "failures"):
        shown.add_column(column, justify="right")
    for column in ("to /score", "to /v2"):
        shown.add_column(column, justify="right")
    for row in rows:
        numbers = [f"{row['clients']}"]
        numbers += [_number(row[each]) for each in FIGURES]
        numbers += [f"{row['failures']}"]
        numbers += [_number(row[each], 2) for each in ("ratio_of_ours", "ratio_of_ours_v2")]
        shown.add_row(row["peer"], row["version"], *numbers)
    return shown


def lines(figures: dict[str, Any]) -> list[str]:
    """The rows of a table in Markdown: ratios to `/score` for each number of clients.

    Behind them CPU time and memory at the most clients.
    """
    rows: list[Row] = figures["peers"]
    numbers = sorted({row["clients"] for row in rows})
    made = []
    for peer in dict.fromkeys(row["peer"] for row in rows):
        own = {row["clients"]: row for row in rows if row["peer"] == peer}
        last = own[numbers[-1]]
        cells = [f"{peer} {last['version']}"]
        cells += [f"{_number(own[number]['ratio_of_ours'], 2)}x" for number in numbers]
        cells += [_number(last["cpu_ms"], 2), f"{last['memory_mb']:.0f}"]
        made.append(f"| {' | '.join(cells)} |")
    return made


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
