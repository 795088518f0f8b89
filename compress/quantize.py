"""Turns a float32 graph into an int8 one: dynamic quantization by ONNX Runtime.

Weights of the embedding, the decoder, of highway and of LSTM layers take 8 bits; activations are quantized as they come
(one scale per tensor), so nothing is calibrated. ONNX Runtime has no int8 GRU, and the products of a recurrent highway
network are left alone: the recurrent layers of those stay float32, and `quantize` returns which parts did not.

Weights are signed, because only such products use the 8-bit instructions of x86 processors (VNNI, AMX), and of 7 bits,
because processors without those add pairs of products in 16 bits: 2 x 255 x 64 still fits there, while 8 bits saturate and
give other results than where they were verified. What a bit less would cost is won back: matrices with weights that stand out
have a scale per column (without such, one for all makes a step of one token up to a quarter faster), and between bottleneck
and decoder, where any basis gives the same answers, the weights are first spread over a random one, so that none stands out
(QuIP, Chee et al. 2023).

The Gemm of the decoder becomes an integer MatMul, which needs no flat features: the logits are made as the tokens lie, and
the log-softmax is written over them, which saves a twentieth of a run. A tied matrix becomes two 8-bit matrices, one lying as
each reader needs it: half the bytes of the one in float32. Of a question graph the characters' vectors, the convolution, the
attention and both heads stay float32.

A scale spans a whole activation tensor, so an int8 result depends a little on what else is in the same run;
`runtime/scoring.py` and `runtime/reading.py` say what follows from that.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from compress.exporting.scoring import BOTTLENECK, DECODER, FLATTENING, FLOAT32, HIGHWAY
from runtime.graph import PRECISION

QUANTIZED_LSTM = "DynamicQuantizeLSTM"
STANDS_OUT = 15.0
"""A weight so many times the root mean square of its matrix; with one scale for all, the others would keep too few steps.

Recurrent matrices of trained LSTMs have weights of 10 to 12 times: one scale costs those 0 to 0.1 % of perplexity.
"""


def quantize(source: Path, target: Path) -> list[str]:
    """Writes the int8 form of a graph.

    Args:
        source: a float32 graph as `compress/export.py` writes it; left alone.
        target: the file to write; replaced when it exists, and only once the new one is whole.

    Returns:
        The parts whose weights take 8 bits, read off the graph that was written.
    """
    graph = onnx.load(source)
    _spread(graph.graph)
    model = _quantized(graph, target, ["Gather", "LSTM", "MatMul"], _even(graph.graph), _unflatten)
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
        model = _quantized(onnx.load(source), target, ["LSTM", "MatMul"])
    except Exception:  # the quantizer raises whatever it stumbles over; then there is no int8 form of this graph
        target.unlink(missing_ok=True)
        return []
    parts = [("recurrent layers", _has(model, QUANTIZED_LSTM)), ("matrix products", _has(model, "MatMulInteger"))]
    return [part for part, there in parts if there]


def _has(model: onnx.ModelProto, operator: str) -> bool:
    return any(node.op_type == operator for node in model.graph.node)


def _quantized(
    graph: onnx.ModelProto,
    target: Path,
    operators: list[str],
    even: Collection[str] = (),
    last: Callable[[onnx.GraphProto], None] = lambda graph: None,
) -> onnx.ModelProto:
    """Writes the int8 form of `graph`, which is used up; nodes named in `even` get one scale for each whole matrix.

    `last` changes it before it is written.
    """
    kept = [node.name for node in graph.graph.node if node.name.startswith(FLOAT32)]
    _separate(graph.graph)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="quantize-") as folder, _quiet():
        partial = Path(folder) / "int8.onnx"
        for per_column, left in ((True, even), (False, ())):
            if per_column or even:
                quantize_dynamic(
                    graph,
                    partial,
                    op_types_to_quantize=operators,
                    weight_type=QuantType.QInt8,
                    reduce_range=True,
                    per_channel=per_column,
                    # The quantizer makes a Gemm a MatMul of this name first.
                    nodes_to_exclude=[*kept, *left, *(f"{name}_MatMul" for name in left)],
                )
                graph = onnx.load(partial)
        _join(graph.graph)
        last(graph.graph)
        # By this the runtime knows that results depend on what shares a run.
        graph.metadata_props.add(key=PRECISION, value="int8")
        onnx.save(graph, partial)
        partial.replace(target)
    return graph


def _even(graph: onnx.GraphProto) -> set[str]:
    """Names of the products and LSTMs in whose matrices no weight stands out."""
    held = {tensor.name: tensor for tensor in graph.initializer}
    behind = {"Gemm": 2, "MatMul": 2, "LSTM": 3}  # where the matrices among the inputs end
    found = set()
    for node in graph.node:
        matrices = node.input[1 : behind.get(node.op_type, 0)]
        if node.name and matrices and all(name in held and _is_even(held[name]) for name in matrices):
            found.add(node.name)
    return found


def _is_even(tensor: TensorProto) -> bool:
    matrix = numpy_helper.to_array(tensor)
    return bool(np.abs(matrix).max() <= STANDS_OUT * np.linalg.norm(matrix) / np.sqrt(matrix.size))


def _spread(graph: onnx.GraphProto) -> None:
    """Turns what lies between bottleneck and decoder by a random orthogonal matrix; the function stays as it is."""
    gemms = {node.name: node for node in graph.node if node.op_type == "Gemm"}
    if BOTTLENECK not in gemms:
        return
    held = {tensor.name: tensor for tensor in graph.initializer}
    (_, weight, bias), reader = gemms[BOTTLENECK].input, gemms[DECODER].input[1]
    rows, shift, columns = (numpy_helper.to_array(held[name]).astype(np.float64) for name in (weight, bias, reader))
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((len(rows), len(rows))))[0]
    for name, turned in ((weight, basis.T @ rows), (bias, basis.T @ shift), (reader, columns @ basis)):
        held[name].CopyFrom(numpy_helper.from_array(turned.astype(np.float32), name))


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


def _unflatten(graph: onnx.GraphProto) -> None:
    """Takes away the reshapes of a scoring graph's head, with what they read alone."""
    around = {node.output[0]: node for node in graph.node if node.name.startswith(FLATTENING)}
    kept = [node for node in graph.node if node.output[0] not in around]
    for node in kept:
        node.input[:] = [around[name].input[0] if name in around else name for name in node.input]
    gone = {name for node in around.values() for name in node.input} - {name for node in kept for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name not in gone]
    # What the quantizer inferred of shapes holds no longer.
    for field, values in ((graph.node, kept), (graph.initializer, tensors), (graph.value_info, [])):
        del field[:]
        field.extend(values)


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
