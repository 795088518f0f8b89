"""A job of the mode `learn` in several processes: from the queue, of one machine and of two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from isslim.compress.worker.together import NOT_SET
from isslim.demo.ports import free_port
from isslim.store.bundles import BundleStore
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, JobState
from isslim.types.manifest import Manifest
from isslim.types.recipe import Budget, Recipe
from tests.conftest import Trained, sentences
from tests.uploads import stored

JOB_SECONDS = 400.0
# Of a text with more tokens than the network has weights: without dropout, of which each process
# draws its own.
SENTENCES = 5000


@contextmanager
def process(module: str, home: Path, torchrun: list[str]) -> Iterator[None]:
    variables = {"ISS_HOME": str(home), "ISS_TORCHRUN": json.dumps(torchrun)}
    running = subprocess.Popen(
        [sys.executable, "-m", module], env={**os.environ, **variables, "OMP_NUM_THREADS": "1"}
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(timeout=30)


def learned(home: Path, trained: Trained, torchrun: list[str]) -> Manifest:
    """What a worker makes of a job that it takes from the queue."""
    settings = StoreSettings(home=home)
    home.mkdir()
    (home / "text.txt").write_text(sentences(SENTENCES, 3))
    request = CompressionRequest(
        model=stored(settings, trained.model),
        vocabulary=stored(settings, trained.vocabulary),
        calibration=stored(settings, home / "text.txt"),
        held_out=stored(settings, trained.held_out),
        recipe=Recipe(
            name="learnt", mode="learn", budget=Budget(size_ratio=0.4), learn_epochs=1.0, minutes=0
        ),
    )
    queue = JobQueue(settings)
    job = queue.enqueue(request)
    with process("isslim.compress.worker", home, torchrun):
        limit = time.monotonic() + JOB_SECONDS
        while not (found := queue.get(job.id)).state.ended:
            assert time.monotonic() < limit, found
            time.sleep(0.2)
    queue.close()
    assert found.state is JobState.SUCCEEDED, found.problem
    assert found.epochs
    return BundleStore(settings).open(str(found.model_id)).manifest


def quality(manifest: Manifest) -> float:
    (found,) = (each.loss for each in manifest.variants if each.name == "compressed")
    return found


@pytest.mark.slow
def test_several_processes_give_the_model_of_one(trained: Trained, tmp_path: Path) -> None:
    one = learned(tmp_path / "one", trained, [])
    several = learned(tmp_path / "several", trained, ["--standalone", "--nproc-per-node=2"])
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    meeting += [f"--master-port={free_port()}"]
    helper = [*meeting, "--node-rank=1"]
    (tmp_path / "helper").mkdir()
    with process("isslim.compress.worker.together", tmp_path / "helper", helper):
        machines = learned(tmp_path / "machines", trained, [*meeting, "--node-rank=0"])
    for each in (several, machines):
        assert [(axis.name, axis.kept) for axis in each.axes] == [
            (axis.name, axis.kept) for axis in one.axes
        ]
        assert quality(each) == pytest.approx(quality(one), rel=1e-3)


def test_helper_without_a_meeting_point_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "isslim.compress.worker.together"],
        env={name: value for name, value in os.environ.items() if name != "ISS_TORCHRUN"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == NOT_SET
    assert "ISS_TORCHRUN is not set" in done.stderr
