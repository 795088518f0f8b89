"""The comparison with other servers: real processes, checked answers, and those that cannot."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.peers.environments import Environment
from benchmarks.serving_peers import __main__ as command
from benchmarks.serving_peers.contestants import PEERS, SCORE, TENSORS, Peer
from benchmarks.serving_peers.measuring import NotCompared, Task, joined, task_of
from benchmarks.serving_peers.processes import ROOT, alone, cpu_seconds, family, memory_mb, started
from tests.conftest import Published

FASTAPI = PEERS[0]
HERE = Environment(Path(sys.executable), {"fastapi": version("fastapi")})


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(scope="module")
def task(published: Published) -> Task:
    return task_of(published.settings.home, "compressed")


def running(*command: str) -> Callable[[Path, Path, int, int], list[str]]:
    return lambda *_: list(command)


@pytest.mark.slow
def test_every_server_has_a_row_for_each_number_of_clients(
    published: Published, tmp_path: Path
) -> None:
    broken = replace(FASTAPI, name="broken", command=running("/bin/false"))
    how = ([1, 3], 0.3, 1)
    figures = command.compared(
        [(FASTAPI, HERE), (broken, HERE)], published.settings.home, "compressed", tmp_path, how
    )
    rows = figures["peers"]
    names = (SCORE, TENSORS, "FastAPI")
    assert [(row["peer"], row["clients"]) for row in rows] == [
        (name, clients) for clients in (1, 3) for name in names
    ]
    for row in rows:
        assert row["failures"] == 0
        assert row["requests_per_second"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert 20 < row["memory_mb"] < 2000
        assert row["cpu_ms"] >= 0
        ours = next(
            each for each in rows if (each["peer"], each["clients"]) == (SCORE, row["clients"])
        )
        ratio = row["requests_per_second"] / ours["requests_per_second"]
        assert row["ratio_of_ours"] == pytest.approx(ratio)
    assert rows[2]["version"] == version("fastapi")
    assert list(figures["skipped"]) == ["broken"]
    json.dumps(figures)
    printed = io.StringIO()
    Console(file=printed, width=200).print(command.table(figures))
    last = next(line for line in printed.getvalue().splitlines()[::-1] if "FastAPI" in line)
    assert [cell.strip() for cell in last.split("│")[6:9]] == [
        f"{rows[-1][figure]:,.1f}" for figure in ("p99_ms", "cpu_ms", "memory_mb")
    ]


def test_a_server_with_other_answers_does_not_take_part(
    task: Task, tmp_path: Path, stack: ExitStack
) -> None:
    other = replace(task, graph=task.graph.with_name("original.onnx"))
    with pytest.raises(NotCompared, match=r"it answers \[-.*, the runtime \[-"):
        joined(FASTAPI, HERE, other, tmp_path, stack)


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        (replace(FASTAPI, command=running("/bin/sh", "-c", "echo why")), "not start: why"),
        (
            replace(FASTAPI, door=replace(FASTAPI.door, body=lambda ids: {"token_ids": [ids]})),
            "it answers 422",
        ),
    ],
)
def test_a_server_that_cannot_says_why(peer: Peer, why: str, task: Task, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(NotCompared, match=why):
        joined(peer, HERE, task, tmp_path, stack)


def test_an_int8_graph_is_run_a_request_at_a_time(published: Published) -> None:
    assert task_of(published.settings.home, "compressed-int8").batch == 1


def test_a_family_of_processes_ends_with_its_block(tmp_path: Path) -> None:
    line = "sleep 60 & sleep 60 & while true; do true; done"
    with started(["/bin/sh", "-c", line], {}, tmp_path / "log") as process:
        until = time.monotonic() + 10
        while len(family(process.pid)) < 3:
            assert time.monotonic() < until
        members = family(process.pid)
        assert memory_mb(process.pid) > 0
        with alone(process.pid):
            time.sleep(0.1)
        stopped = cpu_seconds(process.pid)
        time.sleep(0.3)
        assert cpu_seconds(process.pid) == pytest.approx(stopped, abs=0.02)
        with alone(process.pid):
            while cpu_seconds(process.pid) < stopped + 0.05:
                assert time.monotonic() < until
    assert process.returncode == -signal.SIGTERM
    for each in members:
        found = subprocess.run(["ps", "-o", "stat=", "-p", str(each)], capture_output=True)
        assert found.stdout.decode().strip()[:1] in ("", "Z")


def test_table_of_the_page_is_as_its_record_says() -> None:
    record = json.loads((ROOT / "benchmarks/records/serving_peers.json").read_text())
    assert record["skipped"] == {}
    assert sum(row["failures"] for row in record["peers"]) == 0
    page = (ROOT / "docs/benchmarks.md").read_text().splitlines()
    made = command.lines(record)
    assert len(made) == 2 + len(PEERS)
    for line in made:
        assert line in page
