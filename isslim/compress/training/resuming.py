"""Training that goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isslim.compress.errors import CheckpointRefused

Result = TypeVar("Result")


def resumed(train_it: Callable[[], Result], checkpoint: Path) -> Result:
    """Trains, from the checkpoint where there is one; anew where it is of another run.

    A search by the clock may cut to another size when a killed job is taken up, and a checkpoint
    holds one size.

    Args:
        train_it: trains, and resumes from the checkpoint.
        checkpoint: deleted where it is of another run.
    """
    try:
        return train_it()
    except CheckpointRefused:
        checkpoint.unlink()
        return train_it()
