"""A service under mixed requests for minutes, while its models change: errors, memory, waits.

    python -m benchmarks.soak [--minutes 10] [--clients 64] [--json]

A real service process with small models of three kinds and a limit on memory that holds some of
them. Clients send texts to `/score`, `/generate` (whole and as streams), `/v1/completions`, `/v2`,
inputs to `/models/{model}/run` and questions to `/qa`, by aliases and by ids; every answer is
compared with what the model answered when nothing else was asked. Meanwhile copies of the models
are published, promoted, tried as shadows and canaries, rolled back, loaded, unloaded and deleted.

`errors` are wrong answers, connections that ended, and statuses other than 200 which the state of
the service does not explain: 503 and 504 of an overloaded service are counted, and so is 404 of a
model that is asked for by its id and was deleted. `memory_mb` is the resident memory of the
service's process at the start, after every minute and at the end, `family_mb` with its graphs'
processes, and `models_loaded` are the models in memory then. The slope, by least squares after the
first two minutes (of a shorter run: its first half), is flat below 2 MB a minute: a language model
takes more with all of its variants, and some are published a minute: if they stayed in memory, it
would show. The exit status is 1 where there are errors, or a slope.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baseline import cache_folder
from benchmarks.loopback import serving
from benchmarks.service_overhead import memory
from benchmarks.serving_load import watched
from benchmarks.serving_peers.processes import memory_mb
from benchmarks.soak.changes import Operator
from benchmarks.soak.models import LANGUAGE, Copies, first_models
from benchmarks.soak.traffic import PROD, VARIANTS, Client, Counts, client, questions, same
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings

FLAT_MB_PER_MINUTE, SETTLING_MINUTES = 2.0, 2.0
SAMPLE_SECONDS = 1.0
MODELS_IN_MEMORY = 1.5
"""As many of the largest model as the limit on memory holds; up to five of it are asked for."""


def main() -> None:
    """Publishes models, starts the service, sends the load, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        found = soaked(Path(name), arguments.minutes, arguments.clients)
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write("".join(f"{key:22} {_shown(each)}\n" for key, each in found.items()))
    sys.exit(0 if not found["errors"] and found["flat"] is not False else 1)


def soaked(home: Path, minutes: float, clients: int) -> dict[str, Any]:
    """All figures; see the module.

    Args:
        home: an empty folder.
        minutes: of the load.
        clients: how many.
    """
    firsts = first_models(home)
    settings = StoreSettings(home=home)
    sizes = [
        sum(each.size_bytes for each in BundleStore(settings).open(model).manifest.variants)
        for model in firsts.values()
    ]
    variables = {"ISS_MEMORY_LIMIT_BYTES": str(int(MODELS_IN_MEMORY * max(sizes)))}
    counts, done = Counts(), threading.Event()
    with serving(home, variables) as (url, pid):
        operator = Operator(url, Copies(settings, firsts), counts)
        operator.begin()
        asked = _known(url)
        threads = [threading.Thread(target=operator.run, args=(done,))]
        threads += [
            threading.Thread(
                target=client,
                args=(url, asked, lambda: operator.short_lived(LANGUAGE), counts, done, seed),
            )
            for seed in range(clients)
        ]
        with watched(url) as waits, _running(threads, done):
            figures = _memory(url, pid, minutes)
    return {
        "minutes": minutes,
        "clients": clients,
        "answers": dict(sorted(counts.answers.items())),
        "kinds": dict(sorted(counts.kinds.items())),
        "changes": dict(sorted(operator.changes.items())),
        "errors": counts.errors,
        "more_errors": counts.more_errors,
        **figures,
        "live_longest_ms": 1e3 * max(waits),
    }


@contextmanager
def _running(threads: Sequence[threading.Thread], done: threading.Event) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _known(url: str) -> list[tuple[Any, Any]]:
    """Every question with its answer, asked for alone; twice, as answers are to be repeatable."""
    connection = Client(url)

    def read(question: Any) -> Any:
        status, said = connection.ask("POST", question.path, question.body)
        if status != 200:
            raise RuntimeError(f"{question.kind} answers {status}: {said[:500]}")
        return question.read(said)

    states = {}
    for variant in VARIANTS:
        _, said = connection.ask("GET", f"/v2/models/{PROD[LANGUAGE]}/versions/{variant}")
        states[variant] = [
            (each["name"], each["datatype"], [1, 1, each["shape"][-1]])
            for each in json.loads(said)["inputs"]
            if each["datatype"] == "FP32"
        ]
    asked = [(question, read(question)) for question in questions(states)]
    for question, answer in asked:
        if not same(read(question), answer):
            raise RuntimeError(f"{question.kind} answers otherwise when it is asked again")
    connection.close()
    return asked


def _memory(url: str, pid: int, minutes: float) -> dict[str, Any]:
    """Memory in megabytes over the time of the load, and its slope."""
    connection, loaded = Client(url), list[int]()
    began, times, sizes = time.monotonic(), list[float](), list[float]()
    shown, families = list[float](), list[float]()
    while True:
        at = (time.monotonic() - began) / 60
        times.append(at)
        sizes.append(memory(pid, "VmRSS") / 1e6)
        if at >= min(len(shown), minutes):
            shown.append(sizes[-1])
            _, said = connection.ask("GET", "/metrics")
            loaded.append(int(float(said.split("\nisslim_models_loaded ")[1].split()[0])))
            families.append(memory_mb(pid))
        if at >= minutes:
            break
        time.sleep(max(0.0, min(SAMPLE_SECONDS, 60 * (minutes - at))))
    connection.close()
    slope = slope_of(times, sizes, min(SETTLING_MINUTES, minutes / 2))
    return {
        "memory_mb": shown,
        "family_mb": families,
        "models_loaded": loaded,
        "slope_mb_per_minute": slope,
        "flat": None if slope is None else slope < FLAT_MB_PER_MINUTE,
    }


def slope_of(minutes: Sequence[float], sizes: Sequence[float], settled: float) -> float | None:
    """Megabytes a minute by least squares; None where there are fewer than three to go by.

    Args:
        minutes: of the samples.
        sizes: in megabytes.
        settled: minutes before which samples do not count.
    """
    later = [(at, size) for at, size in zip(minutes, sizes, strict=True) if at >= settled]
    if len(later) < 3:
        return None
    times, found = np.array(later).T
    return float(np.polyfit(times, found, 1)[0])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return (
            "".join(
                f"\n    {each:.1f}" if isinstance(each, float) else f"\n    {each}"
                for each in value
            )
            or "none"
        )
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
