"""Streams of text over a real connection: who leaves, who reads slowly, who waits beside them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.service_overhead import memory
from tests.conftest import Published
from tests.service.served import served
from tests.service.test_endless import begun
from tests.service.test_routes import problem

LONG: dict[str, Any] = {
    "model": "tiny",
    "prompt": "the",
    "variants": ["original"],
    "max_tokens": 10_000_000,
    "stream": True,
}
SCORE = {"model": "tiny", "texts": ["the cat"]}
LIMITS = {
    "ISS_GENERATED_LIMIT": "10000000",
    "ISS_ENTRIES_LIMIT": "10000000",
    "ISS_RUNS_AT_ONCE": "2",
}


@pytest.fixture(scope="module")
def service(published: Published) -> Iterator[served]:
    made = served(published.settings.home, LIMITS)
    with made:
        httpx.post(f"{made.url}/generate", json=LONG | {"max_tokens": 2, "stream": False})
        yield made


def pending(url: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    (found,) = [line for line in lines if line.startswith("isslim_inference_pending ")]
    return float(found.split()[1])


def idle(url: str, seconds: float) -> bool:
    """Whether nothing runs or waits any more, within a time."""
    limit = time.monotonic() + seconds
    while pending(url) > 0:
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def some(sender: socket.socket) -> bytes:
    return sender.recv(4000)


def test_text_ends_when_its_sender_leaves(service: served) -> None:
    for path, body in (("/generate", LONG), ("/generate", LONG | {"stream": False})):
        sender = begun(service.url, path, body)
        if body["stream"]:
            assert b"200 OK" in some(sender)
        time.sleep(0.5)
        assert pending(service.url) == 1
        sender.close()
        assert idle(service.url, 1)


def test_many_streams_share_and_half_of_them_leave(service: served) -> None:
    senders = [begun(service.url, "/generate", LONG) for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        finite = LONG | {"max_tokens": 50}
        others = [
            threads.submit(httpx.post, f"{service.url}/generate", json=finite, timeout=30)
            for _ in range(20)
        ]
        for sender in senders:
            assert some(sender)
            sender.close()
        texts = [each.result().text for each in others]
    assert all(text.count("event: token") == 50 for text in texts)
    assert idle(service.url, 1)


@pytest.mark.slow
def test_others_are_answered_beside_more_streams_than_may_run(service: served) -> None:
    finite = LONG | {"max_tokens": 1000}
    with ThreadPoolExecutor(12) as threads:
        streams = [
            threads.submit(httpx.post, f"{service.url}/generate", json=finite, timeout=60)
            for _ in range(12)
        ]
        time.sleep(0.5)
        answered = 0
        while not all(each.done() for each in streams):
            assert httpx.post(f"{service.url}/score", json=SCORE, timeout=5).status_code == 200
            answered += 1
        assert answered >= 3
        for each in streams:
            assert each.result().text.count("event: token") == 1000


def test_reader_that_does_not_read_holds_no_memory_and_no_turn(service: served) -> None:
    pid = service.process.pid
    before = memory(pid, "VmRSS")
    sender = begun(service.url, "/generate", LONG | {"log_probs": 50, "max_tokens": 100_000})
    limit = time.monotonic() + 20
    while True:
        assert time.monotonic() < limit
        used = cpu_seconds(pid)
        time.sleep(0.3)
        if cpu_seconds(pid) - used < 0.03:
            break  # all buffers of the connection are full: it waits for its reader
    assert pending(service.url) == 1
    assert memory(pid, "VmRSS") - before < 16 << 20
    sender.close()
    assert idle(service.url, 1)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.slow
def test_deadline_is_a_problem_in_the_stream_or_instead_of_an_answer(
    published: Published,
) -> None:
    with served(published.settings.home, LIMITS | {"ISS_GENERATE_SECONDS": "1"}) as url:
        text = httpx.post(f"{url}/generate", json=LONG, timeout=30).text
        *_, name, data = text.strip().split("\n")
        assert name == "event: problem"
        found = json.loads(data.removeprefix("data: "))
        assert (found["type"], found["status"]) == ("deadline-exceeded", 504)
        assert "ISS_GENERATE_SECONDS" in found["detail"]
        whole = httpx.post(f"{url}/generate", json=LONG | {"stream": False}, timeout=30)
        problem(whole, 504, "deadline-exceeded")
        assert idle(url, 1)
