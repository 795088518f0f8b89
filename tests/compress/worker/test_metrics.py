"""A worker's metrics and the events of its jobs."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from isslim.compress.worker.job_events import JobEvents, enter_stage
from isslim.compress.worker.metrics import WorkerMetrics
from isslim.demo.ports import free_port
from isslim.settings.environment import BAD_SETTINGS
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from tests.jobs import end
from tests.service.printed_metrics import Printed

REQUEST = CompressionRequest(model=UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1))


@pytest.fixture
def caught(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "worker.jobs")
    return caplog


def events_of(records: list[logging.LogRecord]) -> list[dict[str, object]]:
    names = ("job_id", "run", "stage", "before", "outcome", "problem")
    return [
        {"event": each.message} | {n: getattr(each, n) for n in names if hasattr(each, n)}
        for each in records
    ]


def test_events_of_a_job_are_lines_and_counts(
    tmp_path: Path, caught: pytest.LogCaptureFixture
) -> None:
    queue = JobQueue(StoreSettings(home=tmp_path))
    job = queue.enqueue(REQUEST)
    metrics, port = WorkerMetrics(), free_port()
    metrics.serve("127.0.0.1", port)
    with JobEvents(queue.records, metrics).attending(job.id, 1) as attended:
        for stage in ("ingest", "ingest", "search"):
            enter_stage(stage)
        end(queue.records, job.id, JobState.SUCCEEDED, model_id="m")
        attended.state = JobState.SUCCEEDED
    enter_stage("publish")  # of no job
    ids = {"job_id": job.id, "run": 1}
    assert events_of(caught.records) == [
        {"event": "job taken", **ids},
        {"event": "job stage", "stage": "ingest", "before": "", **ids},
        {"event": "job stage", "stage": "search", "before": "ingest", **ids},
        {"event": "job ended", "outcome": "succeeded", **ids},
    ]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = Printed(answer.read().decode())
    labels = {"task": "", "mode": "calibrate", "outcome": "succeeded"}
    assert found.value("isslim_job_seconds_count", **labels) == 1
    assert found.value("isslim_worker_jobs_running") == 0
    assert found.value("process_resident_memory_bytes") > 0
    assert found.value("isslim_build_info") == 1
    queue.close()


def test_job_that_did_not_end_was_handed_back_and_a_cancelled_one_ended(
    tmp_path: Path, caught: pytest.LogCaptureFixture
) -> None:
    queue = JobQueue(StoreSettings(home=tmp_path))
    job = queue.enqueue(REQUEST)
    events = JobEvents(queue.records, WorkerMetrics())
    with pytest.raises(KeyboardInterrupt), events.attending(job.id, 1):
        raise KeyboardInterrupt
    queue.cancel(job.id)
    with pytest.raises(KeyboardInterrupt), events.attending(job.id, 1):
        raise KeyboardInterrupt
    ids = {"job_id": job.id, "run": 1}
    assert events_of(caught.records)[1::2] == [
        {"event": "job handed back", **ids},
        {"event": "job ended", "outcome": "cancelled", **ids},
    ]
    queue.close()


@pytest.mark.slow
def test_port_that_is_taken_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISS_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("ISS_WORKER_METRICS_PORT", str(port))
        ran = subprocess.run(
            [sys.executable, "-m", "isslim.compress.worker"], capture_output=True, text=True
        )
    assert ran.returncode == BAD_SETTINGS
    assert ran.stderr.startswith(f"isslim worker: ISS_WORKER_METRICS_PORT is {port}: expected a")


@pytest.mark.slow
def test_cancel_is_a_line_of_its_own_and_no_traceback(tmp_path: Path) -> None:
    child, log = tmp_path / "child.py", tmp_path / "log"
    line = '{"stage": "search", "progress": 0.1, "message": "m"}'
    child.write_text(f"import time\nprint({line!r}, flush=True)\ntime.sleep(60)\n")
    queue = JobQueue(StoreSettings(home=tmp_path / "home"))
    settings = {
        "ISS_HOME": str(tmp_path / "home"),
        "ISS_CHILD_COMMAND": json.dumps([sys.executable, str(child)]),
    }
    with log.open("w") as file:
        command = [sys.executable, "-m", "isslim.compress.worker"]
        worker = subprocess.Popen(command, env=os.environ | settings, stderr=file)
    try:
        job = queue.enqueue(REQUEST)
        eventually(lambda: queue.get(job.id).stage == "search")
        queue.cancel(job.id)
        eventually(lambda: "job ended" in log.read_text())
        time.sleep(1)  # what the queue says of it comes after
    finally:
        worker.terminate()
        worker.wait(20)
        queue.close()
    ready, *others = log.read_text().splitlines()
    assert ready.endswith("is ready")
    events = [json.loads(each)["event"] for each in others]
    assert events[:3] == ["job taken", "job stage", "job ended"]
    assert "Traceback" not in log.read_text()


def eventually(is_so: Callable[[], bool], seconds: float = 40) -> None:
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.1)
