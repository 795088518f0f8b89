"""Graphs in float16 or bfloat16, computed in float32: what ONNX Runtime's processors have no recurrent layers for.

ONNX Runtime ends the whole process on some graphs with an LSTM in float16 (a fault of its own, seen in 1.23 while it opens the
file), and its recurrent layers are of float32 anyway. So every number inside is widened, which is exact, and what goes in
and comes out keeps its type: a Cast behind each such input, one before each such output.

https://onnx.ai/onnx/operators/onnx__Cast.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper
from onnx import numpy_helper as numpy_of

from compress.errors import GraphNotUnderstood
from compress.graphs.attributes import put, whole
from compress.graphs.outside import tensors
from compress.graphs.parts import graphs, label, names, nodes, replace

_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_OF_TYPE = ("to", "dtype", "stash_type", "output_dtype")
"""Attributes that say of which type an operator's output is, or in which it computes."""


def is_half(model: ModelProto) -> bool:
    """Whether anything in a model that is computed with is of float16 or bfloat16."""
    return (
        any(tensor.data_type in _HALF for tensor in tensors(model))
        or any(_holds(port.type) for graph in graphs(model.graph) for port in (*graph.input, *graph.output))
        or any(attribute.i in _HALF for node in nodes(model.graph) for attribute in _types(node))
    )


def widen(model: ModelProto) -> None:
    """Makes a model compute in float32, its inputs and outputs of the types that they had; in place.

    Args:
        model: without functions.

    Raises:
        GraphNotUnderstood: when an input or output is of bfloat16, or a number's bits are looked at.
    """
    for port in (*model.graph.input, *model.graph.output):
        if port.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            raise GraphNotUnderstood(
                f"'{port.name}' is of bfloat16, which NumPy does not have: export the graph with inputs and outputs of float32 "
                "(what is inside may stay in bfloat16)"
            )
    bits = next((node for node in nodes(model.graph) if node.op_type == "BitCast"), None)
    if bits is not None:
        raise GraphNotUnderstood(
            f"the graph is in float16, and '{label(bits)}' looks at the bits of numbers: export it in float32"
        )
    ports = {
        port.name: port.type.tensor_type.elem_type
        for port in (*model.graph.input, *model.graph.output)
        if port.type.tensor_type.elem_type in _HALF
    }
    for tensor in tensors(model):
        _widen_tensor(tensor)
    for graph in graphs(model.graph):
        del graph.value_info[:]
        for port in (*graph.input, *graph.output):
            _widen_type(port.type)
    for node in nodes(model.graph):
        for attribute in node.attribute:
            if attribute.HasField("tp"):
                _widen_type(attribute.tp)
        for attribute in _types(node):
            if attribute.i in _HALF:
                attribute.i = TensorProto.FLOAT
    _keep_ports(model.graph, ports)


def with_wide_outputs(model: ModelProto) -> ModelProto:
    """The same model with outputs of float32 where the last thing done to them is a Cast to float16; a copy.

    What is proven of a graph is proven before its outputs are rounded: two float32 numbers that differ in their last bits may
    be rounded to neighbouring float16 numbers, far outside any tolerance that would prove something.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    outputs = {port.name: port for port in copy.graph.output}
    read = {name for graph in graphs(copy.graph) for node in graph.node for name in node.input}
    for node in copy.graph.node:
        port = outputs.get(node.output[0]) if node.op_type == "Cast" and whole(node, "to", 0) in _HALF else None
        if port is not None and port.name not in read:
            put(node, "to", TensorProto.FLOAT)
            port.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def _types(node: NodeProto) -> list[AttributeProto]:
    return [a for a in node.attribute if a.name in _OF_TYPE and a.type == AttributeProto.INT]


def _holds(kind: TypeProto) -> bool:
    inner = _inner(kind)
    return kind.tensor_type.elem_type in _HALF or (inner is not None and _holds(inner))


def _widen_type(kind: TypeProto) -> None:
    inner = _inner(kind)
    if inner is not None:
        _widen_type(inner)
    elif kind.HasField("tensor_type") and kind.tensor_type.elem_type in _HALF:
        kind.tensor_type.elem_type = TensorProto.FLOAT


def _inner(kind: TypeProto) -> TypeProto | None:
    """What a sequence or an optional is of."""
    found: Any = next((getattr(kind, name) for name in ("sequence_type", "optional_type") if kind.HasField(name)), None)
    return None if found is None else found.elem_type


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type not in _HALF:
        return
    value = numpy_of.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_of.from_array(value, tensor.name))


def _keep_ports(graph: GraphProto, ports: dict[str, int]) -> None:
    """Gives a widened graph's inputs and outputs their own types back, Casts between them and what is inside."""
    taken = names(graph)
    first, last = [], []
    for port in (*graph.input, *graph.output):
        if port.name not in ports:
            continue
        inside = next(
            name for index in range(len(taken) + 1) if (name := f"{port.name}.float32{'_' * index}") not in taken
        )
        taken.add(inside)
        is_input = any(port.name == each.name for each in graph.input)
        _rename(graph, port, inside)
        if is_input:
            first.append(helper.make_node("Cast", [port.name], [inside], to=TensorProto.FLOAT))
        else:
            last.append(helper.make_node("Cast", [inside], [port.name], to=ports[port.name]))
        port.type.tensor_type.elem_type = ports[port.name]
    replace(graph.node, [*first, *graph.node, *last])


def _rename(graph: GraphProto, port: ValueInfoProto, new: str) -> None:
    """Renames a value wherever nodes make it or read it; ports keep their names."""
    for node in nodes(graph):
        replace(node.input, [new if name == port.name else name for name in node.input])
        replace(node.output, [new if name == port.name else name for name in node.output])
