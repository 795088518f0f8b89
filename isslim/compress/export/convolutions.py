"""Convolutions in 8 bits: a scale per channel of the weights, ranges of activations calibrated.

ONNX Runtime's quantizer writes the form that its documentation asks for: around every convolution,
and around what lies between convolutions, pairs of QuantizeLinear and DequantizeLinear, which its
optimizer fuses into integer operators when the file is opened. The scales of the weights are given
to it, because of the bound of `int8_weights`: with 8 bits of its own the products saturate on
processors without VNNI, and 7 bits are less precise.

A convolution that reads a picture or a sound itself, of few channels, stays in float32: it takes
little time, and its rounding is felt everywhere.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, shape_inference, version_converter
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from isslim.compress.export.batch_norms import fold_batch_norms
from isslim.compress.export.calibration import ranges_of
from isslim.compress.export.int8_forms import Ranges
from isslim.compress.export.int8_weights import INT8_MAX, PAIR, Floats, eight_bits
from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.split_model import (
    SplitModel,
    given,
    merge_constants,
    sort_nodes,
    split_constants,
)

_BETWEEN = {
    "Add", "AveragePool", "Clip", "Concat", "LeakyRelu", "MaxPool", "Mul", "Relu", "Sigmoid",
}  # fmt: skip
"""Operators that ONNX Runtime computes in 8 bits, taken where they read convolutions alone."""
_SCALES_ALONG_AXIS = 13
"""First version of the standard operators in which DequantizeLinear takes a scale per channel."""
_FEW = 4
"""Channels of a picture, at most."""
_LEAST = 1 / 4096
"""Of the largest scale of a kernel: a channel of smaller weights is lost in the tensor's range
anyway, and with a scale of nearly zero its bias would not fit 32 bits."""


def quantize_convolutions(
    model: ModelProto, runs: Sequence[Mapping[str, NDArray[Any]]], ranges: Ranges
) -> ModelProto | None:
    """The same graph with its convolutions in 8 bits, except inside If and Loop.

    Args:
        model: a float32 graph whose constants are folded; not changed.
        runs: inputs that the ranges of activations are taken from.
        ranges: how.

    Returns:
        None where there is no convolution to quantize, or a library cannot follow the graph.
    """
    parts = split_constants(model)
    if not _taken(parts):
        return None
    try:
        if parts.opset < _SCALES_ALONG_AXIS:
            parts = split_constants(version_converter.convert_version(model, _SCALES_ALONG_AXIS))
        fold_batch_norms(parts)
        return _quantized(parts, runs, ranges)
    except Exception:  # converter, calibrators and quantizer raise what they come across
        return None


def _quantized(
    parts: SplitModel, runs: Sequence[Mapping[str, NDArray[Any]]], ranges: Ranges
) -> ModelProto:
    taken = _taken(parts)
    whole = merge_constants(parts)
    operators = sorted({node.op_type for node in taken})
    quantizer = QDQQuantizer(
        shape_inference.infer_shapes(whole),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges_of(whole, operators, runs, ranges),
        nodes_to_quantize=[node.name for node in taken],
        nodes_to_exclude=[],
        op_types_to_quantize=operators,
        extra_options={"TensorQuantOverrides": _overrides(parts, taken)},
    )
    quantizer.quantize_model()
    made: ModelProto = quantizer.model.model
    sort_nodes(made.graph)  # what was added stands at the end
    return made


def _taken(parts: SplitModel) -> list[NodeProto]:
    """The convolutions to quantize, and the nodes that read nothing but those and constants."""
    graph = parts.structure.graph
    given_by_caller = {port.name for port in graph.input}
    inside, taken = set[str](), list[NodeProto]()
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Conv":
            able = _is_quantizable(parts, node) and not (
                node.input[0] in given_by_caller
                and parts.constants[node.input[1]].shape[1] <= _FEW
                and get_int(node, "group", 1) == 1
            )
        else:
            read = [name for name in node.input if name and name not in parts.constants]
            able = node.op_type in _BETWEEN and bool(read) and inside.issuperset(read)
        if able:
            taken.append(node)
            inside.update(node.output[:1])
    return taken if any(node.op_type == "Conv" for node in taken) else []


def _is_quantizable(parts: SplitModel, node: NodeProto) -> bool:
    """Whether a Conv has a constant float32 kernel, and a constant bias or none."""
    kernel = parts.constants.get(given(node, 1))
    constant = not given(node, 2) or given(node, 2) in parts.constants
    return kernel is not None and kernel.dtype == np.float32 and kernel.size > 0 and constant


def _overrides(parts: SplitModel, taken: Sequence[NodeProto]) -> dict[str, list[dict[str, object]]]:
    """The scales of all kernels, as the quantizer takes them."""
    found = {}
    for node in taken:
        if node.op_type == "Conv":
            scales = kernel_scales(parts.constants[node.input[1]], get_int(node, "group", 1))
            found[node.input[1]] = [
                {"quant_type": QuantType.QInt8, "scale": scale, "zero_point": np.int8(0), "axis": 0}
                for scale in scales
            ]
    return found


def kernel_scales(kernel: NDArray[Any], groups: int) -> Floats:
    """A scale per channel with which no product of a convolution saturates on any processor.

    Args:
        kernel: float32 (N, C / groups, ...): what gives N channels of C.
        groups: of the convolution.

    Returns:
        float32 (N,). Rounded to these scales no two neighbours among the channels that are read, of
        one sign, exceed `PAIR` together.
    """
    # ONNX Runtime reads a place of the window after the other, all its channels side by side.
    matrix = np.moveaxis(kernel, 1, -1).reshape(len(kernel), -1).astype(np.float32)
    if kernel.shape[1] == 1 and groups == len(kernel):
        # Of a depthwise convolution products are summed one by one, in 32 bits.
        scales = np.abs(matrix).max(axis=1) / INT8_MAX
    else:
        # Each of a pair may be rounded up by a half.
        scales = eight_bits(matrix.T, per_column=True)[1].ravel() * PAIR / (PAIR - 1)
    smallest = max(float(scales.max()) * _LEAST, float(np.finfo(np.float32).tiny))
    found: Floats = np.maximum(scales, smallest).astype(np.float32)
    return found
