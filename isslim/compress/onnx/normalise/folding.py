"""Constant folding: values computed from constants, and an `If` with a constant condition.

Some exporters build the weights of a layer in the graph, by Slice, Concat and Unsqueeze, or from a
direction and a norm. Every node is evaluated by itself, by ONNX's reference implementation, except
random ones and those whose result would be much larger than their inputs. Equal results
become one constant, so that layers that share weights still do.

https://onnx.ai/onnx/api/reference.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import prod

import numpy as np
from onnx import (
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
    shape_inference,
)
from onnx.reference import ReferenceEvaluator

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.recurrent import OPERATORS
from isslim.compress.onnx.model.split_model import (
    Constant,
    SplitModel,
    graphs,
    inner_first,
    nodes,
    replace,
)
from isslim.compress.onnx.normalise.branch_elimination import (
    drop_impossible_branches,
    fold_shapes,
    inline_constant_branches,
)
from isslim.compress.onnx.trace.types import RANDOM_OPERATORS

_LEFT = {*RANDOM_OPERATORS, *OPERATORS, "DequantizeLinear", "If", "Loop", "Scan", "SequenceMap"}
"""Operators that are not folded: random ones, recurrent layers, dequantization (refused as such),
and those with nested graphs."""
_MAX_GROWN = 1 << 20
"""Entries that a constant may have which is larger than what it is made of."""
_ROUNDS = 8


def fold(parts: SplitModel) -> None:
    """Folds until nothing more can be, and drops branches that cannot run; in place."""
    before = set(parts.constants)
    fold_known(parts)
    for _ in range(_ROUNDS):
        if not drop_impossible_branches(parts, fold_known):
            break
    _unify(parts, before)


def fold_known(parts: SplitModel) -> None:
    """Folds until nothing more can be; in place."""
    for _ in range(_ROUNDS):
        # A list, not a generator: each of the three is to be done in every round.
        changed = any([_fold_constants(parts), fold_shapes(parts), inline_constant_branches(parts)])
        if not changed:
            break


def _fold_constants(parts: SplitModel) -> bool:
    """Computes every node whose inputs are constants, once; in place. Whether there were any."""
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


def _computed(parts: SplitModel, node: NodeProto) -> dict[str, Constant] | None:
    """The outputs of a node as constants; None when it cannot be folded."""
    values = _foldable_inputs(parts, node)
    if values is None:
        return None
    opsets = [helper.make_opsetid("", parts.opset)]
    return evaluated(node, values, parts.opset) if _small(node, values, opsets) else None


def _foldable_inputs(parts: SplitModel, node: NodeProto) -> dict[str, Constant] | None:
    """The values that a node reads, if it may be computed: all constants, and at least one."""
    if node.domain not in ("", "ai.onnx") or node.op_type in _LEFT or subgraphs(node):
        return None
    inputs = [name for name in node.input if name]
    if not inputs or not all(name in parts.constants for name in inputs):
        return None
    values = {name: parts.constants[name] for name in inputs}
    texts = any(value.dtype == object for value in values.values())
    return None if texts else values


def evaluated(
    node: NodeProto, values: Mapping[str, Constant], opset: int
) -> dict[str, Constant] | None:
    """The outputs of a node; None when the reference implementation fails.

    Args:
        node: of the standard operators.
        values: all that it reads.
        opset: version of the standard operators.
    """
    opsets = [helper.make_opsetid("", opset)]
    ports = [_port(name, _kind(value)) for name, value in values.items()]
    # The types of outputs are not checked by the reference implementation: any will do.
    outs = [_port(name, TensorProto.FLOAT) for name in node.output if name]
    model = helper.make_model(helper.make_graph([node], "one", ports, outs), opset_imports=opsets)
    try:
        results = ReferenceEvaluator(model).run(None, dict(values))
    except Exception:  # whatever it raises: the node stays as it is, and is refused or run later
        return None
    if not all(isinstance(value, np.ndarray | np.generic) for value in results):
        return None  # a sequence, or nothing
    return {out.name: np.asarray(value) for out, value in zip(outs, results, strict=True)}


def _port(name: str, kind: int) -> ValueInfoProto:
    """A tensor of unknown shape."""
    return helper.make_value_info(name, helper.make_tensor_type_proto(kind, None))


def _small(node: NodeProto, values: dict[str, Constant], opsets: list[OperatorSetIdProto]) -> bool:
    """Whether the result is no larger than what goes in, or small anyway, by shape inference.

    A file of a few bytes may ask for a Tile into gigabytes: sizes are known before it is computed.
    """
    given = sum(value.size for value in values.values())
    shapes, ports = [], []
    for name, value in values.items():
        # Inference knows a size only where it sees the numbers of the shape that is asked for.
        if value.size <= _MAX_SHAPE:
            shapes.append(numpy_helper.from_array(value, name))
        else:
            ports.append(helper.make_tensor_value_info(name, _kind(value), value.shape))
    names = [name for name in node.output if name]
    outs = [helper.make_empty_tensor_value_info(name) for name in names]
    model = helper.make_model(
        helper.make_graph([node], "one", ports, outs, shapes), opset_imports=opsets
    )
    try:
        found = {
            port.name: port
            for port in shape_inference.infer_shapes(model, data_prop=True).graph.output
        }
    except Exception:  # attributes that do not fit: no runtime could compute it either
        return False
    for name in names:
        kind = found[name].type.tensor_type
        dims = kind.shape.dim
        if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
            return node.op_type in _BOUNDED
        if prod(dim.dim_value for dim in dims) > max(_MAX_GROWN, given):
            return False
    return True


_MAX_SHAPE = 64
"""Entries up to which a constant may be a shape."""
_BOUNDED = ("Compress", "NonZero", "Reshape", "Unique")
"""Operators whose result is not much larger than what goes in, whatever its shape."""


def _unify(parts: SplitModel, before: set[str]) -> None:
    """Lets nodes read one constant where another that was computed equals it; in place.

    Constants that were in the file stay apart, and so do those of one value only: biases of zeros
    are equal by chance.
    """
    first: dict[tuple[object, ...], str] = {}
    names = {}
    if parts.constants.keys() <= before:
        return
    # Those of the file first, so that they are what others become equal to.
    for name in sorted(parts.constants, key=lambda name: name not in before):
        value = parts.constants[name]
        # Those without numbers to share are left out as well: a shape or an axis costs nothing.
        if value.dtype.kind != "f" or value.size < 2 or (value == value.reshape(-1)[0]).all():
            continue
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
        one = first.setdefault((value.shape, value.dtype.str, digest), name)
        if name not in before:
            names[name] = one
    outputs = {port.name for graph in graphs(parts.structure.graph) for port in graph.output}
    for node in nodes(parts.structure.graph):
        replace(node.input, [names.get(name, name) for name in node.input])
    for name, kept in names.items():
        if kept != name and name not in outputs:
            del parts.constants[name]


def _kind(value: Constant) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))
