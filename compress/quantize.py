"""Turns a float32 graph into an int8 one: dynamic quantization by ONNX Runtime.

Weights of the embedding, the decoder, of highway and of LSTM layers take 8 bits; activations are quantized as they come
(one scale per tensor), so nothing is calibrated. ONNX Runtime has no int8 GRU, and the products of a recurrent highway
network are left alone: the recurrent layers of those stay float32, and `quantize` returns which parts did not.

Weights are unsigned: x86 processors without VNNI multiply an unsigned by a signed byte with 16-bit sums that saturate,
so that signed weights would give other results there than where they were verified. (The quantizer makes an LSTM's signed
all the same; they are moved up here, which changes no value.) The Gemm of the decoder becomes an
integer MatMul. A tied matrix becomes two 8-bit matrices, one lying as each reader needs it: half the bytes of the one in
float32. Of a question graph the characters' vectors, the convolution, the attention and both heads stay float32.

A scale spans a whole activation tensor, so an int8 result depends a little on what else is in the same run;
`runtime/scoring.py` and `runtime/reading.py` say what follows from that.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from compress.exporting.scoring import DECODER, FLOAT32, HIGHWAY
from runtime.graph import PRECISION

_OPERATORS = ["Gather", "LSTM", "MatMul"]
QUANTIZED_LSTM = "DynamicQuantizeLSTM"
_SIGNED_INPUTS = (1, 2, 9, 11)
"""Its input and recurrent weights, and the zero points of both."""


def quantize(source: Path, target: Path) -> list[str]:
    """Writes the int8 form of a graph.

    Args:
        source: a float32 graph as `compress/export.py` writes it; left alone.
        target: the file to write; replaced when it exists, and only once the new one is whole.

    Returns:
        The parts whose weights take 8 bits, read off the graph that was written.
    """
    model = _quantized(source, target, _OPERATORS)
    products = [node.name for node in model.graph.node if node.op_type == "MatMulInteger"]
    bytes_held = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.UINT8}
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    parts: list[tuple[str, bool]] = [
        ("embedding", bool(looked_up & bytes_held)),
        ("highway layers", any(HIGHWAY in name for name in products)),
        ("recurrent layers", _has(model, QUANTIZED_LSTM)),
        ("softmax", any(name.startswith(DECODER) for name in products)),
    ]
    return [part for part, there in parts if there]


def quantize_graph(source: Path, target: Path) -> list[str]:
    """The same of a graph of any origin, as far as ONNX Runtime's quantizer can follow it: LSTMs and matrix products.

    Returns:
        The parts whose weights take 8 bits; none, and no file, where the quantizer gives up or finds nothing.
    """
    try:
        model = _quantized(source, target, ["LSTM", "MatMul"])
    except Exception:  # the quantizer raises whatever it stumbles over; then there is no int8 form of this graph
        target.unlink(missing_ok=True)
        return []
    parts = [("recurrent layers", _has(model, QUANTIZED_LSTM)), ("matrix products", _has(model, "MatMulInteger"))]
    return [part for part, there in parts if there]


def _has(model: onnx.ModelProto, operator: str) -> bool:
    return any(node.op_type == operator for node in model.graph.node)


def _quantized(source: Path, target: Path, operators: list[str]) -> onnx.ModelProto:
    graph = onnx.load(source)
    kept = [node.name for node in graph.graph.node if node.name.startswith(FLOAT32)]
    _separate(graph.graph)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="quantize-") as folder, _quiet():
        partial = Path(folder) / "int8.onnx"
        quantize_dynamic(
            graph,
            partial,
            op_types_to_quantize=operators,
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=kept,
        )
        model = onnx.load(partial)
        _join(model.graph)
        _unsign(model.graph)
        # By this the runtime knows that results depend on what shares a run.
        model.metadata_props.add(key=PRECISION, value="int8")
        onnx.save(model, partial)
        partial.replace(target)
    return model


_COPY = "_copied_for_the_quantizer"


def _separate(graph: onnx.GraphProto) -> None:
    """Gives every LSTM matrices of its own: the quantizer transposes them in place, twice where two operators share them."""
    held, seen = {tensor.name: tensor for tensor in graph.initializer}, set[str]()
    for node in graph.node:
        if node.op_type != "LSTM":
            continue
        for position in (1, 2):
            name = node.input[position]
            while name in seen:
                name += _COPY
            seen.add(name)
            if name != node.input[position]:
                graph.initializer.add().CopyFrom(held[node.input[position]])
                graph.initializer[-1].name = node.input[position] = name


def _join(graph: onnx.GraphProto) -> None:
    """Takes away what `_separate` copied."""
    for node in graph.node:
        if node.op_type == QUANTIZED_LSTM:
            node.input[:] = [name.replace(_COPY, "") for name in node.input]
    whole = [tensor for tensor in graph.initializer if _COPY not in tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(whole)


def _unsign(graph: onnx.GraphProto) -> None:
    """Moves the LSTMs' signed weights, and their zero points with them, up by 128."""
    names = {
        node.input[position] for node in graph.node if node.op_type == QUANTIZED_LSTM for position in _SIGNED_INPUTS
    }
    for tensor in graph.initializer:
        if tensor.name in names and tensor.data_type == TensorProto.INT8:
            moved = numpy_helper.to_array(tensor).astype(np.int16) + 128
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.uint8), tensor.name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the quantizer, which warns on the root logger that a graph was not pre-processed; ours need not be."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
