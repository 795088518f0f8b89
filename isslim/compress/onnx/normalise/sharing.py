"""Gives every reader of a constant that is shared by chance its own copy.

Converters and simplifiers leave one constant where several are equal: biases of zeros, scales of
ones. Their readers then seem to belong together. Recurrent layers that share all of their
weights are one layer that runs twice and stay so; other matrices that are shared (an embedding and
its decoder) stay shared too, for a copy would make the file larger.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

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

_WEIGHTS = (W, R, B, P)
"""The inputs of a layer that are its weights."""


def separate(parts: SplitModel) -> None:
    """Copies constants that are shared by chance; in place, what the graph computes stays."""
    for name, owners in _owners(parts).items():
        value = parts.constants[name]
        # Layers are separated whatever the constant is, or their axes would be tied to others.
        layers = [owner for owner in owners if owner.weights]
        apart = list(owners) if _by_chance(value) else layers
        # One of them keeps the constant itself.
        if len(apart) == len(owners):
            apart = apart[1:]
        for owner in apart:
            first, _ = owners[owner][0]
            copy = parts.fresh(f"{name}.of.{first.name}")
            parts.constants[copy] = value
            for node, index in owners[owner]:
                set_input(node, index, copy)


@dataclass(frozen=True)
class _Owner:
    """Whose a constant is: an input of one node, or a weight of all layers with the same weights.

    Attributes:
        node: the node's name; of layers, their operator, which has other gates than another.
        index: of the node's input.
        weights: the names of a layer's W, R, B and P.
    """

    node: str
    index: int = 0
    weights: tuple[str, ...] = ()


_Places = list[tuple[NodeProto, int]]
"""Inputs of nodes."""


def _owners(parts: SplitModel) -> dict[str, dict[_Owner, _Places]]:
    """Per constant its owners, and where each of them reads it."""
    found: dict[str, dict[_Owner, _Places]] = defaultdict(lambda: defaultdict(list))
    for node in nodes(parts.structure.graph):
        weights = tuple(given(node, each) for each in _WEIGHTS)
        for index, name in enumerate(node.input):
            if name not in parts.constants:
                continue
            if view(node) is not None and index in _WEIGHTS:
                owner = _Owner(node.op_type, weights=weights)
            else:
                owner = _Owner(node.name, index)
            found[name][owner].append((node, index))
    return found


def _by_chance(value: Constant) -> bool:
    """Whether a constant of numbers is a vector, or of one value only.

    A matrix of different numbers is nobody's by chance, and large.
    """
    if value.dtype.kind != "f" or value.size < 2:
        return False
    return value.ndim < 2 or bool(np.all(value == value.reshape(-1)[0]))
