"""A dynamically quantized graph with its weights as 32-bit numbers again.

Only for graphs as `onnxruntime.quantization.quantize_dynamic` writes them. The numbers are those of
the quantized weights; what is lost by rounding the activations comes back.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

MAIN, QUANTIZED_LSTM = "", "DynamicQuantizeLSTM"
Arrays = dict[str, NDArray[np.generic]]


def dequantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph of plain LSTM and MatMul operators.

    Args:
        model: it holds `DynamicQuantizeLSTM` and `MatMulInteger` of constant weights.

    Raises:
        ValueError: when a product is not written as the quantizer does.
    """
    graph = model.graph
    arrays: Arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    made, nodes = Arrays(), list[NodeProto]()
    products = dict(_products(list(graph.node)))
    for node in graph.node:
        if node.op_type == QUANTIZED_LSTM:
            nodes.append(_lstm(node, arrays, made))
        elif node.output[0] in products:
            data, integer = products[node.output[0]]
            weights = _float(arrays, integer.input[1], integer.input[3])
            made[f"{integer.name}.weight"] = weights
            name = f"{integer.name}.weight"
            nodes.append(helper.make_node("MatMul", [data, name], [node.output[0]]))
        else:
            nodes.append(node)
    kept = _needed(nodes, [port.name for port in graph.output])
    used = {name for node in kept for name in node.input}
    both = arrays | made
    tensors = [numpy_helper.from_array(both[name], name) for name in both if name in used]
    fresh = helper.make_graph(kept, graph.name, graph.input, graph.output, tensors)
    opsets = [each for each in model.opset_import if each.domain == MAIN]
    return helper.make_model(fresh, opset_imports=opsets, ir_version=model.ir_version)


def _lstm(node: NodeProto, arrays: Arrays, made: Arrays) -> NodeProto:
    """The plain operator: its weights are transposed, and scales stand after the usual inputs."""
    inputs = list(node.input)
    for place, kind in ((1, "W"), (2, "R")):
        scale = inputs[8 + 2 * (place - 1)]
        zero = inputs[9 + 2 * (place - 1)]
        name = f"{node.name}.{kind}"
        made[name] = np.ascontiguousarray(
            _scaled(arrays[inputs[place]], arrays[scale], arrays[zero]).swapaxes(1, 2)
        )
        inputs[place] = name
    plain = helper.make_node("LSTM", inputs[:8], list(node.output), name=node.name)
    plain.attribute.extend(node.attribute)
    return plain


def _products(nodes: list[NodeProto]) -> Iterator[tuple[str, tuple[str, NodeProto]]]:
    """By the name of the product: what is multiplied, and the operator on whole numbers."""
    by_output = {name: node for node in nodes for name in node.output}
    readers = {name: node for node in nodes for name in node.input}
    for node in nodes:
        if node.op_type != "MatMulInteger":
            continue
        cast = readers[node.output[0]]
        scaled, given = readers[cast.output[0]], by_output.get(node.input[0])
        if (cast.op_type, scaled.op_type) != ("Cast", "Mul") or given is None:
            raise ValueError(f"{node.name} is not followed by Cast and Mul, as the quantizer does")
        yield scaled.output[0], (given.input[0], node)


def _float(arrays: Arrays, weights: str, zero: str) -> NDArray[np.float32]:
    """Weights of a product; the quantizer names their scale after them."""
    scale = arrays[f"{weights.removesuffix('_quantized')}_scale"]
    return _scaled(arrays[weights], scale, arrays[zero])


def _scaled(
    weights: NDArray[np.generic], scale: NDArray[np.generic], zero: NDArray[np.generic]
) -> NDArray[np.float32]:
    """(q - zero) * scale, with one scale for everything, or one for each direction."""
    per = (-1,) + (1,) * (weights.ndim - 1) if scale.ndim else ()
    whole = weights.astype(np.float32) - zero.astype(np.float32).reshape(per)
    return np.asarray(whole * scale.astype(np.float32).reshape(per), np.float32)


def _needed(nodes: list[NodeProto], outputs: list[str]) -> list[NodeProto]:
    wanted, kept = set(outputs), list[NodeProto]()
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]
