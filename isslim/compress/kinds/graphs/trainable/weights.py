"""Which constants of a graph are weights: those through which a gradient reaches an output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from onnx import NodeProto, TensorProto

from isslim.compress.kinds.graphs.trainable.operators.registry import SUPPORTED
from isslim.compress.kinds.graphs.trainable.operators.site import Operator
from isslim.compress.onnx.model.attributes import get_int, subgraphs
from isslim.compress.onnx.model.split_model import SplitModel, nodes


def weights(parts: SplitModel, outputs: Iterable[str]) -> list[str]:
    """Names of the constants that are to be trained, in the order of the model.

    Args:
        parts: the model; all its operators are supported.
        outputs: names of the outputs that count.

    Returns:
        The float32 constants that the outputs depend on differentiably, without single numbers
        (of no dimension, as in `1 - x`), statistics, limits and other settings of operators, and
        initial states, which are often zeros of one batch size.
    """
    makers = {name: node for node in nodes(parts.structure.graph) for name in node.output if name}
    found: set[str] = set()
    waiting, seen = list(outputs), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = makers.get(name)
        if node is None:
            found.add(name)  # or an input, of the graph or of a body
        else:
            waiting += [each for each in _through(node, parts) if each]
    return [name for name, value in parts.constants.items() if name in found and _trains(value)]


def _trains(value: np.ndarray) -> bool:
    return value.dtype == np.float32 and value.ndim > 0 and value.size > 0


def _through(node: NodeProto, parts: SplitModel) -> list[str]:
    """The values through which a gradient goes on from a node."""
    operator = SUPPORTED[node.op_type]
    if operator.fixed is None or (node.op_type == "Cast" and not _keeps_gradient(node)):
        return []
    states = _states(node, operator)
    found = [
        name
        for at, name in enumerate(node.input)
        if at not in operator.fixed and not (at in states and name in parts.constants)
    ]
    return found + [port.name for graph in subgraphs(node) for port in graph.output]


def _keeps_gradient(node: NodeProto) -> bool:
    return get_int(node, "to", 0) in (
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
    )


def _states(node: NodeProto, operator: Operator) -> Sequence[int]:
    """Positions of initial states."""
    if node.op_type == "Loop":
        return range(2, len(node.input))
    if node.op_type == "Scan":
        return range(len(node.input) - get_int(node, "num_scan_inputs", 0))
    return operator.states
