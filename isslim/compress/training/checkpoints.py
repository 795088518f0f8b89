"""A run on disk: written whole or not at all, and taken up only by the run that wrote it.

The content is that of `Run.snapshot` (plain containers of tensors, numbers and strings), so it is
read with `weights_only=True`; beside it lies the configuration of the run, and a run of another
configuration is refused by name of what differs.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isslim.compress.errors import CheckpointRefused
from isslim.compress.pruning.axes import Arrays
from isslim.compress.training.hooks import Learner
from isslim.compress.training.network import TrainableNetwork
from isslim.compress.training.plan import TrainingPlan

Configuration = dict[str, str]


def configuration_of(
    network: TrainableNetwork,
    tokens: Tensor,
    plan: TrainingPlan,
    teacher: TrainableNetwork | None,
    learner: Learner | None,
    processes: int,
) -> Configuration:
    """All that a resumed run must share with the run that was stopped, in words.

    Args:
        network: to train.
        tokens: of the training text (N,).
        plan: of the training.
        teacher: of a distillation; None: there is none.
        learner: of the structure; None: there is none.
        processes: that train as one.
    """
    # How often it is saved, where half precision would pay, and for how long a run of few steps
    # goes on, may change with the machine.
    free = {"checkpoint_minutes", "bfloat16", "least_steps", "most_minutes"}
    description = {
        f"plan.{name}": str(value) for name, value in asdict(plan).items() if name not in free
    }
    digest = hashlib.sha256(tokens.cpu().numpy().tobytes()).hexdigest()[:12]
    return description | {
        "network": _sizes(network),
        "corpus": f"{len(tokens):,} tokens, {digest}",
        "teacher": "none" if teacher is None else _sizes(teacher),
        "learner": "none" if learner is None else described(learner),
        "processes": str(processes),
    }


def described(learner: Learner) -> str:
    """A learner's class and settings: its public attributes that are numbers, flags or texts."""
    settings = ", ".join(
        f"{name} {value}"
        for name, value in sorted(vars(learner).items())
        if not name.startswith("_") and isinstance(value, bool | int | float | str)
    )
    return f"{type(learner).__qualname__}({settings})"


def digest_of(arrays: Arrays) -> str:
    """What identifies a network's weights."""
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def save_training_checkpoint(
    path: Path, configuration: Configuration, content: Mapping[str, Any]
) -> None:
    """Writes a checkpoint; a kill or a full disk leaves the last whole one.

    Args:
        path: of the file.
        configuration: see `configuration_of`.
        content: of the run: plain containers of tensors, numbers and strings.

    Raises:
        OSError: as of a full disk.
    """
    write_whole(path, {"configuration": configuration, "run": dict(content)})


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Writes beside the file and renames, so that a kill leaves the last whole file.

    A write that fails leaves no part behind.

    Args:
        path: takes what `torch.load(weights_only=True)` reads.
        content: plain containers of tensors, numbers and strings.

    Raises:
        OSError: with the system's own number, as of a full disk.
    """
    temporary = path.with_suffix(".partial")
    try:
        # Torch's own files forget why a write failed; one of Python's says it, below what torch
        # makes of it.
        with temporary.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                cause = _system_error_below(error)
                if cause is None:
                    raise
                raise OSError(cause.errno, cause.strerror, str(path)) from error
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_training_checkpoint(path: Path, configuration: Configuration) -> dict[str, Any]:
    """The run as it was saved.

    Args:
        path: of the checkpoint.
        configuration: of the run that is to be resumed.

    Raises:
        CheckpointRefused: when the file is damaged, or its configuration is another; the issues say
            what differs.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        OSError,
        AttributeError,
        TypeError,
        AssertionError,
    ) as error:
        raise CheckpointRefused(
            f"{path} cannot be read; delete it to start anew", [str(error) or type(error).__name__]
        ) from error
    if not isinstance(saved, dict) or saved.keys() != {"configuration", "run"}:
        raise CheckpointRefused(
            f"{path} is no checkpoint of this program's training; delete it to start anew"
        )
    before = saved["configuration"]
    issues = [
        f"{name}: {before.get(name, 'absent')} in the checkpoint, "
        f"{configuration.get(name, 'absent')} now"
        for name in sorted(before.keys() | configuration.keys())
        if before.get(name) != configuration.get(name)
    ]
    if issues:
        raise CheckpointRefused(
            f"{path} is of another run ({'; '.join(issues)}); train with its settings, or delete "
            "it to start anew",
            issues,
        )
    content: dict[str, Any] = saved["run"]
    return content


def _sizes(network: TrainableNetwork) -> str:
    axes = ", ".join(f"{axis} {size}" for axis, size in network.declaration().axes.items())
    inputs = f" with {network.vocabulary:,} tokens" if hasattr(network, "vocabulary") else ""
    return f"{type(network).__name__}{inputs}, {axes}"


def _system_error_below(error: BaseException) -> OSError | None:
    """The system's error that another was raised while handling; None: there is none."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, OSError):
        below = below.__cause__ or below.__context__
    return below
