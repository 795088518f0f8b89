"""Where the rounds of learn mode stand, in a file from which a killed job resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray

from isslim.compress.pruning.network import Model
from isslim.compress.training.checkpoints import write_whole
from isslim.types.manifest import CurvePoint, EpochPoint


@dataclass
class RoundState(Generic[Model]):
    """Where the rounds stand; what is kept in the job's folder.

    Attributes:
        network: the last one within the budget.
        kept: per axis, which of the original's components it has.
        round: rounds begun so far.
        removal_step: of the next.
        curve, epochs: of all rounds so far.
    """

    network: Model
    kept: dict[str, NDArray[np.int64]]
    round: int = 0
    removal_step: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    epochs: list[EpochPoint] = field(default_factory=list)


def write_state(path: Path, state: RoundState[Model]) -> None:
    """Writes the state whole or not at all, in what `torch.load(weights_only=True)` reads.

    Args:
        path: of the file.
        state: to write.

    Raises:
        OSError: as of a full disk.
    """
    content: dict[str, Any] = {
        "arrays": {name: torch.from_numpy(array) for name, array in state.network.arrays().items()},
        "kept": {axis: torch.from_numpy(index) for axis, index in state.kept.items()},
        "round": state.round,
        "boldness": state.removal_step,
        "curve": [point.model_dump_json() for point in state.curve],
        "epochs": [point.model_dump_json() for point in state.epochs],
    }
    write_whole(path, content)


def read_state(original: Model, path: Path) -> RoundState[Model] | None:
    """The state as it was written; None when there is none.

    Args:
        original: of the architecture that the network is rebuilt in.
        path: of the file.
    """
    if not path.exists():
        return None
    saved = torch.load(path, weights_only=True)
    return RoundState(
        original.rebuilt({name: tensor.numpy() for name, tensor in saved["arrays"].items()}),
        {axis: index.numpy() for axis, index in saved["kept"].items()},
        saved["round"],
        saved["boldness"],
        [CurvePoint.model_validate_json(point) for point in saved["curve"]],
        [EpochPoint.model_validate_json(point) for point in saved["epochs"]],
    )
