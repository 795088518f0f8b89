"""Gives every reader of a constant that is shared by chance a copy of its own.

Converters and simplifiers leave one constant where several are equal: biases of zeros, scales of
ones. What reads them then seems to belong together. Recurrent layers that share all of their
weights are one layer that runs twice and stay so; other matrices that are shared (an embedding and
its decoder) stay shared too, for a copy would make the file larger.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from onnx import NodeProto

from isslim.compress.onnx.model.recurrent import B, P, R, W, view
from isslim.compress.onnx.model.split_model import (
    Constant,
    SplitModel,
    given,
    nodes,
    set_input,
)


def separate(parts: SplitModel) -> None:
    """Copies constants that are shared by chance; in place, and without any change of what the graph computes."""
    owners: dict[str, dict[tuple[str, ...], list[tuple[NodeProto, int]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for node in nodes(parts.structure.graph):
        seen = view(node)
        for index, name in enumerate(node.input):
            if name in parts.constants:
                layer = seen is not None and index in (W, R, B, P)
                owner = (
                    (node.op_type, *(given(node, each) for each in (W, R, B, P)))
                    if layer
                    else (node.name, str(index))
                )
                owners[name][owner].append((node, index))
    for name, readers in owners.items():
        value = parts.constants[name]
        layers = [
            owner for owner, places in readers.items() if view(places[0][0]) and len(owner) > 2
        ]
        apart = list(readers) if _by_chance(value) else layers
        # One of them keeps the constant itself.
        for owner in apart[1:] if len(apart) == len(readers) else apart:
            copy = parts.fresh(f"{name}.of.{readers[owner][0][0].name}")
            parts.constants[copy] = value
            for node, index in readers[owner]:
                set_input(node, index, copy)


def _by_chance(value: Constant) -> bool:
    """Whether a constant of numbers is a vector, or of one value only."""
    if value.dtype.kind != "f" or value.size < 2:
        return False
    return value.ndim < 2 or bool(np.all(value == value.reshape(-1)[0]))
