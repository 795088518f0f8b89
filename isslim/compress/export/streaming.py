"""Writes an ONNX file tensor by tensor.

A model of gigabytes then needs additional memory only for its largest matrix; a ModelProto with all
weights would double the memory.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

Floats = NDArray[np.float32]

# Tags of onnx.proto's fields with the wire type "length-delimited": number << 3 | 2.
_MODEL_GRAPH = b"\x3a"  # ModelProto.graph = 7
_GRAPH_INITIALIZER = b"\x2a"  # GraphProto.initializer = 5
_TENSOR_RAW_DATA = b"\x4a"  # TensorProto.raw_data = 9


def write(
    file: BinaryIO, model: onnx.ModelProto, weights: Callable[[], Iterator[tuple[str, Floats]]]
) -> None:
    """Serializes `model` with the weights added to its graph, holding one tensor at a time.

    The graph is written last in the message, as its own bytes followed by one initializer field per
    tensor: the order of fields is free in protobuf, so the file is an ordinary one.

    Args:
        file: written from its current position.
        model: the structure; its graph is removed from it.
        weights: yields the tensors by name; called twice, since protobuf writes sizes before the
            data.
    """
    graph = model.graph.SerializeToString()
    # A field of variable length follows its length, which must therefore be known before the first
    # tensor is written.
    size = len(graph) + sum(_initializer_size(name, array) for name, array in weights())
    model.ClearField("graph")
    file.write(model.SerializeToString())
    file.write(_MODEL_GRAPH + varint(size) + graph)
    for name, array in weights():
        head = _tensor_head(name, array)
        file.write(_GRAPH_INITIALIZER + varint(len(head) + array.nbytes) + head)
        # ONNX's raw data is little-endian, whatever this processor is.
        file.write(np.ascontiguousarray(array, dtype="<f4").data)


def _initializer_size(name: str, array: Floats) -> int:
    body = len(_tensor_head(name, array)) + array.nbytes
    return len(_GRAPH_INITIALIZER) + len(varint(body)) + body


def _tensor_head(name: str, array: Floats) -> bytes:
    """A TensorProto up to its data."""
    head = TensorProto(dims=array.shape, data_type=TensorProto.FLOAT, name=name)
    return bytes(head.SerializeToString()) + _TENSOR_RAW_DATA + varint(array.nbytes)


def varint(value: int) -> bytes:
    """A varint of protobuf: seven bits a byte, lowest first; the high bit: more bytes follow."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
