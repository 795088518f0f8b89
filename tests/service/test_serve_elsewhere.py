"""`isslim serve` in a folder of the user's own modules, named as ours or as libraries are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from isslim.client.api import Client
from isslim.demo.ports import free_port
from tests.conftest import Published
from tests.service.served import wait_for

OWN = ("store.py", "service/__init__.py", "client.py", "runtime.py", "compress.py", "numpy.py")
OWN += ("types.py", "isslim_plugins.py", "uvicorn.py", "onnxruntime.py")


@pytest.mark.slow
def test_own_modules_of_the_folder_are_not_run(published: Published, tmp_path: Path) -> None:
    folder, home, port = tmp_path / "project", tmp_path / "home", free_port()
    for name in OWN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"raise RuntimeError('the project\\'s own {name} was run')\n")
    shutil.copytree(published.settings.home / "artifacts", home / "artifacts")
    command = [sys.executable, "-P", "-m", "isslim.client", "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--home", str(home)], cwd=folder, stdout=subprocess.DEVNULL
    )
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(client)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            answer = http.post("/score", json={"model": "tiny", "texts": ["the cat"]})
            assert answer.status_code == 200, answer.text
            # Looked at by the worker's child, which imports torch and numpy.
            upload = {"model": ("m.pt", b"no model")}
            limit = time.monotonic() + 60
            while (looked := http.post("/inspect", files=upload)).status_code in (202, 503):
                assert time.monotonic() < limit, looked.text
                time.sleep(0.2)
            assert looked.json()["understood"] is False
            assert looked.json()["problem"]["kind"] == "unreadable-upload"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)


def children_of(pid: int) -> dict[str, int]:
    """The processes that a process started, by the module that each runs."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = {
        int(each): Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0") for each in found
    }
    return {words[3].decode(): child for child, words in commands.items()}


def test_a_service_that_is_killed_ends_the_command_with_a_reason(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-P", "-m", "isslim.client", "serve", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--home", str(tmp_path / "home")], stderr=subprocess.PIPE, text=True
    )
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(client)
        os.kill(children_of(process.pid)["isslim.service"], signal.SIGKILL)
        _, printed = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.terminate()
    assert process.returncode == 1
    assert "the service was killed by signal 9; ending both" in printed
