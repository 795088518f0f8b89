"""Writes the int8 form of a float32 graph: weights of 8 bits, activations quantized as they come (nothing is calibrated).

What takes 8 bits: tables that are looked up in (embeddings), LSTMs, and products with a constant
matrix. ONNX Runtime has no int8 GRU or RNN, and what lies inside If, Loop and Scan is left alone.
`EightBit` says which parts did and which did not.

**Exact on every processor.** Weights are signed, because only products of unsigned and signed bytes
use the 8-bit instructions of x86 processors (VNNI, AMX). Processors without those multiply two
neighbouring inputs at once and add both products in 16 bits, where they saturate. So it is two
neighbouring weights of a column together that must stay within `PAIR`: 255 x 128 still fits 16
bits. A weight that stands out has nearly all of the 8 bits where its neighbour is small; only where
both are large is less left of them. That is why scales are made here and not by ONNX Runtime's
quantizer, which would halve all weights (7 bits) for the same safety.

**Forms.** More scales are more precise and take more time. A scale per column costs nothing worth
mentioning in the product of an LSTM's input, which is one for a whole run, and in a table; in the
recurrent product it takes a tenth of the time of a sentence, and in a wide decoder a fifth of the
time of a single step (`benchmarks.int8_forms`). `FORMS` lists what there is, the fastest first;
`isslim/compress/measurement/int8_choice.py` measures which one a model needs.

Where any basis gives the same answers, numbers are first spread over a random one, so that none
stands out (QuIP, Chee et al. 2023): between an embedding and the layer that reads it, and between
bottleneck and decoder.

The decoder's Gemm becomes an integer MatMul, which needs no flat features: the logits are made as
the tokens lie, and the log-softmax is written over them, which saves a twentieth of a run. A tied
matrix becomes two 8-bit matrices, one lying as each reader needs it: half the bytes of the one in
float32. Of a question graph the characters' vectors, the convolution, the attention and both heads
stay float32.

A scale spans a whole activation tensor, so an int8 result depends a little on what else is in the
same run; `isslim/runtime/language/scoring.py` and `isslim/runtime/questions/answering.py` say what
follows from that.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (DynamicQuantizeLSTM)

Legend: D directions, K inputs of a product, N its outputs, V entries of a table, E width of an
entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from isslim.compress.export.drawing import BOTTLENECK, DECODER, FLATTENING, FLOAT32, HIGHWAY
from isslim.compress.onnx.model.attributes import (
    get_float,
    get_int,
    get_ints,
    remove_attribute,
    subgraphs,
)
from isslim.compress.onnx.model.split_model import (
    Constant,
    SplitModel,
    given,
    graphs,
    merge_constants,
    names,
    nodes,
    split_constants,
)
from isslim.compress.onnx.model.split_model import replace as put_in_place
from isslim.runtime.contract import PRECISION

QUANTIZED_LSTM = "DynamicQuantizeLSTM"
EMBEDDING, RECURRENT, SOFTMAX, HIGHWAYS, PRODUCTS = (
    "embedding", "recurrent layers", "softmax", "highway layers", "matrix products"
)  # fmt: skip
ORDER = (EMBEDDING, HIGHWAYS, RECURRENT, SOFTMAX, PRODUCTS)
"""Parts of a network, as a card lists them."""
INT8_MAX, PAIR = 127, 128
"""What one weight may be, and two neighbouring ones of one sign together: 255 x 128 is below
2^15."""
_CELLS = ("LSTM", "GRU", "RNN")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """How weights take 8 bits.

    Attributes:
        recurrent: a scale per column of recurrent matrices; else one for each.
        products: the same of all other matrix products.
        kept: parts that stay float32.
    """

    recurrent: bool = False
    products: bool = False
    kept: frozenset[str] = frozenset()

    @property
    def description(self) -> str:
        """For people."""
        scales = {
            (False, False): "8 bits, one scale for a matrix",
            (
                True,
                False,
            ): "8 bits, a scale per column of recurrent matrices, one scale for each other matrix",
            (
                False,
                True,
            ): "8 bits, one scale for a recurrent matrix, a scale per column of the others",
            (True, True): "8 bits, a scale per column",
        }[self.recurrent, self.products]
        return scales + (f"; float32: {', '.join(sorted(self.kept))}" if self.kept else "")


FORMS = (Form(), Form(recurrent=True), Form(products=True), Form(recurrent=True, products=True))
"""The fastest first."""


@dataclass(frozen=True)
class EightBit:
    """Which parts of a graph take 8 bits, read off the graph that was written.

    Attributes:
        parts: names; `2 of 3 recurrent layers` where only some do.
        rest: parts that stay float32, as far as they could have been among `parts`.
    """

    parts: list[str]
    rest: list[str]


def quantize(source: Path, target: Path, form: Form = FORMS[0]) -> EightBit:
    """Writes the int8 form of a graph that this project wrote.

    Args:
        source: a float32 graph as `isslim/compress/export/write_graph.py` writes it; left alone.
        target: the file to write; replaced when it exists, and only once the new one is whole.
        form: how weights take 8 bits.

    Returns:
        What takes 8 bits in it; no parts, and no file, where nothing can.
    """
    return _write(onnx.load(source), target, form, _part_of_ours)


def quantize_graph(model: ModelProto, target: Path, form: Form = FORMS[0]) -> EightBit:
    """The same of a graph of any origin, whose constants should be folded: weights that are computed are not found."""
    return _write(model, target, form, lambda node: PRODUCTS)


def eight_bits(matrix: Floats, *, per_column: bool) -> tuple[NDArray[np.int8], Floats]:
    """Matrices as whole numbers and scales, so that no processor saturates in their products.

    Args:
        matrix: float32 (..., K, N).
        per_column: a scale for each of the N columns of each matrix; else one for each matrix.

    Returns:
        int8 (..., K, N) and float32 (..., 1, N) or (..., 1, 1); their product is the matrix but for
        rounding. Rows 2 i and 2 i + 1 hold no two numbers of one sign in a column that together
        exceed `PAIR`.
    """
    exact = matrix.astype(np.float64)
    even = np.pad(exact, [(0, 0)] * (matrix.ndim - 2) + [(0, matrix.shape[-2] % 2), (0, 0)])
    above, below = (np.maximum(sign * even, 0) for sign in (1, -1))
    pairs = np.maximum(*(side[..., ::2, :] + side[..., 1::2, :] for side in (above, below)))
    largest = pairs.max(axis=-2 if per_column else (-2, -1), keepdims=True, initial=0.0)
    single = np.abs(exact).max(axis=-2 if per_column else (-2, -1), keepdims=True, initial=0.0)
    scale = np.maximum(largest / PAIR, single / INT8_MAX)
    scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
    scaled = even / scale
    found = np.clip(np.rint(scaled), -INT8_MAX, INT8_MAX)
    one, other = found[..., ::2, :], found[..., 1::2, :]
    grown = np.abs(found) - np.abs(scaled)
    # Where both were rounded up past the bound, the one that grew more gives one back.
    over, first = (
        (one * other > 0) & (np.abs(one + other) > PAIR),
        grown[..., ::2, :] >= grown[..., 1::2, :],
    )
    one -= np.sign(one) * (over & first)
    other -= np.sign(other) * (over & ~first)
    return found[..., : exact.shape[-2], :].astype(np.int8), scale


def _part_of_ours(node: NodeProto) -> str:
    """What a product belongs to, by the names that `compress/exporting` gives."""
    if HIGHWAY in node.name:
        return HIGHWAYS
    return SOFTMAX if node.name.startswith((DECODER, BOTTLENECK)) else PRODUCTS


def _write(
    model: ModelProto, target: Path, form: Form, part_of: Callable[[NodeProto], str]
) -> EightBit:
    parts = split_constants(model)
    made = _Rewriting(parts, form, part_of)
    made.spread()
    made.rewrite()
    found = made.found()
    if not found.parts:
        target.unlink(missing_ok=True)
        return found
    _unflatten(parts)
    put_in_place(parts.structure.graph.value_info, [])  # what was known of shapes holds no longer
    if not any(entry.domain == "com.microsoft" for entry in parts.structure.opset_import):
        parts.structure.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    # By this the runtime knows that results depend on what shares a run.
    parts.structure.metadata_props.add(key=PRECISION, value="int8")
    partial = target.with_name(target.name + ".partial")
    try:
        onnx.save(merge_constants(parts), partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return found


class _Rewriting:
    """One graph on its way to int8. Only nodes outside of If, Loop and Scan are rewritten."""

    def __init__(self, parts: SplitModel, form: Form, part_of: Callable[[NodeProto], str]) -> None:
        self.parts, self.form, self.part_of = parts, form, part_of
        self.graph = parts.structure.graph
        self.counts: dict[str, list[int]] = {}
        """Per part: nodes that took 8 bits, and all that have weights."""
        self._names = names(self.graph) | parts.constants.keys()
        self._held: dict[tuple[str, bool, bool], list[str]] = {}
        self._arrived: dict[str, list[str]] = {}
        self._turned: dict[tuple[str, bool], str] = {}

    def found(self) -> EightBit:
        """See `EightBit`."""
        parts, rest = [], []
        for part in ORDER:
            done, all_of_it = self.counts.get(part, [0, 0])
            if done:
                parts.append(part if done == all_of_it else f"{done} of {all_of_it} {part}")
            if done < all_of_it:
                rest.append(f"the other {part}" if done else part)
        return EightBit(parts, rest)

    def spread(self) -> None:
        """Turns what lies between a table, or the bottleneck, and those who read it by a random orthogonal matrix.

        The function stays as it is: nothing but products with constants reads what is turned.
        """
        for node in list(self.graph.node):
            if (
                node.op_type == "Gather"
                and self._is_table(node)
                and EMBEDDING not in self.form.kept
            ):
                readers = list(self._readers_of(node.output[0]))
                if readers and all(
                    reader.op_type in _CELLS and self._matrix(reader, 1) for reader in readers
                ):
                    self._turn(node, 0)
                    for reader in readers:
                        self._turn(reader, 1)
            elif node.name == BOTTLENECK and node.op_type == "Gemm":
                (decoder,) = self._readers_of(node.output[0])
                self._turn(node, 1, rows=True)
                self._turn(node, 2)
                self._turn(decoder, 1)

    def rewrite(self) -> None:
        """Replaces nodes by their int8 forms."""
        for outer in self.graph.node:
            for inner in (node for graph in subgraphs(outer) for node in nodes(graph)):
                if inner.op_type in _CELLS:
                    self._count(RECURRENT, 0)
        written: list[NodeProto] = []
        for node in self.graph.node:
            written += self._rewritten(node) or [node]
        put_in_place(self.graph.node, [*written])

    def _rewritten(self, node: NodeProto) -> list[NodeProto] | None:
        """The int8 form of a node; None where it stays as it is."""
        if node.op_type == "Scan" and node.name.startswith(FLOAT32):
            self._count(RECURRENT, 0)  # the cell of a recurrent highway network
        if node.domain not in ("", "ai.onnx") or node.name.startswith(FLOAT32):
            return None
        if node.op_type in _CELLS:
            fits = node.op_type == "LSTM" and self._matrix(node, 1) and self._matrix(node, 2)
            return (
                self._lstm(node)
                if self._takes(RECURRENT, bool(fits and not get_int(node, "layout", 0)))
                else None
            )
        if node.op_type == "Gather" and self._is_table(node):
            return self._look_up(node) if self._takes(EMBEDDING, self.parts.opset >= 13) else None
        if node.op_type in ("MatMul", "Gemm") and self._matrix(node, 1, rank=2):
            plain = node.op_type == "MatMul" or (
                get_float(node, "alpha", 1.0) == get_float(node, "beta", 1.0) == 1.0
                and not get_int(node, "transA", 0)
            )
            return (
                self._product(node)
                if self._takes(self.part_of(node), plain and self.parts.opset >= 11)
                else None
            )
        return None

    def _takes(self, part: str, able: bool) -> bool:
        """Counts a node with weights; whether they take 8 bits."""
        able = able and part not in self.form.kept
        self._count(part, int(able))
        return able

    def _count(self, part: str, done: int) -> None:
        counts = self.counts.setdefault(part, [0, 0])
        counts[0] += done
        counts[1] += 1

    def _lstm(self, node: NodeProto) -> list[NodeProto]:
        """W (D, 4 H, I) and R (D, 4 H, H), which the operator reads lying the other way."""
        inward = self._weight(node.input[1], turned=True, per_column=True)
        across = self._weight(node.input[2], turned=True, per_column=self.form.recurrent)
        inputs = [given(node, index) for index in range(8)]
        inputs[1], inputs[2] = inward[0], across[0]
        small = NodeProto()
        small.CopyFrom(node)
        small.op_type, small.domain = QUANTIZED_LSTM, "com.microsoft"
        remove_attribute(small, "layout")
        put_in_place(small.input, [*inputs, *inward[1:], *across[1:]])
        return [small]

    def _look_up(self, node: NodeProto) -> list[NodeProto]:
        """Rows of whole numbers are looked up and scaled afterwards; no product adds them, so each has 8 bits."""
        name = node.input[0]
        if (name, False, True) not in self._held:
            table = self.parts.constants[name].astype(np.float32)  # (V, E)
            # Spread, its columns are alike, and one scale is quicker to apply.
            largest = np.abs(table).max(axis=None if name in self._turned.values() else 0)
            scale = np.maximum(largest / INT8_MAX, np.finfo(np.float32).tiny).astype(np.float32)
            self._hold(name, False, True, np.rint(table / scale).astype(np.int8), scale)
        table_name, scale_name, zero = self._held[name, False, True]
        rows = self._fresh(f"{node.output[0]}_rows")
        return [
            helper.make_node("Gather", [table_name, node.input[1]], [rows], name=node.name, axis=0),
            helper.make_node(
                "DequantizeLinear", [rows, scale_name, zero], [node.output[0]], axis=-1
            ),
        ]

    def _product(self, node: NodeProto) -> list[NodeProto]:
        """Written as ONNX Runtime knows to do it in one pass: quantize, multiply, scale and add."""
        turned = node.op_type == "Gemm" and bool(get_int(node, "transB", 0))
        weight, scale, zero = self._weight(
            node.input[1], turned=turned, per_column=self.form.products
        )
        before = []
        if node.input[0] not in self._arrived:
            arrived = [
                self._fresh(f"{node.input[0]}_{each}")
                for each in ("quantized", "scale", "zero_point")
            ]
            before.append(helper.make_node("DynamicQuantizeLinear", [node.input[0]], arrived))
            self._arrived[node.input[0]] = arrived
        quantized, step, offset = self._arrived[node.input[0]]
        result, bias = node.output[0], given(node, 2)
        whole_numbers, floats, both, scaled = (
            self._fresh(f"{result}_{each}") for each in ("integer", "float", "scale", "scaled")
        )
        return [
            *before,
            helper.make_node(
                "MatMulInteger", [quantized, weight, offset, zero], [whole_numbers], name=node.name
            ),
            helper.make_node("Cast", [whole_numbers], [floats], to=TensorProto.FLOAT),
            helper.make_node("Mul", [step, scale], [both]),
            helper.make_node("Mul", [floats, both], [scaled if bias else result]),
            *([helper.make_node("Add", [scaled, bias], [result])] if bias else []),
        ]

    def _weight(self, name: str, *, turned: bool, per_column: bool) -> list[str]:
        """Names of a matrix in 8 bits, its scales and its zero points; made once, however many read it."""
        if (name, turned, per_column) not in self._held:
            matrix = self.parts.constants[name].astype(np.float32)
            weight, scale = eight_bits(
                matrix.swapaxes(-1, -2) if turned else matrix, per_column=per_column
            )
            scale = scale[..., 0, :] if per_column else scale[..., 0, 0]
            self._hold(name, turned, per_column, weight, scale)
        return self._held[name, turned, per_column]

    def _hold(
        self, name: str, turned: bool, per_column: bool, weight: Constant, scale: Floats
    ) -> None:
        base = f"{name}_turned" if turned and weight.ndim == 2 else name
        values = {"quantized": weight, "scale": scale, "zero_point": np.zeros(scale.shape, np.int8)}
        made = self._held[name, turned, per_column] = [
            self._fresh(f"{base}_{kind}") for kind in values
        ]
        self.parts.constants.update(zip(made, values.values(), strict=True))

    def _is_table(self, node: NodeProto) -> bool:
        return (
            self._matrix(node, 0, rank=2)
            and not get_int(node, "axis", 0)
            and node.input[1] not in self.parts.constants
        )

    def _matrix(self, node: NodeProto, index: int, rank: int = 3) -> bool:
        """Whether an input is a constant matrix of float32, or one per direction."""
        value = self.parts.constants.get(given(node, index))
        return (
            value is not None
            and value.dtype == np.float32
            and value.ndim == rank
            and bool(value.size)
        )

    def _readers_of(self, name: str) -> Iterator[NodeProto]:
        """Nodes whose first input is a value, or the value with its steps and sequences in another order.

        Whoever reads it in another way, such as the caller, is a node without a name and operator
        here.
        """
        if name in {port.name for graph in graphs(self.graph) for port in graph.output}:
            yield NodeProto()
        for node in nodes(self.graph):
            if name not in node.input:
                continue
            order = get_ints(node, "perm") if node.op_type == "Transpose" else None
            if node.op_type == "Identity" or (order and order[-1] == len(order) - 1):
                yield from self._readers_of(node.output[0])
            else:
                yield node if name not in node.input[1:] else NodeProto()

    def _turn(self, node: NodeProto, index: int, *, rows: bool = False) -> None:
        """Gives a node a turned constant, along its last axis or its rows; others may read the one as it was."""
        name = node.input[index]
        if (name, rows) not in self._turned:
            exact = self.parts.constants[name].astype(np.float64)
            basis = _basis(exact.shape[0 if rows else -1])
            self._turned[name, rows] = self._fresh(f"{name}_spread")
            turned = basis.T @ exact if rows else exact @ basis
            self.parts.constants[self._turned[name, rows]] = turned.astype(np.float32)
        node.input[index] = self._turned[name, rows]

    def _fresh(self, wish: str) -> str:
        """A name like `wish` that no value has."""
        name, number = wish, 0
        while name in self._names:
            number += 1
            name = f"{wish}.{number}"
        self._names.add(name)
        return name


def _basis(size: int) -> NDArray[np.float64]:
    """A random orthogonal matrix, always the same of one size."""
    basis: NDArray[np.float64] = np.linalg.qr(
        np.random.default_rng(0).standard_normal((size, size))
    )[0]
    return basis


def _unflatten(parts: SplitModel) -> None:
    """Takes away the reshapes of a scoring graph's head, where no Gemm is left in it; what they alone read goes with them."""
    graph = parts.structure.graph
    if any(node.op_type == "Gemm" for node in graph.node):
        return
    around = {node.output[0]: node for node in graph.node if node.name.startswith(FLATTENING)}
    kept = [node for node in graph.node if node.output[0] not in around]
    for node in kept:
        put_in_place(
            node.input, [around[name].input[0] if name in around else name for name in node.input]
        )
    put_in_place(graph.node, kept)
