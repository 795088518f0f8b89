"""A steady load on any HTTP service, from a process of its own.

`python -m benchmarks.load_generator http://127.0.0.1:8000/score --group short 63 short.json
--group long 1 long.json --seconds 10 [--warm-up 1] [--cpu 1] [--header name:value] --json`

Every client of a group has one connection and sends one request after the other, from when the
measurement begins until it ends: a closed loop. A group's body is a file, or several with the share
of each: `short.json=0.95,long.json=0.05`. Requests are bytes that are made once, and of answers
status and length are read, so that a request takes this process some 20 microseconds. For each body
it prints requests a second, latencies and failures; a request counts that ends within the measured
time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

import uvloop

TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Group:
    """Clients that send the same requests.

    Attributes:
        clients: how many.
        bodies: files, each with the share of the requests that hold it.
    """

    clients: int
    bodies: Mapping[Path, float]


@dataclass
class Found:
    """What came of one body.

    Attributes:
        milliseconds: of the answers of status 200.
        failures: answers of other statuses, and connections that ended, by what happened.
    """

    milliseconds: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def summary(self, seconds: float) -> dict[str, Any]:
        """Figures of a measurement of so many seconds."""
        times = sorted(self.milliseconds)
        return {
            "answers": len(times),
            "requests_per_second": len(times) / seconds,
            **{f"p{part}_ms": percentile(times, part / 100) for part in (50, 95, 99)},
            "failures": dict(self.failures),
        }


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The value that so many are at most; None of none.

    Args:
        ordered: ascending.
        part: 0 to 1.
    """
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


class Connection(asyncio.Protocol):
    """One connection (HTTP/1.1, RFC 9112); at most one request is on its way."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[str] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> asyncio.Future[str]:
        """Sends a request; its answer's status is awaited."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            self._answer.set_exception(ConnectionError("closed"))
        else:
            self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        if len(self._received) < end + 4 + _length(head):
            return
        self._received.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(head[9:12].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("closed"))

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.abort()


def _length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    if start < 0:
        raise RuntimeError(f"an answer without a length: {head[:200]!r}")
    return int(lower[start + 17 :].split(b"\r\n", 1)[0])


def request_bytes(address: SplitResult, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A POST of JSON.

    Args:
        address: of the service, with the path.
        body: of the request.
        headers: further ones, or others than the usual.
    """
    path = f"{address.path or '/'}?{address.query}" if address.query else address.path or "/"
    usual = {"host": address.netloc, "content-type": "application/json"} | dict(headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in usual.items())
    return f"POST {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


async def _client(
    address: SplitResult, choices: Sequence[tuple[str, bytes, float]], chance: random.Random
) -> Any:
    """Sends until it is cancelled; yields name, begin, end and status of each request."""
    loop = asyncio.get_running_loop()
    weights = [weight for _, _, weight in choices]
    connection: Connection | None = None
    try:
        while True:
            ((name, request, _),) = chance.choices(choices, weights)
            began = time.perf_counter()
            try:
                if connection is None:
                    _, connection = await loop.create_connection(
                        Connection, address.hostname or "", address.port or 80
                    )
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    status = await connection.ask(request)
            except (OSError, TimeoutError) as error:
                status = type(error).__name__
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(0.01)
            yield name, began, time.perf_counter(), status
    finally:
        if connection is not None:
            connection.close()


async def measure(
    url: str,
    groups: Mapping[str, Group],
    seconds: float,
    warm_up: float,
    headers: Mapping[str, str],
) -> dict[str, Any]:
    """Sends the load; the figures of every body, by group and file.

    Args:
        url: of the service, with the path.
        groups: by name.
        seconds: that are measured.
        warm_up: seconds of the same load before.
        headers: of every request.
    """
    address = urlsplit(url)
    begin = time.perf_counter() + warm_up
    found: dict[str, Found] = {}

    async def go(name: str, group: Group, seed: int) -> None:
        choices = [
            (f"{name}/{path.stem}", request_bytes(address, path.read_bytes(), headers), share)
            for path, share in group.bodies.items()
        ]
        for label, _, _ in choices:
            found.setdefault(label, Found())
        async for label, began, ended, status in _client(address, choices, random.Random(seed)):
            if not begin <= ended < begin + seconds:
                continue
            if status == "200":
                found[label].milliseconds.append(1e3 * (ended - began))
            else:
                found[label].failures[status] += 1

    tasks = [
        asyncio.create_task(go(name, group, seed))
        for name, group in groups.items()
        for seed in range(group.clients)
    ]
    await asyncio.wait(tasks, timeout=warm_up + seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
    return {label: each.summary(seconds) for label, each in found.items()}


def load(
    url: str, groups: Mapping[str, Group], seconds: float, *, warm_up: float = 1.0, cpu: int | None
) -> dict[str, Any]:
    """The same from a process of its own.

    Args:
        url: of the service, with the path.
        groups: by name.
        seconds: that are measured.
        warm_up: seconds of the same load before.
        cpu: where the process runs; None: anywhere.
    """
    command = [sys.executable, "-m", "benchmarks.load_generator", url, "--json"]
    for name, group in groups.items():
        bodies = ",".join(f"{path}={share}" for path, share in group.bodies.items())
        command += ["--group", name, str(group.clients), bodies]
    command += ["--seconds", str(seconds), "--warm-up", str(warm_up)]
    command += [] if cpu is None else ["--cpu", str(cpu)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _group(clients: str, bodies: str) -> Group:
    named = [each.rpartition("=") if "=" in each else (each, "", "1") for each in bodies.split(",")]
    return Group(int(clients), {Path(path): float(share) for path, _, share in named})


def main() -> None:
    """Sends the load, prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument(
        "--group", nargs=3, action="append", required=True, metavar=("NAME", "CLIENTS", "BODY")
    )
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    groups = {name: _group(clients, bodies) for name, clients, bodies in arguments.group}
    headers = dict(each.split(":", 1) for each in arguments.header)
    figures = uvloop.run(
        measure(arguments.url, groups, arguments.seconds, arguments.warm_up, headers)
    )
    if arguments.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for label, each in figures.items():
        sys.stdout.write(f"{label}: {json.dumps(each)}\n")


if __name__ == "__main__":
    main()
