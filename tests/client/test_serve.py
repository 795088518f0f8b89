"""`isslim serve` as a process: its address is its answer, and Ctrl-C ends both of its parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from isslim.client.api import Client
from isslim.demo.ports import free_port
from tests.service.served import wait_for


def test_address_is_all_of_stdout(tmp_path: Path) -> None:
    port = free_port()
    options = ["--json", "--port", str(port), "--home", str(tmp_path / "home")]
    serving = subprocess.Popen(
        [sys.executable, "-m", "isslim.client", "serve", *options],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Client(f"http://127.0.0.1:{port}") as client:
        wait_for(client)
    serving.send_signal(signal.SIGINT)
    answer, told = serving.communicate(timeout=60)
    assert json.loads(answer) == {"url": f"http://127.0.0.1:{port}"}
    assert "Traceback" not in told
    assert serving.returncode == 0
    with Client(f"http://127.0.0.1:{port}") as client:
        assert not client.ready()
