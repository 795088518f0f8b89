"""What protects and watches a service costs a request; and what strangers cost it.

    python -m benchmarks.guarded [--json] [--rounds 30] [--seconds 8] [--home FOLDER]
                                 [--only cost beside]

Real services and workers on the loopback interface, with the model of
`benchmarks/service_overhead.py` (from `--home`, where that holds it already).

`cost`: `/score` of 30 words with compressed-int8, one request after the other, of four services in
turn, on one processor: without anything; with keys, quotas and a limit on requests; with traces
that go to a collector; with all of it. Of each: the median of a request, the processor time of the
service's process for one (what it does between requests, such as sending spans, included), and how
much more both are than without anything, as the median of the rounds' differences.

`beside`: the 99th percentile of the same request while nothing else happens, while a stranger sends
long uploads, while a worker reads an upload that asks for work without end, and while it does a
queue of fifty jobs; in turn, and of each the median of the rounds, with its ratio to that of
nothing else. Service, worker and clients share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.baseline import cache_folder
from benchmarks.large_text import working
from benchmarks.load_generator import Group, load
from benchmarks.loopback import PlainClient, serving
from benchmarks.service_overhead import SPEC, TEXT, publish, write_model
from isslim.client.api import Client
from isslim.compress.kinds.language.networks.lstm import LstmSpec
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.access import Scope, line_of, new_key
from isslim.types.recipe import Recipe

REQUESTS, WARM_UP = 50, 3
"""Of a round; rounds that are not counted."""
RATE = "1000000/minute"
"""A limit that counts every request, and refuses none of these."""
UPLOAD_BYTES = 100 << 20
COLLECTOR = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
"""A program that prints its port."""
QUEUED = 50
SETTLING_SECONDS = 2.0
"""After jobs were cancelled."""
JOB_SPEC = LstmSpec(2000, 64, (64, 64))


def main() -> None:
    """Publishes a model, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--only", nargs="+", choices=("cost", "beside"), default=["cost", "beside"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        home = asked.home or Path(name) / "home"
        home.mkdir(exist_ok=True)
        there = BundleStore(StoreSettings(home=home)).manifests()
        model = there[0][0] if there else publish(StoreSettings(home=home), SPEC)
        body = json.dumps({"model": model, "texts": [TEXT], "variants": ["compressed-int8"]})
        figures: dict[str, Any] = {}
        if "cost" in asked.only:
            figures["cost"] = cost(home, Path(name), body, asked.rounds)
        if "beside" in asked.only:
            rounds = max(1, asked.rounds // 10)
            figures["beside"] = beside(home, Path(name), body, asked.seconds, rounds)
    if asked.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for part in figures.values():
        for what, found in part.items():
            shown = ", ".join(f"{name} {value:,.3f}" for name, value in found.items())
            sys.stdout.write(f"{what}: {shown}\n")


def cost(home: Path, work: Path, body: str, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a request, by what the service does beside answering it.

    Args:
        home: of the services.
        work: takes the file of keys.
        body: of the request.
        rounds: that are counted.
    """
    service_cpu, own_cpu = sorted(os.sched_getaffinity(0))[:2]
    with ExitStack() as stack:
        key, variables = forms(work, stack.enter_context(collecting()))
        services: dict[str, tuple[PlainClient, int]] = {}
        for name, more in variables.items():
            url, pid = stack.enter_context(serving(home, {"ISS_RUNS_AT_ONCE": "1", **more}))
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {service_cpu})
            client = stack.enter_context(PlainClient(url, {"authorization": f"Bearer {key}"}))
            services[name] = client, pid
        os.sched_setaffinity(0, {own_cpu})
        clock = {name: list[float]() for name in services}
        processor = {name: list[float]() for name in services}
        draw, began = random.Random(0), dict[str, float]()
        for index in range(rounds + WARM_UP):
            if index == WARM_UP:
                began = {name: process_ms(pid) for name, (_, pid) in services.items()}
            for name in draw.sample(sorted(services), len(services)):
                client, pid = services[name]
                before = process_ms(pid)
                taken = timed_each(client, body)
                used = (process_ms(pid) - before) / REQUESTS
                if index >= WARM_UP:
                    clock[name].append(statistics.median(taken))
                    processor[name].append(used)
        asked = REQUESTS * rounds
        whole = {n: (process_ms(pid) - began[n]) / asked for n, (_, pid) in services.items()}
    return {
        name: {
            "p50_ms": statistics.median(clock[name]),
            "p50_more_ms": _more(clock, name),
            "cpu_ms": statistics.median(processor[name]),
            "cpu_more_ms": _more(processor, name),
            "cpu_with_pauses_more_ms": whole[name] - whole["plain"],
        }
        for name in services
    }


def forms(work: Path, sink: str) -> tuple[str, dict[str, dict[str, str]]]:
    """A key, and the variables of each service.

    Args:
        work: takes the file of keys.
        sink: address of a collector of traces.
    """
    key, file = new_key(), work / "keys.txt"
    file.write_text(line_of("bench", [Scope.SCORE], key) + "\n")
    keys = {"ISS_API_KEYS_FILE": str(file.absolute()), "ISS_RATE": RATE}
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink}
    return key, {"plain": {}, "keys": keys, "traces": traces, "all": keys | traces}


def timed_each(client: PlainClient, body: str) -> list[float]:
    """Milliseconds of each of some requests."""
    found = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        client.post("/score", body)
        found.append(1e3 * (time.perf_counter() - began))
    return found


def process_ms(pid: int) -> float:
    """Milliseconds of processor time that a process has taken."""
    return 1e3 * time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)


def _more(found: Mapping[str, list[float]], name: str) -> float:
    return statistics.median(
        one - plain for one, plain in zip(found[name], found["plain"], strict=True)
    )


@contextmanager
def collecting() -> Iterator[str]:
    """A collector of traces in a process of its own, which drops them: its address."""
    process = subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip() if process.stdout else ''}"
    finally:
        process.terminate()
        process.communicate()


def beside(
    home: Path, work: Path, body: str, seconds: float, rounds: int
) -> dict[str, dict[str, float]]:
    """Latencies of a request beside nothing, hostile uploads and a queue of jobs.

    Args:
        home: of service and worker.
        work: takes the uploads.
        body: of the request.
        seconds: of each measurement.
        rounds: of all of them.
    """
    asked = work / "score.json"
    asked.write_text(body)
    found: dict[str, list[dict[str, float]]] = {}
    with serving(home) as (url, _), working(home), Client(url) as client:
        while not client.status().workers:
            time.sleep(0.1)
        neighbours: dict[str, Callable[[], Any]] = {
            "alone": nullcontext,
            "long_uploads": lambda: uploading(url),
            "endless_upload": lambda: reading(client, work),
            "queue_of_jobs": lambda: queueing(client, work),
        }
        for _ in range(rounds):
            for name, neighbour in neighbours.items():
                with neighbour():
                    group = Group(1, {asked: 1.0})
                    (taken,) = load(f"{url}/score", {"x": group}, seconds, cpu=None).values()
                if taken["failures"]:
                    raise RuntimeError(f"{name}: {taken['failures']}")
                found.setdefault(name, []).append(taken)
    figures = {
        name: {
            part: statistics.median(each[part] for each in rows) for part in ("p50_ms", "p99_ms")
        }
        for name, rows in found.items()
    }
    for name, each in figures.items():
        pairs = zip(found[name], found["alone"], strict=True)
        each["p99_ratio"] = statistics.median(one["p99_ms"] / two["p99_ms"] for one, two in pairs)
    return figures


@contextmanager
def uploading(url: str) -> Iterator[None]:
    """A stranger who sends long uploads one after the other, none of which ends as a form does."""
    done, content = threading.Event(), random.Random(0).randbytes(1 << 20)

    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="model"; filename="m.pt"\r\n\r\n'
        for _ in range(UPLOAD_BYTES >> 20):
            if done.is_set():
                return
            yield content

    def send() -> None:
        kind = {"content-type": "multipart/form-data; boundary=b"}
        with httpx.Client(timeout=60) as client:
            while not done.is_set():
                with suppress(httpx.TransportError):  # it is answered before it has ended
                    client.post(f"{url}/compress", content=pieces(), headers=kind)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def reading(client: Client, work: Path) -> Iterator[None]:
    """A worker reads an upload that asks for work without end: a key of nested tuples, to hash.

    Args:
        client: of the service.
        work: takes the upload.
    """
    pair = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    program = b"\x80\x02}" + b"K\x01\x85" + pair + b"K\x01s."
    path = work / "endless.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    words = work / "words.txt"
    words.write_text("a\nb\n")
    recipe = Recipe(name="endless", seed=time.time_ns())
    job = client.compress(path, vocabulary=words, recipe=recipe)
    while client.job(job.id).state == "queued":
        time.sleep(0.1)
    try:
        yield
    finally:
        client.cancel(job.id)
        time.sleep(SETTLING_SECONDS)


@contextmanager
def queueing(client: Client, work: Path) -> Iterator[None]:
    """A worker does one after the other of many jobs.

    Args:
        client: of the service.
        work: takes the upload.
    """
    folder = work / "job"
    folder.mkdir(exist_ok=True)
    files = write_model(folder, JOB_SPEC)
    recipe = Recipe(name="queued", minutes=1, seed=time.time_ns())
    sent = {"vocabulary": files.vocabulary}
    first = client.compress(files.model, recipe=recipe, **sent)
    more = (client.compress_again(first.id, {"seed": time.time_ns()}) for _ in range(1, QUEUED))
    jobs = [first, *more]
    while client.job(first.id).state == "queued":
        time.sleep(0.1)
    try:
        yield
    finally:
        for job in jobs:
            client.cancel(job.id)
        time.sleep(SETTLING_SECONDS)


if __name__ == "__main__":
    main()
