"""Runs that would never end: refused at their deadline while others go on, and nothing is left."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from isslim.runtime.graphs.recorded_inputs import SAMPLES, write_runs
from isslim.store.bundles import BundleStore
from isslim.store.folders import seal
from isslim.store.integrity import MANIFEST
from isslim.store.settings import StoreSettings
from tests.conftest import Published
from tests.runtime.graphs.test_subprocess_session import endless_loop
from tests.service.copies import publish_as
from tests.service.served import served
from tests.service.test_routes import problem

ENDLESS = {"inputs": {"count": 2**62, "x": [0.0]}, "variants": ["original"]}
SHORT = {"inputs": {"count": 3, "x": [0.0]}, "variants": ["original"]}
RUN, SCORE = "/models/endless/run", {"model": "tiny", "texts": ["the cat"]}


@pytest.fixture(scope="module")
def home(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a language model, `tiny`, and a graph that runs as long as it is asked to."""
    home = tmp_path_factory.mktemp("endless")
    bundle = BundleStore(published.settings).open(published.bundle_id)
    made = home / "made"
    shutil.copytree(bundle.folder, made)
    (made / MANIFEST).unlink()
    for variant in bundle.manifest.variants:
        endless_loop(made / variant.file)
    write_runs(made / SAMPLES, [{"count": np.array(2), "x": np.zeros(1, np.float32)}])
    graph = {"name": "endless", "task": "graph", "metric": "output_change"}
    seal(made, bundle.manifest.model_copy(update=graph))
    BundleStore(StoreSettings(home=home)).publish(made)
    publish_as("tiny", published, home / "tiny")
    shutil.copytree(
        home / "tiny" / "artifacts" / "bundles", home / "artifacts" / "bundles", dirs_exist_ok=True
    )
    return home


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home / "artifacts", tmp_path / "artifacts")
    return tmp_path


@pytest.fixture
def busy(copy: Path) -> Iterator[tuple[str, served, list[int]]]:
    """A service of one run at a time that is at an endless one: address, service, its children."""
    service = served(copy, {"ISS_RUNS_AT_ONCE": "1", "ISS_SHUTDOWN_SECONDS": "2"})
    with service as url:
        assert httpx.post(f"{url}{RUN}", json=SHORT, timeout=60).json()["variants"][0][
            "outputs"
        ] == {"y": [3.0]}
        sender = begun(url, RUN, ENDLESS)
        time.sleep(0.2)
        yield url, service, children(service.process.pid)
        sender.close()


def begun(url: str, path: str, body: object) -> socket.socket:
    """A request that was sent, and whose answer nobody waits for yet."""
    host, port = url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    sender = socket.create_connection((host, int(port)))
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    sender.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    return sender


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def gone(pids: list[int], seconds: float = 5) -> bool:
    """Whether all processes end in time."""
    limit = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def test_endless_runs_end_at_their_deadline_while_others_are_answered(copy: Path) -> None:
    limits = {"ISS_RUNS_AT_ONCE": "2", "ISS_RUN_SECONDS": "4"}
    with served(copy, limits) as url, ThreadPoolExecutor(2) as threads:
        assert httpx.post(f"{url}/score", json=SCORE, timeout=60).status_code == 200
        assert httpx.post(f"{url}{RUN}", json=SHORT, timeout=60).status_code == 200
        began = time.monotonic()
        stuck = [
            threads.submit(
                httpx.post, f"{url}{RUN}", json=ENDLESS | {"variants": [variant]}, timeout=60
            )
            for variant in ("original", "compressed")
        ]
        time.sleep(0.3)
        for _ in range(3):
            assert httpx.post(f"{url}/score", json=SCORE, timeout=3).status_code == 200
        assert not any(each.done() for each in stuck)
        for each in stuck:
            found = problem(each.result(timeout=30), 504, "deadline-exceeded")
            assert "ISS_RUN_SECONDS" in str(found["detail"])
        assert time.monotonic() - began < 20
        answer = httpx.post(f"{url}{RUN}", json=SHORT, timeout=60)
        assert answer.json()["variants"][0]["outputs"] == {"y": [3.0]}


@pytest.mark.slow
def test_run_whose_turn_does_not_come_is_refused_as_busy(copy: Path) -> None:
    with served(copy, {"ISS_RUN_SECONDS": "3"}) as url, ThreadPoolExecutor(2) as threads:
        assert httpx.post(f"{url}{RUN}", json=SHORT, timeout=60).status_code == 200
        first = threads.submit(httpx.post, f"{url}{RUN}", json=ENDLESS, timeout=60)
        time.sleep(0.3)
        limit = ENDLESS | {"inputs": {"count": 2**62, "x": [1.0]}}
        second = threads.submit(httpx.post, f"{url}{RUN}", json=limit, timeout=60)
        problem(first.result(timeout=30), 504, "deadline-exceeded")
        # It began when the first one ended, shortly before its own deadline, or not at all.
        assert second.result(timeout=30).status_code in (503, 504)


@pytest.mark.slow
def test_run_ends_when_its_sender_leaves(copy: Path) -> None:
    with served(copy, {"ISS_RUNS_AT_ONCE": "1"}) as service_url:
        assert httpx.post(f"{service_url}{RUN}", json=SHORT, timeout=60).status_code == 200
        for _ in range(2):
            sender = begun(service_url, RUN, ENDLESS)
            time.sleep(0.5)
            sender.close()
            # Behind it in the same lane: answered only when the endless one really has ended.
            answer = httpx.post(f"{service_url}{RUN}", json=SHORT, timeout=20)
            assert answer.json()["variants"][0]["outputs"] == {"y": [3.0]}
        metrics = httpx.get(f"{service_url}/metrics").text
        assert 'http_response_status_code="499",http_route="/models/{model}/run"' in metrics
        assert "isslim_inference_pending 0.0" in metrics


def test_model_can_be_deleted_while_it_runs(busy: tuple[str, served, list[int]]) -> None:
    url, _, before = busy
    assert httpx.delete(f"{url}/models/endless", timeout=5).status_code == 204
    assert gone(before)
    problem(httpx.post(f"{url}{RUN}", json=SHORT, timeout=10), 404, "not-found")
    assert httpx.post(f"{url}/score", json=SCORE, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_service_ends_in_seconds_although_a_run_does_not(
    busy: tuple[str, served, list[int]], sent: signal.Signals
) -> None:
    _, service, before = busy
    service.process.send_signal(sent)
    service.process.wait(timeout=10)
    assert gone(before)


@pytest.mark.slow
def test_service_that_is_killed_leaves_no_process_behind(
    busy: tuple[str, served, list[int]],
) -> None:
    _, service, before = busy
    assert before
    service.process.kill()
    service.process.wait(timeout=10)
    assert gone(before)
