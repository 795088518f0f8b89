"""The service ends within seconds when it is asked to, whoever is connected."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx

from tests.service.served import served


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def follower(url: str) -> socket.socket:
    """Follows a job that no worker ever begins; its first event has come."""
    job = httpx.post(f"{url}/compress", files={"model": ("m.pt", b"xyz")}).json()
    sender = connected(url)
    sender.sendall(f"GET /jobs/{job['id']}/events HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    received = b""
    while b"event: job" not in received:
        received += sender.recv(1 << 16)
    return sender


def stalled_upload(url: str) -> socket.socket:
    """Has sent the beginning of a file, and sends no more."""
    sender = connected(url)
    form = b'--b\r\nContent-Disposition: form-data; name="model"; filename="m.pt"\r\n\r\n'
    head = "POST /compress HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=b\r\n"
    sender.sendall(f"{head}content-length: 3000000\r\n\r\n".encode() + form + bytes(2_000_000))
    time.sleep(0.2)
    return sender


def seconds_to_end(service: served, sent: signal.Signals) -> float:
    began = time.monotonic()
    service.process.send_signal(sent)
    service.process.wait(timeout=20)
    return time.monotonic() - began


def test_followers_of_jobs_are_let_go_of_at_once(tmp_path: Path) -> None:
    service = served(tmp_path, {"ISS_SHUTDOWN_SECONDS": "19"})
    with service as url:
        followers = [follower(url) for _ in range(3)]
        assert seconds_to_end(service, signal.SIGTERM) < 6
        for each in followers:
            each.close()


def test_upload_that_has_stalled_is_given_up(tmp_path: Path) -> None:
    for sent in (signal.SIGTERM, signal.SIGINT):
        service = served(tmp_path, {"ISS_SHUTDOWN_SECONDS": "1"})
        with service as url:
            sender = stalled_upload(url)
            assert seconds_to_end(service, sent) < 6
            sender.close()
        assert list((tmp_path / "arriving").iterdir()) == []
        assert list((tmp_path / "artifacts" / "uploads").glob("*")) == []


def test_service_that_has_nothing_to_do_ends_at_once(tmp_path: Path) -> None:
    service = served(tmp_path, {})
    with service:
        assert seconds_to_end(service, signal.SIGTERM) < 4
