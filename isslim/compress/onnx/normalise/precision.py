"""Graphs in float16, bfloat16 or float64 as float32: ONNX Runtime has no other recurrent layers.

It ends the whole process on some graphs with an LSTM in float16 (a fault of its own, seen in 1.23
while it opens the file), and refuses to run one in float64. So every number inside becomes a
float32, exactly or rounded to 24 bits, and inputs and outputs keep their types: with a Cast after
each such input, and one before each such output.

https://onnx.ai/onnx/operators/onnx__Cast.html
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
)
from onnx import numpy_helper as numpy_of

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.attributes import get_int, set_attribute
from isslim.compress.onnx.model.external_data import tensors
from isslim.compress.onnx.model.recurrent import W, view
from isslim.compress.onnx.model.shapes import with_shapes
from isslim.compress.onnx.model.split_model import (
    given,
    graphs,
    label,
    names,
    nodes,
    replace,
)

_HALF: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
_NAMES: dict[int, str] = {**_HALF, TensorProto.DOUBLE: "float64"}
_OF_TYPE = ("to", "dtype", "stash_type", "output_dtype")
"""Attributes that give the type of an operator's output, or that in which it computes."""


def other_precisions(model: ModelProto) -> dict[int, str]:
    """The types in a model that have to become float32, with their names.

    float16 and bfloat16 anywhere; float64 only where a recurrent layer computes in it.
    """
    found = {tensor.data_type for tensor in tensors(model)}
    for graph in graphs(model.graph):
        for port in (*graph.input, *graph.output):
            found |= _held(port.type)
    # A Cast inside may be the only occurrence of another type.
    found |= {attribute.i for node in nodes(model.graph) for attribute in _types(node)}
    chosen = {kind: name for kind, name in _HALF.items() if kind in found}
    # Other operators do run in float64, and may have it for a reason.
    if TensorProto.DOUBLE in found and _has_wide_layers(model):
        chosen[TensorProto.DOUBLE] = _NAMES[TensorProto.DOUBLE]
    return chosen


def to_float32(model: ModelProto, kinds: Collection[int]) -> None:
    """Makes a model compute in float32 between ports of the types that they had; in place.

    Args:
        model: without functions.
        kinds: the types that become float32.

    Raises:
        GraphNotUnderstood: when an input or output is of bfloat16, or a number's bits are looked
            at.
    """
    _refuse_what_cannot_be_widened(model)
    own = _port_types(model.graph, kinds)
    _widen_tensors(model, kinds)
    _widen_types(model.graph, kinds)
    _keep_ports(model.graph, own)


def _refuse_what_cannot_be_widened(model: ModelProto) -> None:
    for port in (*model.graph.input, *model.graph.output):
        if port.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            raise GraphNotUnderstood(
                f"'{port.name}' is of bfloat16, which NumPy does not have: export the graph with "
                "inputs and outputs of float32 (what is inside may stay in bfloat16)"
            )
    bits = next((node for node in nodes(model.graph) if node.op_type == "BitCast"), None)
    if bits is not None:
        raise GraphNotUnderstood(
            f"the graph is not in float32, and '{label(bits)}' looks at the bits of numbers: "
            "export it in float32"
        )


def _port_types(graph: GraphProto, kinds: Collection[int]) -> dict[str, int]:
    """The types of the inputs and outputs that are about to become float32, by name."""
    types = {p.name: p.type.tensor_type.elem_type for p in (*graph.input, *graph.output)}
    return {name: kind for name, kind in types.items() if kind in kinds}


def _widen_tensors(model: ModelProto, kinds: Collection[int]) -> None:
    """Converts all constants of the model to float32."""
    for tensor in tensors(model):
        if tensor.data_type not in kinds:
            continue
        with np.errstate(over="ignore"):  # of a float64 that no float32 can hold
            value = numpy_of.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_of.from_array(value, tensor.name))


def _widen_types(outermost: GraphProto, kinds: Collection[int]) -> None:
    """Makes float32 of every type that a graph, or one nested in it, asks for."""
    for graph in graphs(outermost):
        # Types of values between operators follow from the rest; a wrong one would be refused.
        del graph.value_info[:]
        for port in (*graph.input, *graph.output):
            _set_type(port.type, kinds)
    for node in nodes(outermost):
        for attribute in node.attribute:
            if attribute.HasField("tp"):
                _set_type(attribute.tp, kinds)
        for attribute in _types(node):
            if attribute.i in kinds:
                attribute.i = TensorProto.FLOAT


def with_wide_outputs(model: ModelProto) -> ModelProto:
    """A copy with outputs of float32 where the last thing done to them is a Cast to another type.

    What is proven of a graph is proven before its outputs are rounded: two float32 numbers that
    differ in their last bits may be rounded to neighbouring float16 numbers, far outside any
    tolerance that would prove something.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    outputs = {port.name: port for port in copy.graph.output}
    read = {name for graph in graphs(copy.graph) for node in graph.node for name in node.input}
    for node in copy.graph.node:
        if node.op_type != "Cast" or get_int(node, "to", 0) not in _NAMES:
            continue
        port = outputs.get(node.output[0])
        # What reads the rounded numbers inside the graph must go on to read them.
        if port is not None and port.name not in read:
            set_attribute(node, "to", TensorProto.FLOAT)
            port.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def _types(node: NodeProto) -> list[AttributeProto]:
    return [a for a in node.attribute if a.name in _OF_TYPE and a.type == AttributeProto.INT]


def _has_wide_layers(model: ModelProto) -> bool:
    """Whether the weights of a recurrent layer are of float64, given or computed."""
    kinds: dict[str, int] = {}
    for graph in graphs(with_shapes(model).graph):
        for port in (*graph.value_info, *graph.input, *graph.output):
            kinds[port.name] = port.type.tensor_type.elem_type
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            kinds[tensor.name] = tensor.data_type
    layers = filter(view, nodes(model.graph))
    return any(kinds.get(given(node, W)) == TensorProto.DOUBLE for node in layers)


def _held(kind: TypeProto) -> set[int]:
    """The type of the numbers in a tensor, or in what a sequence or an optional is of."""
    inner = _inner(kind)
    return {kind.tensor_type.elem_type} if inner is None else _held(inner)


def _set_type(kind: TypeProto, kinds: Collection[int]) -> None:
    """Makes a type that is one of `kinds` float32; in place."""
    inner = _inner(kind)
    if inner is not None:
        _set_type(inner, kinds)
    elif kind.HasField("tensor_type") and kind.tensor_type.elem_type in kinds:
        kind.tensor_type.elem_type = TensorProto.FLOAT


def _inner(kind: TypeProto) -> TypeProto | None:
    """What a sequence or an optional is of."""
    for name in ("sequence_type", "optional_type"):
        if kind.HasField(name):
            inner: TypeProto = getattr(kind, name).elem_type
            return inner
    return None


def _keep_ports(graph: GraphProto, ports: dict[str, int]) -> None:
    """Gives inputs and outputs their own types back, with Casts between them and what is inside."""
    taken = names(graph)
    inputs = {port.name for port in graph.input}
    first, last = [], []
    for port in (*graph.input, *graph.output):
        if port.name not in ports:
            continue
        inside = f"{port.name}.float32"
        while inside in taken:
            inside += "_"
        taken.add(inside)
        # The port keeps its name, by which callers know it; what is inside gets another.
        _rename(graph, port, inside)
        if port.name in inputs:
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
