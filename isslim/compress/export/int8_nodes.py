"""The int8 forms of single nodes: replacements for an LSTM, a table, a product.

Activations are quantized at run time, over the whole tensor (DynamicQuantizeLinear): nothing is
calibrated. A tied matrix becomes two 8-bit matrices, each in the layout that its reader needs: half
the bytes of the one in float32.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (DynamicQuantizeLSTM)

Legend: D directions, I inputs, H units, V entries of a table, E width of an entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper

from isslim.compress.export.int8_forms import Form
from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.export.int8_weights import Floats, eight_bits, table_eight_bits
from isslim.compress.onnx.model.attributes import get_int, remove_attribute
from isslim.compress.onnx.model.recurrent import R, W
from isslim.compress.onnx.model.split_model import Constant, given, replace

QUANTIZED_LSTM = "DynamicQuantizeLSTM"
_LSTM_INPUTS = 8
"""Inputs of the float32 operator; those of the quantized weights follow them."""


@dataclass(frozen=True)
class Int8Constant:
    """Names of three constants: the integers, their scales, and their zero points (all 0)."""

    weight: str
    scale: str
    zero_point: str


class Int8Nodes:
    """Builds int8 nodes for one graph; weights and activations are shared by all their readers."""

    def __init__(self, work: Int8Graph, form: Form) -> None:
        self._work, self._form = work, form
        self._weights: dict[tuple[str, bool, bool], Int8Constant] = {}
        self._tables: dict[str, Int8Constant] = {}
        self._arrived: dict[str, list[str]] = {}

    def lstm(self, node: NodeProto) -> list[NodeProto]:
        """W (D, 4 H, I) and R (D, 4 H, H), which the operator reads transposed."""
        # The input's product is computed once per run: a scale per column costs nothing there.
        inward = self._weight(node.input[W], turned=True, per_column=True)
        across = self._weight(node.input[R], turned=True, per_column=self._form.recurrent)
        inputs = [given(node, index) for index in range(_LSTM_INPUTS)]
        # Bias, lengths, states and peepholes stay in float32, at their positions.
        inputs[W], inputs[R] = inward.weight, across.weight
        inputs += [inward.scale, inward.zero_point, across.scale, across.zero_point]
        small = NodeProto()
        small.CopyFrom(node)
        small.op_type, small.domain = QUANTIZED_LSTM, "com.microsoft"
        remove_attribute(small, "layout")  # the operator has no such attribute
        replace(small.input, [*inputs])
        return [small]

    def lookup(self, node: NodeProto) -> list[NodeProto]:
        """Rows (..., E) of integers are looked up, and scaled afterwards."""
        table = self._table(node.input[0])
        rows = self._work.fresh(f"{node.output[0]}_rows")
        scaled = [rows, table.scale, table.zero_point]
        return [
            helper.make_node(
                "Gather", [table.weight, node.input[1]], [rows], name=node.name, axis=0
            ),
            helper.make_node("DequantizeLinear", scaled, [node.output[0]], axis=-1),
        ]

    @contextmanager
    def body(self) -> Iterator[None]:
        """While nodes of another node's body are made, of whose values only it knows."""
        outer, self._arrived = self._arrived, {}
        yield
        self._arrived = outer

    def product(self, node: NodeProto, *, per_column: bool | None = None) -> list[NodeProto]:
        """The pattern that ONNX Runtime fuses into one pass: quantize, multiply, scale and add.

        Args:
            node: a product of an activation and a constant matrix.
            per_column: whether the matrix has a scale per column; None: as `Form.products` says.
        """
        turned = node.op_type == "Gemm" and get_int(node, "transB", 0) != 0
        columns = self._form.products if per_column is None else per_column
        weight = self._weight(node.input[1], turned=turned, per_column=columns)
        # Products of one activation share its bytes: quantizing is a pass over all of it.
        before = self._quantized(node.input[0])
        quantized, step, offset = self._arrived[node.input[0]]
        result, bias = node.output[0], given(node, 2)
        whole_numbers, floats, both, scaled = (
            self._work.fresh(f"{result}_{each}") for each in ("integer", "float", "scale", "scaled")
        )
        integers = [quantized, weight.weight, offset, weight.zero_point]
        made = [
            *before,
            helper.make_node("MatMulInteger", integers, [whole_numbers], name=node.name),
            helper.make_node("Cast", [whole_numbers], [floats], to=TensorProto.FLOAT),
            helper.make_node("Mul", [step, weight.scale], [both]),
            helper.make_node("Mul", [floats, both], [scaled if bias else result]),
        ]
        if bias:
            made.append(helper.make_node("Add", [scaled, bias], [result]))
        return made

    def _quantized(self, activation: str) -> list[NodeProto]:
        """The node that quantizes an activation; none where another product already added it."""
        if activation in self._arrived:
            return []
        made = [
            self._work.fresh(f"{activation}_{each}")
            for each in ("quantized", "scale", "zero_point")
        ]
        self._arrived[activation] = made
        return [helper.make_node("DynamicQuantizeLinear", [activation], made)]

    def _weight(self, name: str, *, turned: bool, per_column: bool) -> Int8Constant:
        """A matrix in 8 bits, made once for all its readers."""
        if (name, turned, per_column) not in self._weights:
            matrix = self._work.constants[name].astype(np.float32)
            lying = matrix.swapaxes(-1, -2) if turned else matrix
            weight, scale = eight_bits(lying, per_column=per_column)
            # The operators take scales without the dimension of length 1 that broadcasting needs.
            flat = scale[..., 0, :] if per_column else scale[..., 0, 0]
            base = f"{name}_turned" if turned and weight.ndim == 2 else name
            self._weights[name, turned, per_column] = self._hold(base, weight, flat)
        return self._weights[name, turned, per_column]

    def _table(self, name: str) -> Int8Constant:
        """A table (V, E) in 8 bits, made once for all its readers."""
        if name not in self._tables:
            table = self._work.constants[name].astype(np.float32)
            # After spreading its columns are alike, and one scale is faster to apply.
            weight, scale = table_eight_bits(table, per_column=name not in self._work.spread)
            self._tables[name] = self._hold(name, weight, scale)
        return self._tables[name]

    def _hold(self, base: str, weight: Constant, scale: Floats) -> Int8Constant:
        """Adds the three constants of a matrix to the graph."""
        held = Int8Constant(
            self._work.fresh(f"{base}_quantized"),
            self._work.fresh(f"{base}_scale"),
            self._work.fresh(f"{base}_zero_point"),
        )
        self._work.constants[held.weight] = weight
        self._work.constants[held.scale] = scale
        self._work.constants[held.zero_point] = np.zeros(scale.shape, np.int8)
        return held
