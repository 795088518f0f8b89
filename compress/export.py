"""Writes a language model as the ONNX scoring graph of `runtime/graph.py`.

    tokens -> Gather -> LSTM -> ... -> LSTM -> Gemm -> LogSoftmax -> log_probs
                         ^ state in, out              '-> GatherElements(targets) -> token_log_probs

Native LSTM operators (https://onnx.ai/onnx/operators/onnx__LSTM.html), never an unrolled loop. The decoder is a Gemm
that reads its matrix as (V, H), which is how an embedding lies: a tied model stores its one matrix once, and needs no
transposed copy of it.

Legend: B batch, T steps, V vocabulary, E embedding width, H units of a layer, I inputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from compress.networks.contract import LanguageModel
from compress.networks.lstm import LstmLanguageModel, LstmSpec
from runtime.graph import LENGTHS, LOG_PROBS, STATE_OUT, TARGETS, TOKEN_LOG_PROBS, TOKENS

OPSET = 18
IR_VERSION = 9
LARGEST_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB, and a bundle holds no external data; the rest is room for the structure."""

_GATES = (0, 3, 1, 2)
"""torch stacks a layer's gates as i, f, g, o; ONNX as i, o, f, c, where c is torch's g."""

# Tags of onnx.proto's fields with the wire type "length-delimited": number << 3 | 2.
_MODEL_GRAPH = b"\x3a"  # ModelProto.graph = 7
_GRAPH_INITIALIZER = b"\x2a"  # GraphProto.initializer = 5
_TENSOR_RAW_DATA = b"\x4a"  # TensorProto.raw_data = 9

Floats = NDArray[np.float32]


@singledispatch
def export(network: LanguageModel, path: Path) -> None:
    """Writes `network` as one ONNX file, weights in float32. One function for each architecture is registered here.

    Args:
        network: the model.
        path: the file to write; replaced when it exists, and only once the new one is whole.

    Ensures:
        The file keeps to `runtime/graph.py`; the memory taken beside the network is that of one tensor.

    Raises:
        ValueError: when the weights pass 2 GiB, which is what one ONNX file can hold.
    """
    raise NotImplementedError(f"there is no exporter for {type(network).__name__}")


@export.register
def _(network: LstmLanguageModel, path: Path) -> None:
    size_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    if size_bytes > LARGEST_BYTES:
        raise ValueError(f"the weights take {size_bytes:,} bytes; one ONNX file holds {LARGEST_BYTES:,}")
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            _write(file, _structure(network.spec), network)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _weights(network: LstmLanguageModel) -> Iterator[tuple[str, Floats]]:
    """The tensors of the graph, one at a time."""
    yield "embedding", _array(network.embedding.weight)  # (V, E)
    for index, layer in enumerate(network.layers):
        yield f"input_weight_{index}", _in_onnx_order(layer.get_parameter("weight_ih_l0"))[None]  # (1, 4 H, I)
        yield f"recurrent_weight_{index}", _in_onnx_order(layer.get_parameter("weight_hh_l0"))[None]  # (1, 4 H, H)
        biases = [_in_onnx_order(layer.get_parameter("bias_ih_l0")), _in_onnx_order(layer.get_parameter("bias_hh_l0"))]
        yield f"bias_{index}", np.concatenate(biases)[None]  # (1, 8 H)
    if not network.spec.tied:
        yield "decoder", _array(network.decoder.weight)  # (V, H)
    yield "decoder_bias", _array(network.decoder.bias)  # (V,)


def _array(parameter: Tensor) -> Floats:
    array: Floats = parameter.detach().cpu().float().numpy()
    return array


def _in_onnx_order(parameter: Tensor) -> Floats:
    """(4 H, ...) with torch's order of the gates -> the same with ONNX's."""
    array = _array(parameter)
    gates = array.reshape(4, -1, *array.shape[1:])  # (4, H, ...)
    return gates[list(_GATES)].reshape(array.shape)


def _structure(spec: LstmSpec) -> onnx.ModelProto:
    """The model without its weights."""
    nodes = [helper.make_node("Gather", ["embedding", TOKENS], ["x_0"])]
    inputs = [
        _port(TOKENS, TensorProto.INT64, ["T", "B"]),
        _port(TARGETS, TensorProto.INT64, ["T", "B"]),
        _port(LENGTHS, TensorProto.INT32, ["B"]),
    ]
    outputs = [
        _port(TOKEN_LOG_PROBS, TensorProto.FLOAT, ["T", "B"]),
        _port(LOG_PROBS, TensorProto.FLOAT, ["T", "B", spec.vocabulary]),
    ]
    for index, units in enumerate(spec.units):
        states = [f"hidden_{index}", f"cell_{index}"]
        inputs += [_port(name, TensorProto.FLOAT, [1, "B", units]) for name in states]
        outputs += [_port(name + STATE_OUT, TensorProto.FLOAT, [1, "B", units]) for name in states]
        nodes += _layer(index, units, states)
    nodes += _head(f"x_{len(spec.units)}", spec)
    constants = {"one": [1], "last": [-1], "rows": [-1, spec.units[-1]], "vocabulary": [spec.vocabulary]}
    initializers = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "score", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _layer(index: int, units: int, states: list[str]) -> list[onnx.NodeProto]:
    weights = [f"input_weight_{index}", f"recurrent_weight_{index}", f"bias_{index}"]
    return [
        helper.make_node(
            "LSTM",
            [f"x_{index}", *weights, LENGTHS, *states],
            [f"y_{index}", *(name + STATE_OUT for name in states)],
            name=f"lstm_{index}",
            hidden_size=units,
        ),
        helper.make_node("Squeeze", [f"y_{index}", "one"], [f"x_{index + 1}"]),  # (T, 1, B, H) -> (T, B, H)
    ]


def _head(top: str, spec: LstmSpec) -> list[onnx.NodeProto]:
    """Decoder, log-softmax, and the log-probability of each target.

    The decoder works on (T B, H): a Gemm is of two dimensions, and adds the bias in the same pass. Its result is
    shaped back before the log-softmax and not after, because there it costs nothing: a graph output is never an
    alias of another tensor, so that a Reshape onto it would copy (T, B, V) numbers.
    """
    decoder = ["embedding" if spec.tied else "decoder", "decoder_bias"]
    node = helper.make_node
    return [
        node("Reshape", [top, "rows"], ["features"]),  # (T, B, H) -> (T B, H)
        node("Gemm", ["features", *decoder], ["flat_logits"], name="decoder", transB=1),  # (T B, V)
        node("Shape", [TOKENS], ["steps"]),  # [T, B]
        node("Concat", ["steps", "vocabulary"], ["shape"], axis=0),  # [T, B, V]
        node("Reshape", ["flat_logits", "shape"], ["logits"]),  # (T B, V) -> (T, B, V)
        node("LogSoftmax", ["logits"], [LOG_PROBS], axis=-1),
        node("Unsqueeze", [TARGETS, "last"], ["columns"]),  # (T, B) -> (T, B, 1)
        node("GatherElements", [LOG_PROBS, "columns"], ["picked"], axis=-1),
        node("Squeeze", ["picked", "last"], [TOKEN_LOG_PROBS]),  # (T, B, 1) -> (T, B)
    ]


def _port(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _write(file: BinaryIO, model: onnx.ModelProto, network: LstmLanguageModel) -> None:
    """Serializes `model` with the weights added to its graph, one tensor in memory at a time.

    The graph is written last in the message, as its own bytes followed by one initializer field per tensor: the
    order of fields is free in protobuf, so the file is an ordinary one.
    """
    graph = model.graph.SerializeToString()
    size = len(graph) + sum(_initializer_size(name, array) for name, array in _weights(network))
    model.ClearField("graph")
    file.write(model.SerializeToString())
    file.write(_MODEL_GRAPH + _varint(size) + graph)
    for name, array in _weights(network):
        head = _tensor_head(name, array)
        file.write(_GRAPH_INITIALIZER + _varint(len(head) + array.nbytes) + head)
        file.write(np.ascontiguousarray(array, dtype="<f4").data)


def _initializer_size(name: str, array: Floats) -> int:
    body = len(_tensor_head(name, array)) + array.nbytes
    return len(_GRAPH_INITIALIZER) + len(_varint(body)) + body


def _tensor_head(name: str, array: Floats) -> bytes:
    """A TensorProto up to its data."""
    head = TensorProto(dims=array.shape, data_type=TensorProto.FLOAT, name=name)
    return bytes(head.SerializeToString()) + _TENSOR_RAW_DATA + _varint(array.nbytes)


def _varint(value: int) -> bytes:
    """Protobuf's base-128 number: seven bits a byte, the lowest first, the high bit says that more follow."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
