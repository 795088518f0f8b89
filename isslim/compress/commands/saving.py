"""Writes the record that a command leaves beside the model."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isslim.store.files import atomic_file


def save_record(folder: Path, record: dict[str, Any]) -> None:
    """Writes `record.json`, with versions and machine.

    Args:
        folder: where it goes.
        record: of what can be JSON; paths become texts, NaN and infinity null.
    """
    content = record | {"versions": _versions(), "machine": _machine()}
    write(folder / "record.json", json.dumps(_plain(content), indent=2, allow_nan=False).encode())


def training_length(
    plan: dict[str, Any], steps: int, steps_of_an_epoch: int, asked_epochs: float | None = None
) -> dict[str, Any]:
    """How long a run was, beside how long it was meant to be.

    Args:
        plan: its fields; with `minutes` the clock ended the run.
        steps: trained in all.
        steps_of_an_epoch: of a whole one.
        asked_epochs: of the configuration; None: the plan's.

    Returns:
        `epochs` trained, `asked_epochs`, and `truncated`: why there are fewer, or None.
    """
    asked = plan["epochs"] if asked_epochs is None else asked_epochs
    trained = steps / max(1, steps_of_an_epoch)
    truncated = None
    if trained < asked - 0.5 / max(1, steps_of_an_epoch):
        how = "shortened" if plan.get("minutes") is None else "ended by the clock"
        truncated = f"{how}: {trained:.3g} of {asked:g} epochs"
    return {"epochs": round(trained, 4), "asked_epochs": asked, "truncated": truncated}


def write(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: the file.
        content: all of it.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def _versions() -> dict[str, str]:
    return {
        "isslim": importlib.metadata.version("isslim"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def _machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "processor": torch.cpu.get_capabilities().get("architecture", platform.machine()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
