"""The service as two processes on one port: one service to its clients, whatever happens."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from isslim.settings.cores import processors
from tests.conftest import Published
from tests.service.printed_metrics import Printed
from tests.service.served import served
from tests.service.test_shutdown import connected, follower

COUNT = "http_server_request_duration_seconds_count"
OK = 'http_response_status_code="200"'
ALIVE = f'{COUNT}{{http_request_method="GET",{OK},http_route="/health/live"}}'
ASK = {"model": "tiny", "texts": ["the cat sees the river"]}
COUNTED = f'{COUNT}{{http_request_method="POST",{OK},http_route="/score"}}'


@contextmanager
def two_processes(home: Path, **settings: str) -> Iterator[served]:
    limits = {"ISS_PROCESSES": "2", "ISS_LOG_LEVEL": "INFO", "OMP_NUM_THREADS": "1", **settings}
    service = served(home, limits, home / "log")
    with service:
        eventually(lambda: len(workers(service)) == 2)
        yield service


@pytest.fixture
def service(published: Published, tmp_path: Path) -> Iterator[served]:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    with two_processes(home) as made:
        yield made


def workers(service: served) -> set[int]:
    """The ids of the processes that serve."""
    begun = re.findall(r"process (\d+) serves", service.log.read_text())
    return {int(pid) for pid in begun if Path(f"/proc/{pid}").exists()}


def eventually(is_so: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.1)


def metric(url: str, name: str) -> float:
    printed = httpx.get(f"{url}/metrics").text
    found = re.search(rf"^{re.escape(name)} (.*)$", printed, re.MULTILINE)
    return float(found[1]) if found else 0.0


class Trickle:
    """Requests one after another, on a connection that is kept and on new ones.

    Attributes:
        statuses: of all answers.
        failures: of requests without one.
    """

    def __init__(self, url: str) -> None:
        self.statuses, self.failures = list[int](), list[str]()
        self._url, self._ending = url, threading.Event()
        self._threads = [threading.Thread(target=self._kept), threading.Thread(target=self._new)]

    def __enter__(self) -> Trickle:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _kept(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            self._ask(client.post)

    def _new(self) -> None:
        def post(path: str, json: object) -> httpx.Response:
            return httpx.post(self._url + path, json=json, timeout=60)

        self._ask(post)

    def _ask(self, post: Callable[..., httpx.Response]) -> None:
        while not self._ending.wait(0.02):
            try:
                self.statuses.append(post("/score", json=ASK).status_code)
            except httpx.HTTPError as error:
                self.failures.append(repr(error))


@pytest.mark.slow
def test_process_that_was_stopped_is_replaced(tmp_path: Path) -> None:
    with two_processes(tmp_path, ISS_HANG_SECONDS="3") as service:
        stopped = workers(service).pop()
        os.kill(stopped, signal.SIGSTOP)
        eventually(lambda: stopped not in workers(service) and len(workers(service)) == 2)
        assert "does not go on, for 3 s: killed" in service.log.read_text()
        for _ in range(10):  # on new connections, which go to any process
            assert httpx.get(f"{service.url}/health/live", timeout=10).status_code == 200


@pytest.mark.slow
def test_killed_process_is_replaced_and_its_counts_are_kept(tmp_path: Path) -> None:
    with two_processes(tmp_path) as service:
        asked = metric(service.url, ALIVE)
        killed = workers(service).pop()
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in workers(service))
        limit = time.monotonic() + 60
        while len(workers(service)) < 2:
            assert httpx.get(f"{service.url}/health/live", timeout=60).status_code == 200
            asked += 1
            assert time.monotonic() < limit
        assert {metric(service.url, ALIVE) for _ in range(6)} == {asked}
        assert metric(service.url, 'isslim_jobs{state="queued"}') == 0
        found = Printed(httpx.get(f"{service.url}/metrics").text)
        pids = workers(service)
        assert len(found.values("process_cpu_seconds_total")) == len(pids) == 2
        assert all(found.value("process_open_fds", pid=str(pid)) > 0 for pid in pids)
        assert found.value("isslim_build_info") == found.value("python_info") == 1
        assert found.value("isslim_inference_limit") == 64 + max(2, processors())
        assert len(found.values("python_gc_collections_total")) == 3
    assert service.process.returncode == -signal.SIGTERM


@pytest.mark.slow
def test_two_processes_are_one_service(service: served) -> None:
    url = service.url

    def asked(index: int) -> int:
        return httpx.post(f"{url}/score", json=ASK, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:  # until both have answered, and so have the model
        count = 0
        while metric(url, "isslim_models_loaded") < 2:
            assert set(pool.map(asked, range(32))) == {200}
            count += 32
            assert count < 32 * 60
            time.sleep(0.3)
    assert {metric(url, COUNTED) for _ in range(6)} == {count}
    runs = sum(
        each["inference_stats"]["success"]["count"]
        for each in httpx.get(f"{url}/v2/models/stats").json()["model_stats"]
        if each["version"] == "original"
    )
    assert runs == count

    assert httpx.post(f"{url}/v2/repository/models/tiny/unload").status_code == 200
    eventually(lambda: metric(url, "isslim_models_loaded") == 0, 10)
    assert metric(url, "isslim_models_loaded_bytes") == 0

    latency = f"{url}/models/tiny/latency"
    with ThreadPoolExecutor(4) as pool:
        measured = [pool.submit(httpx.get, latency, timeout=60) for _ in range(4)]
        assert {each.result().status_code for each in measured} == {200}
    eventually(lambda: all(httpx.get(latency).json()["cached"] for _ in range(8)), 5)


@pytest.mark.slow
def test_restart_one_by_one_fails_no_request(service: served) -> None:
    before = workers(service)
    with Trickle(service.url) as trickle:
        service.process.send_signal(signal.SIGHUP)
        fewest = 2
        limit = time.monotonic() + 90
        while (found := workers(service)) & before or len(found) < 2:
            fewest = min(fewest, len(found))
            assert time.monotonic() < limit
            time.sleep(0.05)
        time.sleep(0.5)
    assert fewest == 2
    assert trickle.failures == []
    assert set(trickle.statuses) == {200}
    assert len(trickle.statuses) > 50


@pytest.mark.slow
def test_accepted_requests_are_answered_after_sigterm(service: served) -> None:
    body = b'{"model": "tiny", "texts": ["the cat sees the river"]}'
    head = (
        "POST /score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    with follower(service.url) as following:
        half_sent = [connected(service.url) for _ in range(8)]
        for each in half_sent:
            each.sendall(head + body[:20])
        time.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(2.0)  # each process is told, and closes what it has
        with pytest.raises(ConnectionRefusedError):
            connect_again_and_again(service.url)
        for each in half_sent:
            each.sendall(body[20:])
            answer = all_of(each)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
            each.close()
        all_of(following)
    assert service.process.wait(timeout=20) == -signal.SIGTERM


def connect_again_and_again(url: str) -> None:
    """For five seconds: on a busy host a signal is heeded later."""
    for _ in range(50):
        connected(url).close()
        time.sleep(0.1)


def all_of(sender: socket.socket) -> bytes:
    """What is received until the connection ends."""
    received = b""
    while part := sender.recv(1 << 16):
        received += part
    return received


def test_port_in_use_ends_the_service(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "isslim.service"],
            env=os.environ | {"ISS_PROCESSES": "2", "ISS_PORT": port, "ISS_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 3
    assert "address already in use" in ended.stderr
