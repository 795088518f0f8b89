"""Training that goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isslim.compress.errors import CheckpointRefused

Result = TypeVar("Result")


def resumed(train_it: Callable[[], Result], checkpoint: Path) -> Result:
    """Trains, from the checkpoint where there is one; one of another size is trained over from its start.

    The clock may cut to another size when a killed job is taken up, and a checkpoint holds one
    size.
    """
    try:
        return train_it()
    except CheckpointRefused:
        checkpoint.unlink()
        return train_it()
