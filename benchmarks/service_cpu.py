"""Processor time that the service takes for a request and for a streamed token.

`python -m benchmarks.service_cpu [--json] [--rounds 20] [--home FOLDER] [--against FOLDER ...]`

A real service process on the loopback interface, on one processor, and its client on another, with
the model of `benchmarks/service_overhead.py` (from `--home`, where that holds it already). In each
round a connection sends `/score` of 30 words, one after the other, and then a text of 200 tokens is
streamed, both with compressed-int8; the processor time of the service's process is read before and
after. The runtime's own runs of the same are timed in turn and subtracted. On a machine that does
other things, time of the processor is much steadier than that of the clock.

`--against` names checkouts of other versions, which are measured in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.baseline import cache_folder
from benchmarks.loopback import PlainClient, serving
from benchmarks.service_overhead import SPEC, STREAMED, TEXT, drawn, publish
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.scoring import score_batch
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings

OWN = Path(__file__).parents[1]
REQUESTS, STREAMS, WARM_UP = 50, 3, 3
"""Of one round; rounds that are not counted."""


def main() -> None:
    """Publishes a model, starts the services, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        home = arguments.home or Path(name)
        if not BundleStore(StoreSettings(home=home)).manifests():
            publish(StoreSettings(home=home), SPEC)
        figures = measured(home, [OWN, *arguments.against], arguments.rounds)
    if arguments.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for version, found in figures.items():
        shown = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        sys.stdout.write(f"{version}: {shown}\n")


def measured(home: Path, sources: list[Path], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of the rounds, in milliseconds, by version.

    Args:
        home: of the services.
        sources: checkouts of their versions.
        rounds: that are counted.
    """
    service_cpu, own_cpu = sorted(os.sched_getaffinity(0))[:2]
    store = BundleStore(StoreSettings(home=home))
    model = LoadedLanguageModel(store.open(store.manifests()[0][0]))
    session, ids = model.session("compressed-int8"), model.codec.encode(TEXT)
    asked = {"model": model.id, "variants": ["compressed-int8"]}
    score = json.dumps({**asked, "texts": [TEXT]})
    stream = {**asked, "prompt": TEXT, "stream": True, "max_tokens": STREAMED, "seed": 1}
    generate = json.dumps(stream)
    found: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        services = []
        for source in sources:
            url, pid = stack.enter_context(serving(home, {"ISS_RUNS_AT_ONCE": "1"}, source))
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {service_cpu})
            services.append((str(source), url, pid))
        os.sched_setaffinity(0, {own_cpu})
        for index in range(rounds + WARM_UP):
            runs = {
                "request": timed(
                    None, REQUESTS, lambda: score_batch(session, [ids], model.codec.start_id)
                ),
                "token": timed(None, STREAMS, lambda: drawn(model, session)) / STREAMED,
            }
            for version, url, pid in services:
                with PlainClient(url) as client:
                    taken = {
                        "request": timed(pid, REQUESTS, lambda: client.post("/score", score)),
                        "token": timed(pid, STREAMS, lambda: client.stream("/generate", generate))
                        / STREAMED,
                    }
                if index >= WARM_UP:
                    note(found.setdefault(version, {}), runs, taken)
    return {
        version: {name: statistics.median(values) for name, values in each.items()}
        for version, each in found.items()
    }


def timed(pid: int | None, times: int, call: Callable[[], object]) -> float:
    """Milliseconds of processor time that a process takes for one call.

    Args:
        pid: of the process; None: this one.
        times: how often it is called.
        call: asks the process for something.
    """
    # Linux numbers the clock of another process so (clock_getcpuclockid(3)).
    clock = time.CLOCK_PROCESS_CPUTIME_ID if pid is None else (~pid << 3) | 2
    began = time.clock_gettime(clock)
    for _ in range(times):
        call()
    return 1e3 * (time.clock_gettime(clock) - began) / times


def note(found: dict[str, list[float]], runs: dict[str, float], taken: dict[str, float]) -> None:
    """Adds the figures of a round.

    Args:
        found: of the rounds before.
        runs: what the runtime's own runs took, milliseconds.
        taken: the service, for the same.
    """
    for name, run in runs.items():
        found.setdefault(f"runtime_{name}_ms", []).append(run)
        found.setdefault(f"{name}_ms", []).append(taken[name])
        found.setdefault(f"{name}_above_ms", []).append(taken[name] - run)


if __name__ == "__main__":
    main()
