"""Writes the int8 form of a float32 graph: 8-bit weights, activations quantized at run time.

These are quantized: look-up tables (embeddings), LSTMs, and products with a constant matrix, also
in the body of a Scan. ONNX Runtime has no int8 GRU or RNN: where the form asks for it, they become
Scans of int8 products (`recurrent_scan`). Convolutions are quantized before, with calibrated ranges
(`convolutions`). Nodes inside If and Loop are left alone. `EightBit` lists which parts were
quantized and which were not. How a form is chosen: `int8_forms`; how numbers are rounded:
`int8_weights`; what is written for a node: `int8_nodes`.

The decoder's Gemm becomes an integer MatMul, which needs no flat features: the logits keep the
layout of the tokens, and the log-softmax is computed on them directly, which saves a twentieth of a
run. In a question graph the character vectors, the convolution, the attention and both heads stay
float32.

A scale spans a whole activation tensor, so an int8 result depends a little on what else is in the
same run; `isslim/runtime/language/scoring.py` and `isslim/runtime/questions/answering.py` deal with
the consequences.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, helper

from isslim.compress.export.int8_forms import FORMS, EightBit, Form, Part, PartCount, eight_bit
from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.export.int8_nodes import Int8Nodes
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.recurrent_scan import as_scan, has_scan
from isslim.compress.export.spreading import spread
from isslim.compress.onnx.model.attributes import get_float, get_graph, get_int, subgraphs
from isslim.compress.onnx.model.naming import name_nodes
from isslim.compress.onnx.model.recurrent import OPERATORS, R, W
from isslim.compress.onnx.model.split_model import (
    SplitModel,
    given,
    merge_constants,
    nodes,
    replace,
    split_constants,
)
from isslim.runtime.contract import PRECISION

_PARTS = {
    NodeRole.HIGHWAY: Part.HIGHWAYS,
    NodeRole.BOTTLENECK: Part.SOFTMAX,
    NodeRole.DECODER: Part.SOFTMAX,
}
"""The part to which a product belongs; all others are `Part.PRODUCTS`."""
_SCALES_ALONG_AXIS, _DYNAMIC_QUANTIZE = 13, 11
"""First versions of the standard operators in which DequantizeLinear takes a scale per column, and
in which DynamicQuantizeLinear exists."""


def quantize(source: Path, target: Path, form: Form = FORMS[0]) -> EightBit:
    """Writes the int8 form of a graph that this project wrote.

    Args:
        source: a float32 graph as `isslim/compress/export/write_graph.py` writes it; not changed.
        target: the file to write; replaced when it exists, and only once the new one is whole.
        form: how weights take 8 bits.

    Returns:
        What takes 8 bits in it; no parts, and no file, where nothing can.
    """
    return _write(onnx.load(source), target, form, NodeRole.of)


def quantize_graph(model: ModelProto, target: Path, form: Form = FORMS[0]) -> EightBit:
    """Writes the int8 form of a graph of any origin.

    Args:
        model: a graph whose constants should be folded: weights that are computed are not found.
        target: the file to write; replaced when it exists, and only once the new one is whole.
        form: how weights take 8 bits.

    Returns:
        What takes 8 bits in it; no parts, and no file, where nothing can.
    """
    # Its author may have named a node `decoder` or `float32_x` without our meaning.
    return _write(model, target, form, lambda node: NodeRole.OTHER)


def _write(
    model: ModelProto, target: Path, form: Form, role_of: Callable[[NodeProto], NodeRole]
) -> EightBit:
    parts = split_constants(model)
    work = Int8Graph(parts)
    spread(work, form)
    found = _Rewriting(work, form, role_of).rewrite()
    if not found.parts:
        # An older int8 file must not be taken for one of this graph.
        target.unlink(missing_ok=True)
        return found
    _unflatten(parts, role_of)
    replace(parts.structure.graph.value_info, [])  # recorded shapes no longer hold
    if not any(entry.domain == "com.microsoft" for entry in parts.structure.opset_import):
        parts.structure.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    # This tells the runtime that results depend on what shares a run.
    parts.structure.metadata_props.add(key=PRECISION, value="int8")
    name_nodes(parts.structure.graph)
    partial = target.with_name(target.name + ".partial")
    try:
        onnx.save(merge_constants(parts), partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return found


class _Rewriting:
    """Quantizes the nodes of one graph that have an int8 form, except inside If and Loop."""

    def __init__(
        self, work: Int8Graph, form: Form, role_of: Callable[[NodeProto], NodeRole]
    ) -> None:
        self._work, self._form, self._role_of = work, form, role_of
        self._made = Int8Nodes(work, form)
        self._counts: dict[Part, PartCount] = defaultdict(PartCount)
        self._scans = False

    def rewrite(self) -> EightBit:
        """Replaces nodes by their int8 forms, in place."""
        self._count_nested()
        self._count_convolutions()
        written: list[NodeProto] = []
        for node in self._work.graph.node:
            # Int8 nodes replace theirs in place, so that the order remains topological.
            written += self._rewritten(node) or [node]
        replace(self._work.graph.node, [*written])
        return dataclasses.replace(
            eight_bit(self._counts),
            scans=self._scans,
            convolutions=self._counts[Part.CONVOLUTIONS].done > 0,
        )

    def _count_nested(self) -> None:
        """Layers inside other nodes stay float32, and are counted so that the record shows them."""
        for outer in self._work.graph.node:
            inner = [node for graph in subgraphs(outer) for node in nodes(graph)]
            self._counts[Part.RECURRENT].total += sum(node.op_type in OPERATORS for node in inner)

    def _count_convolutions(self) -> None:
        """Convolutions were quantized before, or stay float32."""
        graph = self._work.graph
        done = {each.output[0] for each in graph.node if each.op_type == "DequantizeLinear"}
        for node in graph.node:
            if node.op_type == "Conv" and given(node, 1) in done | self._work.constants.keys():
                self._takes(Part.CONVOLUTIONS, given(node, 1) in done)

    def _rewritten(self, node: NodeProto) -> list[NodeProto] | None:
        """The int8 form of a node; None where it is not quantized."""
        role = self._role_of(node)
        # Operators of other domains of the same names may compute anything.
        if node.domain not in ("", "ai.onnx") or role is NodeRole.FLOAT32:
            return None
        if node.op_type in OPERATORS:
            return self._layer(node)
        if node.op_type == "Scan":
            return self._scan(node)
        opset = self._work.parts.opset
        if self._work.is_lookup(node):
            able = self._takes(Part.EMBEDDING, opset >= _SCALES_ALONG_AXIS)
            return self._made.lookup(node) if able else None
        if self._work.is_product(node):
            return self._product(node, role)
        return None

    def _product(self, node: NodeProto, role: NodeRole) -> list[NodeProto] | None:
        able = self._is_able(node)
        if role is NodeRole.RECURRENT:
            # Its layer is counted with its Scan. A scale per column costs nothing before it.
            able = able and Part.RECURRENT not in self._form.kept
            return self._made.product(node, per_column=True) if able else None
        able = self._takes(_PARTS.get(role, Part.PRODUCTS), able)
        return self._made.product(node) if able else None

    def _layer(self, node: NodeProto) -> list[NodeProto] | None:
        """The int8 form of a recurrent operator."""
        if node.op_type == "LSTM":
            return self._made.lstm(node) if self._takes(Part.RECURRENT, self._fits(node)) else None
        if not self._takes(Part.RECURRENT, self._form.scans and has_scan(self._work, node)):
            return None
        self._scans = True
        made: list[NodeProto] = []
        for each in as_scan(self._work, node):
            if each.op_type == "Scan":
                self._quantize_body(each)
            made += (
                self._made.product(each, per_column=True) if self._work.is_product(each) else [each]
            )
        return made

    def _scan(self, node: NodeProto) -> list[NodeProto] | None:
        """A Scan whose body multiplies by constant matrices is a recurrent layer."""
        products = [each for each in get_graph(node, "body").node if self._work.is_product(each)]
        if not products or not self._takes(Part.RECURRENT, all(map(self._is_able, products))):
            return None
        small = NodeProto()
        small.CopyFrom(node)
        self._quantize_body(small)
        return [small]

    def _quantize_body(self, node: NodeProto) -> None:
        """Replaces the products in the body of a Scan, in place."""
        body, written = get_graph(node, "body"), list[NodeProto]()
        with self._made.body():
            for each in body.node:
                is_product, columns = self._work.is_product(each), self._form.recurrent
                written += self._made.product(each, per_column=columns) if is_product else [each]
        replace(body.node, written)

    def _is_able(self, node: NodeProto) -> bool:
        """Whether there is an int8 form of a product."""
        return _is_plain(node) and self._work.parts.opset >= _DYNAMIC_QUANTIZE

    def _fits(self, node: NodeProto) -> bool:
        """Whether ONNX Runtime has an int8 form of a recurrent layer."""
        constant = self._work.is_matrix(node, W) and self._work.is_matrix(node, R)
        return node.op_type == "LSTM" and constant and not get_int(node, "layout", 0)

    def _takes(self, part: Part, able: bool) -> bool:
        """Counts a node with weights, and whether they are quantized."""
        able = able and part not in self._form.kept
        self._counts[part].total += 1
        self._counts[part].done += able
        return able


def _is_plain(node: NodeProto) -> bool:
    """Whether a product is of an untransposed activation and a matrix, without another factor."""
    if node.op_type == "MatMul":
        return True
    factors = get_float(node, "alpha", 1.0), get_float(node, "beta", 1.0)
    return factors == (1.0, 1.0) and not get_int(node, "transA", 0)


def _unflatten(parts: SplitModel, role_of: Callable[[NodeProto], NodeRole]) -> None:
    """Removes the reshapes of a scoring graph's head where no Gemm is left that needs them.

    Nodes that only they read (the restored shape) are marked like them and removed with them.
    """
    graph = parts.structure.graph
    # A product that stayed float32 is still a Gemm.
    if any(node.op_type == "Gemm" for node in graph.node):
        return
    sources, kept = {}, []
    for node in graph.node:
        if role_of(node) is NodeRole.FLATTENING:
            sources[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    for node in kept:
        replace(node.input, [sources.get(name, name) for name in node.input])
    replace(graph.node, [*kept])
