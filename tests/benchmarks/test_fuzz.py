"""Fuzzing: damaged files and requests are refused, and each fault that it looks for is found."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from benchmarks.fuzz.__main__ import uploads_left
from benchmarks.fuzz.bodies import Fault, Requests, requests_to
from benchmarks.fuzz.running import Cases, Plan, Result, children_left, fuzzed
from benchmarks.fuzz.targets import Target, file_targets
from benchmarks.soak.models import first_models
from tests.conftest import Published


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files of its own."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path / "temporary")
    Path(tempfile.tempdir).mkdir()
    yield Path(tempfile.tempdir)
    tempfile.tempdir = before


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_by_name(temporary: Path, tmp_path: Path) -> None:
    cases = Cases(file_targets(tmp_path / "good"), None, tmp_path / "case")
    said = cases.run(range(1_000_000, 1_000_250), [0.0, 0.0])
    assert said["faults"] == []
    assert 0 < said["accepted"] < 125  # most are damaged, and some not enough
    assert said["files_left"] == 0


# A form that ends within a file leaves that to the collector of garbage, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_requests_are_refused_by_name(published: Published) -> None:
    with requests_to(published.settings.home) as requests:
        found = [requests.send(Random(number)) for number in range(40)]
    assert not all(found)
    assert uploads_left(published.settings.home) == set()


def test_a_reader_that_raises_or_leaves_a_file_is_found(temporary: Path, tmp_path: Path) -> None:
    def read(path: Path) -> None:
        if path.read_bytes().endswith(b"?"):
            raise KeyError("seen")
        tempfile.mkstemp()

    target = Target("own", (b"good?", b"good."), read)
    said = Cases([target], None, tmp_path / "case").run(range(60), [0.0, 0.0])
    assert {fault["what"] for fault in said["faults"]} == {"KeyError: 'seen'"}
    assert 0 < len(said["faults"]) < 60
    assert said["files_left"] > 0
    result = Result()
    assert result.is_clean
    result.add(said)
    assert not result.is_clean


def test_processes_are_counted_while_threads_end() -> None:
    ended = threading.Event()

    def begin_others() -> None:
        while not ended.is_set():
            threading.Thread(target=time.sleep, args=(0.0005,)).start()

    before = children_left()
    with subprocess.Popen(["sleep", "60"]) as process, ThreadPoolExecutor(1) as pool:
        pool.submit(begin_others)
        try:
            assert {children_left() - before for _ in range(300)} == {1}
        finally:
            ended.set()
            process.kill()


def test_answers_that_no_request_may_get_are_found() -> None:
    answers: list[Response] = []
    app = FastAPI()

    @app.middleware("http")
    async def answered(*_: object) -> Response:
        return answers[0]

    requests = Requests(TestClient(app))
    for answer, words in (
        (Response("no", 500), "500"),
        (Response("no", 422, media_type="text/plain"), "as text/plain"),
        (Response("9" * 70_000, 422, media_type="application/problem+json"), "70,000 bytes"),
    ):
        answers[:] = [answer]
        with pytest.raises(Fault, match=words):
            requests.send(Random(1))
    answers[:] = [Response("{}", 422, media_type="application/problem+json")]
    assert not requests.send(Random(1))
    answers[:] = [Response("{}", 503, media_type="application/problem+json")]
    assert not requests.send(Random(1))


def ends_badly(
    cases: range, home: Path, folder: Path, current: Any, connection: Connection
) -> None:
    """A process that dies at case 3 and hangs at case 5."""
    for case in cases:
        current[0], current[1] = float(case), time.monotonic()
        if case == 3:
            os._exit(9)
        if case == 5:
            time.sleep(60)
    said = dict.fromkeys(("accepted", "files_left", "descriptors_left", "children_left"), 0)
    connection.send(
        said | {"cases": len(cases), "faults": [], "slowest_seconds": 0.0, "grown_mb": 0.0}
    )


@pytest.mark.slow
def test_a_case_that_dies_or_hangs_is_found_and_the_others_go_on(tmp_path: Path) -> None:
    found = fuzzed(tmp_path, Plan(0, 10, 1, seconds=1, work=ends_badly))
    assert [(fault["case"], fault["what"]) for fault in found.faults] == [
        (3, "its process ended with 9"),
        (5, "it took longer than allowed"),
    ]
    assert found.cases == 4  # those behind; what a process did that died is not known


@pytest.mark.slow
def test_twenty_thousand_damaged_files_and_requests(tmp_path: Path) -> None:
    first_models(tmp_path)
    found = fuzzed(tmp_path, Plan(0, 20_000, 2))
    assert found.faults == []
    assert found.is_clean
    assert found.cases == 20_000
    assert uploads_left(tmp_path) == set()
