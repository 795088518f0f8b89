"""Limits around a child, each fed its fault: the job fails by name, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from isslim.compress.worker.oversight import Limits
from isslim.compress.worker.supervision import supervise
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, Job, JobState, UploadRef
from tests.compress.processes.test_guard import are_gone
from tests.compress.worker.test_supervision import MODEL, worker_of

BEGUN = """
import json, os, subprocess, sys, tempfile, time
from pathlib import Path

def tell(**line):
    print(json.dumps(line), flush=True)

below = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
Path({pids!r}).write_text(f"{{os.getpid()}} {{below.pid}}")
tempfile.NamedTemporaryFile(delete=False).write(b"of a graph")
artifacts = Path({home!r}) / "artifacts"
for place in ("bundles/fedcba9876543210/graph.onnx", "staged/fedcba9876543210/manifest.json"):
    (artifacts / place).parent.mkdir(parents=True)
    (artifacts / place).write_text("a part")
tell(stage="search", progress=0.5, message="begun")
tell(staging="fedcba9876543210")
"""
GOING_ON = """
while True:
    time.sleep(0.05)
    tell(stage="search", progress=0.5, message="going on")
"""
CHATTING = """
while True:
    time.sleep(0.05)
    print("a library says something", flush=True)
    print("and more", file=sys.stderr, flush=True)
"""
TAKING = """
taken = subprocess.Popen(
    [sys.executable, "-S", "-c", "taken = bytearray(80 << 20); import time; time.sleep(60)"]
)
taken.wait()
"""
IN_A_LOOP = "2 ** (1 << 40)"  # a single instruction
FAULTS = {
    "stage": (GOING_ON, Limits(stage_seconds=0.8), "stage-too-long", "ISS_STAGE_SECONDS"),
    "still": ("time.sleep(60)", Limits(still_seconds=0.8), "no-progress", "ISS_STILL_SECONDS"),
    "chatting": (CHATTING, Limits(still_seconds=0.8), "no-progress", "ISS_STILL_SECONDS"),
    "loop": (IN_A_LOOP, Limits(still_seconds=0.8), "no-progress", "ISS_STILL_SECONDS"),
    "memory": (TAKING, Limits(memory_bytes=60 << 20), "out-of-memory", "ISS_JOB_MEMORY_BYTES"),
}


@pytest.fixture
def records(tmp_path: Path) -> Iterator[JobRecords]:
    made = JobRecords(StoreSettings(home=tmp_path / "home"))
    model = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
    made.add("job", CompressionRequest(model=model))
    yield made
    made.close()


def done(records: JobRecords, code: str, work: Path, limits: Limits) -> Job:
    asyncio.run(supervise(worker_of(records, code, work, limits), "job", 1))
    return records.get("job")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_limit_is_a_named_failure_and_leaves_nothing(
    fault: str, records: JobRecords, tmp_path: Path
) -> None:
    code, limits, kind, variable = FAULTS[fault]
    pids, home = tmp_path / "pids", tmp_path / "home"
    begun = BEGUN.format(pids=str(pids), home=str(home))
    job = done(records, begun + code, tmp_path / "work", limits)
    assert job.problem is not None
    assert (job.state, job.problem.kind, job.model_id) == (JobState.FAILED, kind, None)
    for word in ("'search'", variable):
        assert word in job.problem.detail
    assert job.attempts == 1
    assert are_gone([int(pid) for pid in pids.read_text().split()])
    assert list((tmp_path / "work").iterdir()) == []  # its temporary files were there
    left = [path for path in (home / "artifacts").rglob("*") if path.is_file()]
    assert [path.parent.name for path in left] == [MODEL]  # which was there before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("news", "limits"),
    [
        ('tell(stage=f"stage {step}", progress=0.1, message="")', Limits(stage_seconds=1.5)),
        ('tell(stage="search", progress=0.1, message="the same")', Limits(still_seconds=1.5)),
        ('tell(stage="search", progress=0.1, message="")', Limits(memory_bytes=200 << 20)),
    ],
)
def test_job_within_its_limits_ends_well(
    news: str, limits: Limits, records: JobRecords, tmp_path: Path
) -> None:
    """Longer in all than a stage may take, and than it may be still."""
    code = (
        BEGUN.format(pids=str(tmp_path / "pids"), home=str(tmp_path / "home"))
        + f"for step in range(6):\n    time.sleep(0.4)\n    {news}\n"
        + f'tell(result={{"model_id": "{MODEL}"}})\n'
    )
    job = done(records, code, tmp_path / "work", limits)
    assert job.state is JobState.SUCCEEDED, job.problem
    assert are_gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])
