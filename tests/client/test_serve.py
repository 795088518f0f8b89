"""`isslim serve` as a process: its address is its answer, and Ctrl-C ends both of its parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from isslim.client.api import Client
from isslim.demo.ports import free_port
from tests.service.served import wait_for
from tests.terminal import Terminal


def test_address_is_all_of_stdout_and_people_read_what_happens(tmp_path: Path) -> None:
    port = free_port()
    options = ["--json", "--port", str(port), "--home", str(tmp_path / "home")]
    with Terminal() as screen:
        serving = subprocess.Popen(
            [sys.executable, "-m", "isslim.client", "serve", *options],
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=screen.writing,
            text=True,
        )
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(client)
        files = {"model": ("model.pt", b"no model")}
        job = httpx.post(f"http://127.0.0.1:{port}/compress", files=files).json()["id"]
        serving.send_signal(signal.SIGINT)
        answer, _ = serving.communicate(timeout=60)
        told = screen.shown()
    assert json.loads(answer) == {"url": f"http://127.0.0.1:{port}"}
    assert "Traceback" not in told
    assert f"service.jobs: job queued job_id={job}" in told
    assert not any(line.startswith("{") for line in told.splitlines())
    assert serving.returncode == 0
    with Client(f"http://127.0.0.1:{port}") as client:
        assert not client.ready()
