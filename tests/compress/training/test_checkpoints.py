"""A stopped or killed run continues bit for bit, and no other run takes up its checkpoint."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isslim.compress.errors import CheckpointRefused
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.training.optimizers import averages
from isslim.compress.training.plan import TrainingPlan
from tests.compress.kinds.language.training.language import (
    PLAN,
    Executioner,
    counting_text,
    fresh,
    noisy_text,
    same,
)
from tests.compress.training import child

OFTEN = replace(PLAN, checkpoint_minutes=1e-3)


class Stopped(Exception):
    """Stands for the kill."""


def stop_at(share: float) -> Callable[[float, str], None]:
    def stop(done: float, line: str) -> None:
        if done > share:
            raise Stopped

    return stop


@pytest.mark.parametrize("learns", [False, True], ids=["plain", "shrinking"])
@pytest.mark.parametrize("optimizer", ["sgd", "asgd", "nt_asgd", "adamw"])
def test_resumed_run_is_the_undisturbed_run_bit_for_bit(
    optimizer: Any, learns: bool, tmp_path: Path
) -> None:
    rate = 1e-2 if optimizer == "adamw" else 8.0
    plan = replace(
        OFTEN, epochs=5, optimizer=optimizer, learning_rate=rate, patience=1, averaging_epoch=2
    )
    checkpoint = tmp_path / "run.checkpoint"

    def run(checkpoint: Path | None, progress: Callable[[float, str], None] | None = None) -> Any:
        return train(
            fresh(),
            noisy_text(1004),
            plan,
            learner=Executioner() if learns else None,
            valid=noisy_text(200),
            checkpoint=checkpoint,
            progress=progress,
        )

    undisturbed = run(None)
    for share in (0.1, 0.45, 0.8):  # in the first epoch (before the shrink), and in two later ones
        with pytest.raises(Stopped):
            run(checkpoint, stop_at(share))
    resumed = run(checkpoint)
    assert same(undisturbed.network, resumed.network)
    for left, right in zip(undisturbed.epochs, resumed.epochs, strict=True):
        assert replace(left, seconds=0) == replace(right, seconds=0)
    assert same(run(checkpoint).network, undisturbed.network)  # a finished run is only read


def test_student_resumes_bit_for_bit_beside_its_teacher(tmp_path: Path) -> None:
    teacher = train(fresh(0.0), counting_text(1000), PLAN).network
    undisturbed = train(fresh(), noisy_text(1000), OFTEN, teacher=teacher)
    with pytest.raises(Stopped):
        train(
            fresh(),
            noisy_text(1000),
            OFTEN,
            teacher=teacher,
            checkpoint=tmp_path / "c",
            progress=stop_at(0.5),
        )
    resumed = train(fresh(), noisy_text(1000), OFTEN, teacher=teacher, checkpoint=tmp_path / "c")
    assert same(undisturbed.network, resumed.network)


@pytest.mark.slow  # five processes that import torch
def test_run_killed_at_random_moments_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    checkpoint, result, moments = tmp_path / "run.checkpoint", tmp_path / "result", random.Random(3)
    options = [str(checkpoint), str(result), "--dropout", "0.1", "--epochs", "8"]
    command = [sys.executable, "-m", "tests.compress.training.child", *options]
    killed = 0
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen(command)
        limit = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < limit:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        time.sleep(moments.random() * 0.4)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed == 3
    subprocess.run(command, check=True)
    found = torch.load(tmp_path / "result.0", weights_only=True)
    undisturbed = child.run(None, 0.1, 8)
    assert found["valid"] == [record.valid_perplexity for record in undisturbed.epochs]
    for name, weights in undisturbed.network.state_dict().items():
        assert torch.equal(found["network"][name], weights)


def written(path: Path) -> Path:
    train(fresh(), counting_text(500), PLAN, checkpoint=path)
    return path


@pytest.mark.parametrize(
    ("plan", "units", "length", "learner", "told"),
    [
        (
            replace(PLAN, learning_rate=0.5),
            10,
            500,
            None,
            r"plan.learning_rate: 0.01 in the checkpoint, 0.5 now",
        ),
        (
            replace(PLAN, optimizer="sgd", seed=9),
            10,
            500,
            None,
            r"plan.optimizer: adamw .* plan.seed: 3 in",
        ),
        (
            PLAN,
            11,
            500,
            None,
            r"network: .*units:lstm0 10.* in the checkpoint, .*units:lstm0 11.* now",
        ),
        (PLAN, 10, 501, None, r"corpus: 500 tokens, \w+ in the checkpoint, 501 tokens, \w+ now"),
        (PLAN, 10, 500, Executioner(), r"learner: none in the checkpoint, Executioner\(.*\) now"),
    ],
)
def test_checkpoint_of_another_run_is_refused_by_what_differs(
    plan: TrainingPlan,
    units: int,
    length: int,
    learner: Executioner | None,
    told: str,
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "run.checkpoint")
    network = LstmLanguageModel(LstmSpec(12, 8, (units, 8)))
    with pytest.raises(CheckpointRefused, match=told) as caught:
        train(network, counting_text(length), plan, learner=learner, checkpoint=path)
    assert caught.value.issues
    assert path.exists()


def test_checkpoint_of_another_teacher_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "run.checkpoint")
    with pytest.raises(
        CheckpointRefused, match="teacher: none in the checkpoint, LstmLanguageModel with 12 tokens"
    ):
        train(fresh(), counting_text(500), PLAN, teacher=fresh(), checkpoint=path)


def test_how_often_it_is_saved_may_change(tmp_path: Path) -> None:
    path = written(tmp_path / "run.checkpoint")
    assert len(train(fresh(), counting_text(500), OFTEN, checkpoint=path).epochs) == 3


def test_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "run.checkpoint")
    for torn in (path.read_bytes()[:2000], b"torn", b""):
        path.write_bytes(torn)
        with pytest.raises(CheckpointRefused, match="cannot be read") as refused:
            train(fresh(), counting_text(500), PLAN, checkpoint=path)
        assert all(refused.value.issues)
    torch.save(fresh().state_dict(), path)
    with pytest.raises(CheckpointRefused, match="no checkpoint of this program's training"):
        train(fresh(), counting_text(500), PLAN, checkpoint=path)


def test_nothing_half_written_is_left_behind(tmp_path: Path) -> None:
    path = written(tmp_path / "run.checkpoint")
    assert list(tmp_path.iterdir()) == [path]
    assert not averages(torch.optim.SGD(fresh().parameters(), lr=1.0))
