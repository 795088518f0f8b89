"""The service ends within seconds when it is asked to, whoever is connected."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import Published
from tests.service.served import served


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def follower(url: str) -> socket.socket:
    """Follows a job that no worker ever begins; its first event has come."""
    job = httpx.post(f"{url}/compress", files={"model": ("m.pt", b"xyz")}).json()
    sender = connected(url)
    sender.sendall(f"GET /jobs/{job['id']}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    received = b""
    while b"event: job" not in received:
        received += sender.recv(1 << 16)
    return sender


def stalled_upload(url: str) -> socket.socket:
    """Has sent the beginning of a file, and sends no more."""
    sender = connected(url)
    form = b'--b\r\nContent-Disposition: form-data; name="model"; filename="m.pt"\r\n\r\n'
    kind = "content-type: multipart/form-data; boundary=b\r\ncontent-length: 3000000\r\n\r\n"
    head = f"POST /compress HTTP/1.1\r\nhost: localhost\r\n{kind}"
    sender.sendall(head.encode() + form + bytes(2_000_000))
    time.sleep(0.2)
    return sender


def asked(url: str, body: dict[str, object]) -> socket.socket:
    """A `/score` whose answer is not read."""
    sender, content = connected(url), json.dumps(body, separators=(",", ":")).encode()
    sender.settimeout(60)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = "POST /score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    sender.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    return sender


def seconds_to_end(service: served, sent: signal.Signals) -> float:
    began = time.monotonic()
    service.process.send_signal(sent)
    service.process.wait(timeout=20)
    return time.monotonic() - began


@pytest.mark.slow
def test_followers_of_jobs_are_let_go_of_at_once(tmp_path: Path) -> None:
    service = served(tmp_path, {"ISS_SHUTDOWN_SECONDS": "19"})
    with service as url:
        followers = [follower(url) for _ in range(3)]
        assert seconds_to_end(service, signal.SIGTERM) < 6
        for each in followers:
            each.close()


@pytest.mark.slow
def test_upload_that_has_stalled_is_given_up(tmp_path: Path) -> None:
    for sent in (signal.SIGTERM, signal.SIGINT):
        service = served(tmp_path, {"ISS_SHUTDOWN_SECONDS": "1"})
        with service as url:
            sender = stalled_upload(url)
            assert seconds_to_end(service, sent) < 6
            sender.close()
        assert list((tmp_path / "arriving").iterdir()) == []
        assert list((tmp_path / "artifacts" / "uploads").glob("*")) == []


@pytest.mark.slow
def test_service_ends_beside_a_long_run_and_an_answer_that_nobody_reads(
    published: Published,
) -> None:
    limits = {"ISS_SHUTDOWN_SECONDS": "1", "ISS_TOKENS_LIMIT": "4000000"}
    service = served(published.settings.home, limits)
    with service as url:
        unread = {"model": "tiny", "token_ids": [[3] * 9_000], "per_token": True, "top_k": 9}
        reader = asked(url, {**unread, "variants": ["original"]})
        assert reader.recv(12) == b"HTTP/1.1 200"
        long = asked(url, {"model": "tiny", "token_ids": [[3] * 3_900_000]})
        limit = time.monotonic() + 20
        while "isslim_inference_pending 1.0" not in httpx.get(f"{url}/metrics").text:
            assert time.monotonic() < limit
        assert seconds_to_end(service, signal.SIGTERM) < 6
        for each in (reader, long):
            each.close()


def test_service_that_has_nothing_to_do_ends_at_once(tmp_path: Path) -> None:
    service = served(tmp_path, {})
    with service:
        assert seconds_to_end(service, signal.SIGTERM) < 4
