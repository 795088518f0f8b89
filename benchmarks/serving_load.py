"""The service under load: throughput against the runtime, and small requests beside large ones.

`python -m benchmarks.serving_load [--json] [--seconds 5] [--rounds 3] [--home FOLDER]`

A real service process on the loopback interface, on one processor, and the load generator on
another (`benchmarks/load_generator.py`), with the model of `benchmarks/service_overhead.py` (from
`--home`, where that holds it already):

- `overhead_ms`: a `/score` of 30 words above the runtime's own run of the same ids, the median;
- `throughput`: answers a second at 64 clients, and the same runs by the runtime in a loop of as
  many threads on the same processor, in turn; of each variant the median of the rounds;
- `beside_large`: p50 and p99 of a small request at a time while one of 100,000 tokens runs;
- `beside_long`: p95 of short requests at 64 clients, and beside 5 % texts of 200,000 tokens;
- `live`: the longest wait of `/health/live` during these.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.baseline import cache_folder
from benchmarks.load_generator import Group, load
from benchmarks.loopback import serving
from benchmarks.service_overhead import SPEC, TEXT, overhead, publish
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.scoring import score_batch
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings

CLIENTS, LONG_CLIENTS = 64, 3
"""5 % of the clients send long texts."""
LARGE_TOKENS, LONG_TOKENS = 100_000, 200_000
VARIANTS = ("original", "compressed", "compressed-int8")
THREADS = 1
ENCODED_SECONDS = 8.0
"""Before a measurement beside long texts: they are sent at once, and encoded first."""


def main() -> None:
    """Publishes a model, starts the service, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--loop", metavar="VARIANT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop is not None:
        sys.stdout.write(f"{loop(arguments.home, arguments.loop, arguments.seconds)}\n")
        return
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        home = arguments.home or Path(name)
        store = BundleStore(StoreSettings(home=home))
        if not store.manifests():
            publish(StoreSettings(home=home), SPEC)
        figures = measured(home, Path(name), arguments.seconds, arguments.rounds)
    sys.stdout.write(json.dumps(figures, indent=None if arguments.json else 2) + "\n")


def measured(home: Path, work: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """All figures of a home's only model.

    Args:
        home: of the service.
        work: where the bodies are written.
        seconds: of each load.
        rounds: of the throughput.
    """
    service_cpu, load_cpu = sorted(os.sched_getaffinity(0))[:2]
    model = opened(home)
    small = body(work / "small.json", model.id, 30)
    short = Group(CLIENTS - LONG_CLIENTS, {small: 1.0})
    long = Group(LONG_CLIENTS, {body(work / "long.json", model.id, LONG_TOKENS): 1.0})
    large = Group(1, {body(work / "large.json", model.id, LARGE_TOKENS): 1.0})
    with limited(), serving(home) as (url, pid), watched(url) as waits:
        os.sched_setaffinity(pid, {service_cpu})

        def under(**groups: Group) -> dict[str, Any]:
            return load(f"{url}/score", groups, seconds, warm_up=ENCODED_SECONDS, cpu=load_cpu)

        figures: dict[str, Any] = {"overhead_ms": overhead(url, model)["overhead_ms"]}
        figures["throughput"] = {
            variant: throughput(
                f"{url}/score",
                Group(CLIENTS, {body(work / f"{variant}.json", model.id, 30, variant): 1.0}),
                home,
                variant,
                (seconds, rounds, service_cpu, load_cpu),
            )
            for variant in VARIANTS
        }
        beside = under(small=Group(1, {small: 1.0}), large=large)["small/small"]
        figures["beside_large"] = beside | {"p99_to_p50": beside["p99_ms"] / beside["p50_ms"]}
        without = under(short=short)["short/small"]["p95_ms"]
        with_long = under(short=short, long=long)["short/small"]["p95_ms"]
        figures["beside_long"] = {
            "p95_ms_without": without,
            "p95_ms": with_long,
            "ratio": with_long / without,
        }
        figures["live"] = {"longest_ms": 1e3 * max(waits), "looks": len(waits)}
    return figures


@contextmanager
def limited() -> Iterator[None]:
    """Services that are started run as many at a time as the loop has threads."""
    before = os.environ.get("ISS_RUNS_AT_ONCE")
    os.environ["ISS_RUNS_AT_ONCE"] = str(THREADS)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ISS_RUNS_AT_ONCE"]
        else:
            os.environ["ISS_RUNS_AT_ONCE"] = before


@contextmanager
def watched(url: str) -> Iterator[list[float]]:
    """Asks for the service's health again and again; the seconds of each answer."""
    seconds, done = list[float](), threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.wait(0.02):
                began = time.perf_counter()
                client.get("/health/live")
                seconds.append(time.perf_counter() - began)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seconds
    finally:
        done.set()
        watching.join()


def opened(home: Path) -> LoadedLanguageModel:
    """A home's only model."""
    store = BundleStore(StoreSettings(home=home))
    return LoadedLanguageModel(store.open(store.manifests()[0][0]))


def body(path: Path, model: str, tokens: int, variant: str | None = None) -> Path:
    """Writes a request of a text of so many words.

    Args:
        path: of the file.
        model: id.
        tokens: words of the text.
        variant: that scores it; None: the service's default, two of them.
    """
    words = TEXT.split()
    text = " ".join(words * (tokens // len(words)) + words[: tokens % len(words)])
    variants = {} if variant is None else {"variants": [variant]}
    path.write_text(json.dumps({"model": model, "texts": [text]} | variants))
    return path


def throughput(
    url: str, group: Group, home: Path, variant: str, how: tuple[float, int, int, int]
) -> dict[str, Any]:
    """Answers a second of the service and of the runtime in a loop, in turn.

    Args:
        url: of the service, with the path.
        group: the clients.
        home: of the model.
        variant: that both run.
        how: seconds and number of rounds, processors of the service and of the load.
    """
    seconds, rounds, service_cpu, load_cpu = how
    command = [sys.executable, "-m", "benchmarks.serving_load", "--loop", variant]
    command += ["--home", str(home), "--seconds", str(seconds)]
    answers, runs, failures = list[float](), list[float](), dict[str, int]()
    for _ in range(rounds):
        (found,) = load(url, {"clients": group}, seconds, cpu=load_cpu).values()
        answers.append(found["requests_per_second"])
        failures |= found["failures"]
        pinned = ["taskset", "--cpu-list", str(service_cpu), *command]
        looped = subprocess.run(pinned, check=True, capture_output=True, text=True)
        runs.append(float(looped.stdout))
    return {
        "requests_per_second": statistics.median(answers),
        "runtime_per_second": statistics.median(runs),
        "ratio": statistics.median(a / r for a, r in zip(answers, runs, strict=True)),
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "failures": failures,
    }


def loop(home: Path, variant: str, seconds: float) -> float:
    """Runs a second of the runtime alone, one text after the other in each thread.

    Args:
        home: of the model.
        variant: that is run.
        seconds: that it lasts.
    """
    model = opened(home)
    session, ids = model.session(variant), model.codec.encode(TEXT)
    counts = [0] * THREADS
    end = time.perf_counter() + seconds

    def go(index: int) -> None:
        while time.perf_counter() < end:
            score_batch(session, [ids], model.codec.start_id)
            counts[index] += 1

    threads = [threading.Thread(target=go, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


if __name__ == "__main__":
    main()
