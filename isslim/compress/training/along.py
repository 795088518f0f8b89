"""Processes that train along: the first of a `torchrun` group does a job, the others help it train.

A job is read, searched, exported and measured by one process. Whenever it trains, it sends the
others what is trained and on what, and all of them train as one (`ranks.py`). So the others need no
upload, no storage and no database, and nothing that is decided by a clock is decided twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn

from isslim.compress.devices import placed
from isslim.compress.errors import CheckpointRefused, TrainingDiverged
from isslim.compress.training.ranks import ranks

WAIT = timedelta(days=7)
"""How long a process may wait for the first one, which searches and measures meanwhile. One that
dies is noticed at once."""
Result = TypeVar("Result")
Order = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], bytes | None, int]
"""What is called, with what, the content of its checkpoint, and the seed of what is random."""


def train_together(
    train: Callable[..., Result],
    *args: Any,
    checkpoint: Path,
    progress: Callable[[float, str], None],
    **others: Any,
) -> Result:
    """Trains, together with the other processes of the group where there are any.

    Args:
        train: a function of a module, which trains as one of several in a group.
        args: of it; they are sent to the others.
        checkpoint: of this process; its content is sent too.
        progress: is called by this process alone.
        others: further arguments, which are sent.
    """
    if ranks().world > 1:
        saved = checkpoint.read_bytes() if checkpoint.exists() else None
        _exchange((train, args, others, saved, torch.initial_seed()))
    return train(*args, checkpoint=checkpoint, progress=progress, **others)


def follow(folder: Path) -> None:
    """Trains along until the first process of the group is done.

    Args:
        folder: of this process, for copies of checkpoints.
    """
    checkpoint = folder / "training.checkpoint"
    while (order := _exchange(None)) is not None:
        train, args, others, saved, seed = order
        checkpoint.unlink(missing_ok=True)
        if saved is not None:
            checkpoint.write_bytes(saved)
        torch.manual_seed(seed + ranks().rank)
        networks = [each for each in (*args, *others.values()) if isinstance(each, nn.Module)]
        # The first process meets the same, and decides what follows from it.
        with placed(*networks), suppress(CheckpointRefused, TrainingDiverged):
            train(*args, checkpoint=checkpoint, progress=None, **others)


def dismiss() -> None:
    """Tells the other processes of the group that there is nothing more to train."""
    if ranks().world > 1:
        _exchange(None)


def _exchange(order: Order | None) -> Order | None:
    """The first process's order, in every process."""
    # Networks may be on a device of the first process that others do not have.
    sent: list[Order | None] = [order]
    dist.broadcast_object_list(sent, 0, device=torch.device("cpu"))
    return sent[0]
