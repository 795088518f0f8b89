"""Constant folding: what a graph computes from constants alone becomes a constant, and an `If` that is decided its branch.

Some exporters build the weights of a layer in the graph, by Slice, Concat and Unsqueeze. Every node is computed by itself,
by ONNX's reference implementation; only operators that are cheap and have no chance in them, and never into something
much larger than what goes in. What was computed twice becomes one constant, so that two layers that share weights still do.

https://onnx.ai/onnx/api/reference.html
"""

from __future__ import annotations

import hashlib

import numpy as np
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from compress.graphs.attributes import whole, wholes
from compress.graphs.decisions import decide, drop_impossible, fold_shapes
from compress.graphs.parts import Constant, Parts, graphs, inner_first, nodes, replace

_MOVES = "Cast Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze"
_NUMBERS = (
    "Abs Add And Ceil Div Equal Exp Floor Greater GreaterOrEqual Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow "
    "ReduceMax ReduceMin ReduceProd ReduceSum Reciprocal ScatterND Shape Size Sqrt Sub Where"
)
_GROWING = "ConstantOfShape Expand Pad Range Tile"
_FOLDED = set(f"{_MOVES} {_NUMBERS} {_GROWING}".split())
_LARGEST_GROWN = 1 << 20
"""Entries that a constant may have which is larger than what it is made of."""
_ROUNDS = 8


def fold(parts: Parts) -> None:
    """Folds until nothing more can be, and drops branches that cannot run; in place."""
    before = set(parts.constants)
    fold_known(parts)
    for _ in range(_ROUNDS):
        if not drop_impossible(parts, fold_known):
            break
    _unify(parts, before)


def fold_known(parts: Parts) -> None:
    """Folds until nothing more can be; in place."""
    for _ in range(_ROUNDS):
        changed = any([_fold_constants(parts), fold_shapes(parts), decide(parts)])
        if not changed:
            break


def _fold_constants(parts: Parts) -> bool:
    changed = False
    for graph in inner_first(parts.structure.graph):
        left = []
        for node in graph.node:
            made = _computed(parts, node)
            if made is None:
                left.append(node)
            else:
                parts.constants |= made
                changed = True
        if len(left) < len(graph.node):
            replace(graph.node, list(left))
    return changed


def _computed(parts: Parts, node: NodeProto) -> dict[str, Constant] | None:
    """The outputs of a node as constants; None when it cannot be folded."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _FOLDED:
        return None
    inputs = [name for name in node.input if name]
    if not inputs or not all(name in parts.constants for name in inputs):
        return None
    values = {name: parts.constants[name] for name in inputs}
    if any(value.dtype == object for value in values.values()) or not _small(node, [values[name] for name in inputs]):
        return None
    ports = [helper.make_value_info(name, helper.make_tensor_type_proto(_kind(values[name]), None)) for name in values]
    outs = [helper.make_value_info(name, helper.make_tensor_type_proto(1, None)) for name in node.output if name]
    graph = helper.make_graph([node], "one", ports, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", parts.opset)])
    try:
        results = ReferenceEvaluator(model).run(None, values)
    except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError, ZeroDivisionError, KeyError):
        return None  # a graph that no runtime could compute either; it stays as it is and is judged later
    return {out.name: np.asarray(value) for out, value in zip(outs, results, strict=True)}


def _small(node: NodeProto, values: list[Constant]) -> bool:
    """Whether the result is bounded by what goes in, or small anyway."""
    size = 0.0
    if node.op_type == "ConstantOfShape":
        size = float(np.prod(values[0].astype(np.float64)))
    elif node.op_type == "Expand":
        size = float(np.prod(np.maximum(values[1], 1).astype(np.float64))) * values[0].size
    elif node.op_type == "Tile":
        size = float(np.prod(values[1].astype(np.float64))) * values[0].size
    elif node.op_type == "Range":
        size = abs(float(values[1]) - float(values[0])) / max(abs(float(values[2])), 1e-9)
    elif node.op_type == "Pad":
        margins = values[1] if len(values) > 1 else np.array(wholes(node, "pads") or [_LARGEST_GROWN])
        size = float(values[0].size) * (1 + float(np.abs(margins).sum()))
    elif node.op_type == "Gather":
        size = values[1].size * values[0].size / max(values[0].shape[whole(node, "axis", 0)], 1)
        return bool(size <= max(_LARGEST_GROWN, values[0].size))
    elif node.op_type in _MOVES.split():
        return True
    else:
        try:
            size = float(np.prod(np.broadcast_shapes(*(value.shape for value in values))))
        except ValueError:
            size = float(max(value.size for value in values))
        return bool(size <= max(_LARGEST_GROWN, *(value.size for value in values)))
    return bool(size <= _LARGEST_GROWN)


def _unify(parts: Parts, before: set[str]) -> None:
    """Lets nodes read the same constant where two were computed that are equal.

    Constants that were in the file stay apart, and so do those of one value only: biases of zeros are equal by chance.
    """
    first: dict[tuple[object, ...], str] = {}
    names = {}
    for name, value in parts.constants.items():
        if name in before or value.dtype.kind != "f" or value.size < 2 or (value == value.reshape(-1)[0]).all():
            continue
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
        names[name] = first.setdefault((value.shape, value.dtype.str, digest), name)
    outputs = {port.name for graph in graphs(parts.structure.graph) for port in graph.output}
    for node in nodes(parts.structure.graph):
        replace(node.input, [names.get(name, name) for name in node.input])
    for name, kept in names.items():
        if kept != name and name not in outputs:
            del parts.constants[name]


def _kind(value: Constant) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))
