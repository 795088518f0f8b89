"""Ctrl-C while a command waits for a job: the job goes on, and the command says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isslim.client.api import Client
from isslim.client.commands import exits
from isslim.types.jobs import JobState
from tests.conftest import Trained
from tests.service.served import served


@pytest.mark.slow
@pytest.mark.parametrize("command", ["jobs watch", "jobs logs --follow"])
def test_interrupted_waiting_says_that_the_job_continues(
    command: str, trained: Trained, tmp_path: Path
) -> None:
    with served(tmp_path / "home", {}) as url, Client(url) as client:  # no worker: it stays queued
        job = client.compress(trained.model, vocabulary=trained.vocabulary)
        waiting = subprocess.Popen(
            [sys.executable, "-m", "isslim.client", *command.split(), job.id, "--url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_a_connection(waiting)
        waiting.send_signal(signal.SIGINT)
        said, told = waiting.communicate(timeout=60)
        assert waiting.returncode == exits.INTERRUPTED
        assert "Traceback" not in told
        assert f"the job {job.id} continues" in told
        for next_command in ("watch", "cancel"):
            assert f"isslim jobs {next_command} {job.id} --url {url}" in told
        assert job.id not in said
        assert client.job(job.id).state is JobState.QUEUED


@pytest.mark.slow
def test_interrupted_sweep_says_that_all_of_it_continues(trained: Trained, tmp_path: Path) -> None:
    with served(tmp_path / "home", {}) as url, Client(url) as client:
        words = [str(trained.model), "--vocabulary", str(trained.vocabulary), "--loss", "2%"]
        waiting = subprocess.Popen(
            [sys.executable, "-m", "isslim.client", "sweep", *words, "--url", url],
            stderr=subprocess.PIPE,
            text=True,
        )
        limit = time.monotonic() + 60
        while not client.sweeps():
            assert time.monotonic() < limit
            time.sleep(0.1)
        time.sleep(1)
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=60)
        (sweep,) = client.sweeps()
    assert waiting.returncode == exits.INTERRUPTED
    assert f"the sweep {sweep.id} continues" in told
    assert f"isslim sweeps cancel {sweep.id} --url {url}" in told


def wait_for_a_connection(process: subprocess.Popen[str]) -> None:
    """Waits until the process has a socket: it has begun to ask the service."""
    limit = time.monotonic() + 60
    descriptors = Path(f"/proc/{process.pid}/fd")

    def is_socket(descriptor: Path) -> bool:
        try:
            return str(descriptor.readlink()).startswith("socket:")
        except FileNotFoundError:  # closed since it was listed
            return False

    while not any(map(is_socket, descriptors.iterdir())):
        assert time.monotonic() < limit
        time.sleep(0.1)
    time.sleep(1)


def test_interrupted_before_there_is_a_job_ends_without_a_traceback(tmp_path: Path) -> None:
    pipe = tmp_path / "texts"
    os.mkfifo(pipe)
    reading = subprocess.Popen(
        [sys.executable, "-m", "isslim.client", "score", "mine", "--file", str(pipe)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pipe.open("wb"):  # returns once the command reads
        time.sleep(0.2)
        reading.send_signal(signal.SIGINT)
        said, told = reading.communicate(timeout=60)
    assert (reading.returncode, said, told) == (exits.INTERRUPTED, "", "interrupted\n")


def test_interrupted_imports_end_without_a_traceback() -> None:
    program = """
import runpy, sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "isslim.client.commands.exits":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
runpy.run_module("isslim.client", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (exits.INTERRUPTED, "", "interrupted\n")
