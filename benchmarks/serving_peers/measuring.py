"""Servers that run side by side: each is checked once, then all are measured in turn."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import isslim
from benchmarks.load_generator import Group, load
from benchmarks.loopback import serving
from benchmarks.peers.environments import Environment
from benchmarks.serving_load import opened
from benchmarks.serving_peers.contestants import SCORE, TENSORS, Door, Ids, Peer, our_doors
from benchmarks.serving_peers.processes import alone, cpu_seconds, memory_mb, send, started
from benchmarks.serving_peers.scoring_graph import BATCH, GRAPH, PORT, START
from isslim.demo.ports import free_port
from isslim.runtime.language.scoring import score_batch

Row = dict[str, Any]
TEXTS, WORDS, MOST_BATCHED = 16, 30, 64
FIGURES = ("requests_per_second", "p50_ms", "p99_ms", "cpu_ms", "memory_mb")
START_SECONDS, WARM_UP_SECONDS, PAUSE_SECONDS, DRAIN_SECONDS = 120.0, 1.0, 0.2, 1.0
TOLERANCE = 1e-5
"""Of log-probabilities near -9.2: ten of the smallest steps that float32 has there."""


class NotCompared(Exception):
    """A server cannot take part; the message is why."""


@dataclass(frozen=True)
class Task:
    """What every server is asked.

    Attributes:
        model: id.
        texts: token ids of each.
        log_probs: of their tokens, by the runtime.
        start: id of the token before a text.
        widths: of the graph's states, by name.
        graph: its file.
        batch: the most texts that a peer may run together; int8 scales span a run, so that there
            it is one.
    """

    model: str
    texts: list[Ids]
    log_probs: list[list[float]]
    start: int
    widths: dict[str, int]
    graph: Path
    batch: int


@dataclass(frozen=True)
class Running:
    """A server that answers as it should.

    Attributes:
        version: of its package.
        pid: of its first process.
        url: with the path.
        bodies: files of the requests, with the weight of each.
    """

    version: str
    pid: int
    url: str
    bodies: Mapping[Path, float]


def task_of(home: Path, variant: str) -> Task:
    """Texts of random words of a home's only model, and the runtime's answers.

    Args:
        home: of the service.
        variant: of the model.
    """
    model = opened(home)
    session, start = model.session(variant), model.codec.start_id
    if start is None:
        raise ValueError("the model has no start token")
    texts = np.random.default_rng(0).integers(2, session.vocabulary, (TEXTS, WORDS)).tolist()
    return Task(
        model=model.id,
        texts=texts,
        log_probs=[score_batch(session, [ids], start)[0].log_probs.tolist() for ids in texts],
        start=start,
        widths={name: array.shape[-1] for name, array in session.zero_state(1).items()},
        graph=model.path(variant),
        batch=1 if variant.endswith("int8") else MOST_BATCHED,
    )


@contextmanager
def pinned() -> Iterator[int]:
    """What is started within the block runs on one processor; its value is another one."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield max(allowed)
    finally:
        os.sched_setaffinity(0, allowed)


def ours(home: Path, variant: str, task: Task, work: Path, stack: ExitStack) -> dict[str, Running]:
    """Both paths of our service, by name.

    Args:
        home: with one model.
        variant: of the model.
        task: what is asked.
        work: for files.
        stack: ends the service.
    """
    url, pid = stack.enter_context(serving(home))
    stack.callback(send, pid, signal.SIGCONT)
    doors = our_doors(task.model, variant, task.start, task.widths)
    return {
        name: Running(isslim.__version__, pid, url + door.path, checked(url, door, task, made))
        for (name, door), made in zip(
            doors.items(), (_folder(work, name) for name in ("score", "tensors")), strict=True
        )
    }


def joined(peer: Peer, place: Environment, task: Task, work: Path, stack: ExitStack) -> Running:
    """A peer's server, started and checked.

    Args:
        peer: whose it is.
        place: its environment.
        task: what is asked.
        work: for files.
        stack: ends the server.

    Raises:
        NotCompared: when it does not start, or answers otherwise than the runtime.
    """
    port, made = free_port(), _folder(work, peer.name)
    variables = {
        GRAPH: str(task.graph),
        START: str(task.start),
        PORT: str(port),
        BATCH: str(task.batch),
    }
    command, log = peer.command(place.python, made, port, task.batch), made / "log.txt"
    with ExitStack() as own:
        process = own.enter_context(started(command, variables, log))
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, peer.door, task, process, log)
        bodies = checked(url, peer.door, task, made)
        stack.push(own.pop_all())
    return Running(place.versions[peer.package], process.pid, url + peer.door.path, bodies)


def _folder(work: Path, name: str) -> Path:
    made = work / name
    made.mkdir()
    return made


def _wait_for(
    url: str, door: Door, task: Task, process: subprocess.Popen[bytes], log: Path
) -> None:
    until, asked = time.monotonic() + START_SECONDS, door.body(task.texts[0])
    with httpx.Client(base_url=url, timeout=START_SECONDS) as client:
        while True:
            said = ""
            try:
                answer = client.post(door.path, json=asked)
                if answer.status_code == 200:
                    return
                said = f"; it answers {answer.status_code}: {answer.text[:200]}"
                if answer.status_code == 422:
                    raise NotCompared(said[2:])  # it will not read this later on either
            except httpx.TransportError:
                pass  # it does not listen yet
            if process.poll() is not None or time.monotonic() > until:
                last = " ".join(log.read_text().strip().splitlines()[-1:])
                raise NotCompared(f"it does not start: {last}{said}")
            time.sleep(PAUSE_SECONDS)


def checked(url: str, door: Door, task: Task, work: Path) -> dict[Path, float]:
    """The files of a server's requests, after its answers to all of them, asked for at once.

    Args:
        url: of the server.
        door: where it is asked.
        task: what is asked.
        work: for the files.

    Raises:
        NotCompared: when an answer is not the runtime's.
    """
    bodies = [json.dumps(door.body(ids)) for ids in task.texts]

    def asked(body: str) -> Any:
        with httpx.Client(base_url=url, timeout=START_SECONDS) as client:
            headers = {"content-type": "application/json"}
            answer = client.post(door.path, content=body, headers=headers)
        if answer.status_code != 200:
            raise NotCompared(f"it answers {answer.status_code}: {answer.text[:200]}")
        return answer.json()

    with ThreadPoolExecutor(len(bodies)) as threads:
        answers = [door.read(answer) for answer in threads.map(asked, bodies)]
    for found, expected in zip(answers, task.log_probs, strict=True):
        if np.shape(found) != np.shape(expected) or not np.allclose(
            found, expected, rtol=0, atol=TOLERANCE
        ):
            raise NotCompared(f"it answers {list(found)[:3]}..., the runtime {expected[:3]}...")
    # Of one name, so that the load generator's figures are of all of them together.
    files = {_folder(work, str(index)) / "text.json": 1.0 for index in range(len(bodies))}
    for path, body in zip(files, bodies, strict=True):
        path.write_text(body)
    return files


def measured(
    servers: Mapping[str, Running],
    clients: Sequence[int],
    seconds: float,
    repeats: int,
    load_cpu: int,
) -> list[Row]:
    """A row for each server and number of clients.

    Args:
        servers: by name, ours among them.
        clients: numbers of them.
        seconds: of each measurement.
        repeats: of each.
        load_cpu: where the load generator runs.
    """
    found: dict[tuple[str, int], list[Row]] = {}
    for each in servers.values():
        send(each.pid, signal.SIGSTOP)
    for _ in range(repeats):
        for number in clients:
            for name, server in servers.items():
                with alone(server.pid):
                    row = one(server, number, seconds, load_cpu)
                    # What the clients left behind is not to seem to take as long as the others do:
                    # BentoML learns from such times how long it waits for a batch.
                    time.sleep(DRAIN_SECONDS)
                found.setdefault((name, number), []).append(row)
    return [
        {
            "peer": name,
            "version": servers[name].version,
            "clients": number,
            **{figure: _median(row[figure] for row in rows) for figure in FIGURES},
            "failures": sum(row["failures"] for row in rows),
            "ratio_of_ours": _ratio(rows, found[SCORE, number]),
            "ratio_of_ours_v2": _ratio(rows, found[TENSORS, number]),
        }
        for (name, number), rows in found.items()
    ]


def one(server: Running, clients: int, seconds: float, load_cpu: int) -> Row:
    """One measurement; `cpu_ms` is the server's CPU time over the load, by answers.

    Args:
        server: that is asked.
        clients: how many.
        seconds: that are measured.
        load_cpu: where the load generator runs.
    """
    groups = {"clients": Group(clients, server.bodies)}
    before, warm_up = cpu_seconds(server.pid), min(WARM_UP_SECONDS, seconds)
    row: Row
    (row,) = load(server.url, groups, seconds, warm_up=warm_up, cpu=load_cpu).values()
    took, answers = cpu_seconds(server.pid) - before, row["answers"] * (1 + warm_up / seconds)
    return row | {
        "cpu_ms": 1e3 * took / answers if answers else None,
        "memory_mb": memory_mb(server.pid),
        "failures": sum(row["failures"].values()),
    }


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _ratio(rows: Sequence[Row], of_ours: Sequence[Row]) -> float | None:
    return _median(
        row["requests_per_second"] / our["requests_per_second"]
        for row, our in zip(rows, of_ours, strict=True)
        if our["requests_per_second"]
    )
