"""Training that resumes from its checkpoint, and starts over where that is of another size."""

from __future__ import annotations

from pathlib import Path

import pytest

from isslim.compress.errors import CheckpointRefused
from isslim.compress.training.checkpoints import load_training_checkpoint, save_training_checkpoint
from isslim.compress.training.resuming import resumed


def test_a_checkpoint_of_another_size_is_deleted_and_training_starts_over(tmp_path: Path) -> None:
    path, starts = tmp_path / "checkpoint", list[int]()
    save_training_checkpoint(path, {"network": "48 units"}, {"step": 7})

    def train() -> int:
        first = (
            load_training_checkpoint(path, {"network": "32 units"})["step"] if path.exists() else 0
        )
        starts.append(first)
        return int(first)

    assert resumed(train, path) == 0
    assert starts == [0]
    assert not path.exists()


def test_its_own_checkpoint_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_training_checkpoint(path, {"network": "48 units"}, {"step": 7})
    assert (
        resumed(lambda: load_training_checkpoint(path, {"network": "48 units"})["step"], path) == 7
    )
    assert path.exists()


def test_what_is_refused_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"

    def train() -> int:
        path.write_bytes(b"not a checkpoint")
        load_training_checkpoint(path, {})
        return 0

    with pytest.raises(CheckpointRefused, match="cannot be read"):
        resumed(train, path)
