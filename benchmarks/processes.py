"""Service processes x threads of a run: requests a second of short texts.

`python -m benchmarks.processes [--json] [--seconds 5] [--clients 8]`

A service for each combination, all over one small published model, loaded in turn for three rounds
of `--seconds` by clients in this process; a `/score` of 30 words with the compressed int8 model.
The machine's cores are shared with the clients.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.baseline import cache_folder
from benchmarks.loopback import PlainClient, serving
from benchmarks.service_overhead import SPEC, TEXT, publish
from isslim.settings.cores import cores
from isslim.store.settings import StoreSettings

ROUNDS, WARM_UP_SECONDS = 3, 1.0


def main() -> None:
    """Publishes a model, starts all services, loads them in turn, prints a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    number = cores()
    combinations = [(1, 1), (1, 2), *([(number, 1)] if number > 1 else [(2, 1)])]
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name, ExitStack() as stack:
        bundle_id = publish(StoreSettings(home=Path(name)), SPEC)
        body = json.dumps({"model": bundle_id, "texts": [TEXT], "variants": ["compressed-int8"]})
        urls = {}
        for processes, threads in combinations:
            chosen = {"ISS_PROCESSES": str(processes), "ISS_THREADS": str(threads)}
            urls[processes, threads], _ = stack.enter_context(serving(Path(name), chosen))
        found: dict[tuple[int, int], list[float]] = {each: [] for each in combinations}
        for url in urls.values():
            load(url, body, arguments.clients, WARM_UP_SECONDS)
        for _ in range(ROUNDS):
            for each, url in urls.items():
                found[each] += load(url, body, arguments.clients, arguments.seconds)
    rows = [
        {
            "processes": processes,
            "threads": threads,
            "cores": number,
            "clients": arguments.clients,
            "requests_per_second": len(taken) / (ROUNDS * arguments.seconds),
            "p50_ms": 1e3 * statistics.median(taken),
            "p99_ms": 1e3 * statistics.quantiles(taken, n=100)[98],
        }
        for (processes, threads), taken in found.items()
    ]
    if arguments.json:
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")
        return
    for row in rows:
        sys.stdout.write(
            f"{row['processes']} x {row['threads']}: {row['requests_per_second']:,.0f} requests/s, "
            f"p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f} ms\n"
        )


def load(url: str, body: str, clients: int, seconds: float) -> list[float]:
    """Clients, each one request after the other.

    Args:
        url: of the service.
        body: of a `/score`.
        clients: how many, each on its own connection.
        seconds: that it lasts.

    Returns:
        Seconds of each request that was answered in time.
    """
    taken, until = list[float](), time.monotonic() + seconds

    def ask() -> None:
        with PlainClient(url) as client:
            while (began := time.monotonic()) < until:
                client.post("/score", body)
                ended = time.monotonic()
                if ended < until:
                    taken.append(ended - began)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


if __name__ == "__main__":
    main()
