"""Turns a float32 scoring graph into an int8 one: dynamic quantization by ONNX Runtime.

Weights of the embedding, the decoder and of LSTM layers take 8 bits; activations are quantized as they come (one scale
per tensor), so nothing is calibrated. ONNX Runtime has no int8 GRU, and the products of a recurrent highway network are
left alone: the recurrent layers of those stay float32, and `quantize` returns which parts did not.

Weights are unsigned: x86 processors without VNNI multiply an unsigned by a signed byte with 16-bit sums that saturate,
so that signed weights would give other results there than where they were verified. The Gemm of the decoder becomes an
integer MatMul. A tied matrix becomes two 8-bit matrices, one lying as each reader needs it: half the bytes of the one in
float32.

A scale spans a whole activation tensor, so an int8 result depends a little on what else is in the same run;
`runtime/scoring.py` says what follows from that.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from compress.exporting.scoring import RECURRENT
from runtime.graph import PRECISION

_OPERATORS = ["Gather", "LSTM", "MatMul"]


def quantize(source: Path, target: Path) -> list[str]:
    """Writes the int8 form of a graph.

    Args:
        source: a float32 graph as `compress/export.py` writes it; left alone.
        target: the file to write; replaced when it exists, and only once the new one is whole.

    Returns:
        The parts whose weights take 8 bits, read off the graph that was written.
    """
    recurrent = [node.name for node in onnx.load(source).graph.node if node.name.startswith(RECURRENT)]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="quantize-") as folder, _quiet():
        partial = Path(folder) / "int8.onnx"
        quantize_dynamic(
            source,
            partial,
            op_types_to_quantize=_OPERATORS,
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=recurrent,
        )
        model = onnx.load(partial)
        # By this the runtime knows that results depend on what shares a run.
        model.metadata_props.add(key=PRECISION, value="int8")
        onnx.save(model, partial)
        partial.replace(target)
    return _eight_bit(model)


def _eight_bit(model: onnx.ModelProto) -> list[str]:
    """The parts with 8-bit weights, by the operators that read them."""
    operators = {node.op_type for node in model.graph.node}
    bytes_held = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.UINT8}
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    parts: list[tuple[str, bool]] = [
        ("embedding", bool(looked_up & bytes_held)),
        ("recurrent layers", "DynamicQuantizeLSTM" in operators),
        ("softmax", "MatMulInteger" in operators),
    ]
    return [part for part, there in parts if there]


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
