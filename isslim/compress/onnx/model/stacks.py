"""Which recurrent nodes of a graph are layers and directions of one module, noted in its metadata.

A file does not show it: PyTorch exports each layer of an nn.LSTM as a node of its own. Whoever
exported it may say so, for such layers have one number of units in the module.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from onnx import ModelProto

_KEY = "isslim.stacks"


def write_stacks(model: ModelProto, stacks: Sequence[Sequence[str]]) -> None:
    """Notes the stacks of a model; in place.

    Args:
        model: whose nodes have unique names.
        stacks: names of the recurrent nodes of each module.
    """
    entry = model.metadata_props.add()
    entry.key, entry.value = _KEY, json.dumps([list(names) for names in stacks])


def read_stacks(model: ModelProto) -> list[list[str]] | None:
    """The stacks of a model; None where nothing, or nothing that is understood, is noted."""
    noted = [entry.value for entry in model.metadata_props if entry.key == _KEY]
    if len(noted) != 1:
        return None
    try:
        stacks = json.loads(noted[0])
    except (ValueError, RecursionError):
        return None
    # A file may hold anything.
    if not isinstance(stacks, list) or not all(isinstance(each, list) for each in stacks):
        return None
    if not all(isinstance(name, str) for names in stacks for name in names):
        return None
    return stacks
