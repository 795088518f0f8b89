"""What the sites of a graph read, from runs of the original graph with more outputs.

A recurrent site reads the layer's input and its output of the step before, which is Y shifted by
one step with the initial state first (for a backward layer: behind). The last gate of a GRU without
`linear_before_reset` reads that times the reset gate, which is computed from both. A matrix reads
one tensor. What lies in a branch of an If is handed out through the If, as nothing when the other
branch ran; what lies in the body of a Loop or Scan as a stack over its runs. What lies in a branch
inside a body is not shown: runs that had nothing to show could not be stacked.

Legend: T steps, B batch, D directions, H units, I inputs, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.gates import Gate, reset_gate
from isslim.compress.onnx.model.recurrent import H0, LENGTHS, B, R, W, X
from isslim.compress.onnx.model.split_model import SplitModel, graphs, merge_constants, nodes
from isslim.compress.onnx.rewrite.named_arrays import Meaning
from isslim.compress.onnx.trace.edits import Product, key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer

Rows = NDArray[np.float32]
_SEEN = "seen:"


@dataclass(frozen=True)
class Tensor:
    """A tensor that is handed out.

    Attributes:
        output: name of the graph's output that shows it.
        stacked: in how many bodies it lies: so many leading dimensions count their runs.
    """

    output: str
    stacked: int


@dataclass(frozen=True)
class LayerView:
    """What a layer's sites read.

    Attributes:
        inputs: X (T, B, I).
        outputs: Y (T, D, B, H).
        initial: H0 (D, B, H), if it is given.
        lengths: of the sequences (B,), if they are given.
        direction: index into D.
        backward: whether that direction runs from the last step to the first.
        reset: of a GRU without `linear_before_reset`: its reset gate (N, H) from the layer's input
            and its output of the step before.
    """

    inputs: Tensor
    outputs: Tensor
    initial: Tensor | None
    lengths: Tensor | None
    direction: int
    backward: bool
    reset: Gate | None


@dataclass(frozen=True)
class MatrixView:
    """What a matrix reads: the entries of dimension `features` (from the end) of a tensor, for each of the others."""

    tensor: Tensor
    features: int


class Observer:
    """A graph that shows what its sites read.

    Attributes:
        model: the original graph with additional outputs.
        outputs: their names.
        sites: per site of the declaration what it reads: of every node with its matrices, in one or
            two views.
    """

    def __init__(self, trace: AxisFacts, meaning: Meaning) -> None:
        structure = ModelProto()
        structure.CopyFrom(trace.parts.structure)
        self._trace = trace
        self._parts = SplitModel(structure, dict(trace.parts.constants))
        self._shown: dict[str, Tensor] = {}
        self._homes: dict[str, GraphProto] = {}
        for graph in graphs(structure.graph):
            self._homes |= {port.name: graph for port in graph.input}
            self._homes |= {name: graph for node in graph.node for name in node.output}
        self.sites: dict[str, list[LayerView | MatrixView]] = {}
        for name, layers in meaning.layers.items():
            for layer in layers:
                self._show_layer(name, layer)
        for name, products in meaning.products.items():
            self.sites[name] = [
                view for product in products if (view := self._show_product(product))
            ]
        wanted = {site.name for site in meaning.declaration.sites}
        self.sites = {name: views for name, views in self.sites.items() if name in wanted}
        self._joint = {site.name: len(site.readers) > 1 for site in meaning.declaration.sites}
        self._widths = {
            site.name: sum(part.size for part in meaning.declaration.parts(site))
            for site in meaning.declaration.sites
        }
        self.outputs = [tensor.output for tensor in self._shown.values()]
        self.model = merge_constants(self._parts)

    def rows(self, fetched: Mapping[str, NDArray[np.generic]]) -> dict[str, Rows]:
        """What every site read in one run.

        Args:
            fetched: the outputs named by `outputs`.

        Returns:
            Per site its concatenated inputs (N, D) in the order of its readers' segments; padding
            is left out. N is 0 for a site in a branch that did not run.
        """
        found: dict[str, Rows] = {}
        for name, views in self.sites.items():
            parts = [np.zeros((0, self._widths[name]), np.float32)]
            for each in views:
                if isinstance(each, LayerView):
                    parts += self._layer_rows(name, each, fetched)
                elif fetched[each.tensor.output].size:
                    parts.append(_matrix_rows(each, fetched))
            found[name] = np.concatenate(parts)
        return found

    def _layer_rows(
        self, name: str, seen: LayerView, fetched: Mapping[str, NDArray[np.generic]]
    ) -> list[Rows]:
        if not fetched[seen.outputs.output].size:  # it lies in a branch that did not run
            return []
        tensors = (seen.inputs, seen.outputs, seen.initial, seen.lengths)
        runs = [_runs(tensor, fetched) if tensor else [None] for tensor in tensors]
        count = max(map(len, runs))
        found = []
        for run in range(count):
            # What lies outside a body is the same in all of its runs.
            inputs, outputs, initial, lengths = (each[run * len(each) // count] for each in runs)
            if inputs is not None and outputs is not None:
                found.append(
                    self._one_run(name, seen, inputs, outputs[:, seen.direction], initial, lengths)
                )
        return found

    def _one_run(
        self,
        name: str,
        seen: LayerView,
        inputs: NDArray[np.generic],
        outputs: NDArray[np.generic],
        initial: NDArray[np.generic] | None,
        lengths: NDArray[np.generic] | None,
    ) -> Rows:
        steps, batch = inputs.shape[:2]
        first = np.zeros_like(outputs[:1]) if initial is None else initial[seen.direction][None]
        real = np.ones((steps, batch), bool)
        if lengths is not None:
            real = np.arange(steps)[:, None] < lengths[None].astype(np.int64)
        if seen.backward:
            before = np.concatenate([outputs[1:], first]) if steps else outputs
            if lengths is not None:
                last = (np.maximum(lengths.astype(np.int64) - 1, 0), np.arange(batch))
                before[last] = np.broadcast_to(first[0], (batch, first.shape[-1]))
        else:
            before = np.concatenate([first, outputs[:-1]]) if steps else outputs
        if name.endswith(".input") and not self._joint[name]:
            both = inputs
        elif name.endswith(".recurrent") and not self._joint[name]:
            both = before
        elif name.endswith(".candidate") and seen.reset is not None:
            given = before[real].astype(np.float32)
            return seen.reset(inputs[real].astype(np.float32), given) * given
        else:
            both = np.concatenate([inputs, before], axis=-1)
        return both[real].astype(np.float32)

    def _show_layer(self, name: str, layer: Layer) -> None:
        seen = layer.recurrent
        node = self._find(key(seen.node))
        kind = int(helper.np_dtype_to_tensor_dtype(self._parts.constants[seen.given(W)].dtype))
        if not node.output[0]:
            home = self._homes[key(node)]
            node.output[0] = self._parts.fresh(f"{seen.name}.steps")
            self._homes[node.output[0]] = home
        inputs, outputs = self._show(node.input[X], kind, 3), self._show(node.output[0], kind, 4)
        initial = self._show(seen.given(H0), kind, 3) if seen.given(H0) else None
        lengths = (
            self._show(seen.given(LENGTHS), TensorProto.INT32, 1) if seen.given(LENGTHS) else None
        )
        for index, direction in enumerate(seen.directions):
            given = {
                at: self._parts.constants[seen.given(at)] for at in (W, R, B) if seen.given(at)
            }
            reset = reset_gate(seen, index, given) if seen.reset_first else None
            suffixes = (
                ("",)
                if seen.joint
                else (".input", ".recurrent", *([".candidate"] if reset else []))
            )
            for suffix in suffixes:
                views = self.sites.setdefault(f"{name}.{direction}{suffix}", [])
                if inputs and outputs and bool(initial) == bool(seen.given(H0)):
                    backward = direction == "backward"
                    views.append(
                        LayerView(inputs, outputs, initial, lengths, index, backward, reset)
                    )

    def _show_product(self, product: Product) -> MatrixView | None:
        layout = self._trace.layout(product.activation)
        rank = layout.rank if layout else 2
        kind = helper.np_dtype_to_tensor_dtype(self._parts.constants[product.matrix].dtype)
        tensor = self._show(product.activation, int(kind), rank)
        return MatrixView(tensor, product.features - rank) if tensor else None

    def _find(self, wanted: str) -> NodeProto:
        return next(
            node
            for node in nodes(self._parts.structure.graph)
            if any(node.output) and key(node) == wanted
        )

    def _show(self, name: str, kind: int, rank: int) -> Tensor | None:
        """Hands a tensor out of the graph that it is made in, up to the outermost; None where that cannot be."""
        if name in self._shown:
            return self._shown[name]
        top, shown = self._parts.structure.graph, name
        graph = self._homes.get(name, top)
        around = self._around(graph)
        bodies = [node.op_type != "If" for _, node in around]
        if True in bodies and False in bodies[: bodies.index(True)]:
            return None
        for outer, node in around:
            new = self._parts.fresh(f"{shown}.out")
            _give(graph, shown, new, kind)
            if node.op_type == "If":
                for branch in subgraphs(node):
                    if branch is not graph:
                        self._show_nothing(branch, new, kind, rank)
            shown = self._parts.fresh(f"{new}.of")
            node.output.append(shown)
            graph = outer
        _give(top, shown, f"{_SEEN}{name}", kind)
        self._shown[name] = Tensor(f"{_SEEN}{name}", sum(bodies))
        return self._shown[name]

    def _around(self, graph: GraphProto) -> list[tuple[GraphProto, NodeProto]]:
        """The nodes that a graph is nested in, inner ones first, each with its graph."""
        found = []
        while graph is not self._parts.structure.graph:
            graph, node = next(
                (outer, node)
                for outer in graphs(self._parts.structure.graph)
                for node in outer.node
                if any(each is graph for each in subgraphs(node))
            )
            found.append((graph, node))
        return found

    def _show_nothing(self, branch: GraphProto, name: str, kind: int, rank: int) -> None:
        """What a branch gives where the other has something to show: a tensor without entries."""
        empty = self._parts.fresh(f"{name}.empty")
        self._parts.constants[empty] = np.zeros((0,) * rank, helper.tensor_dtype_to_np_dtype(kind))
        _give(branch, empty, self._parts.fresh(f"{name}.nothing"), kind)


def _give(graph: GraphProto, name: str, new: str, kind: int) -> None:
    """Makes a value a graph's output under another name."""
    graph.node.append(helper.make_node("Identity", [name], [new]))
    graph.output.append(helper.make_tensor_value_info(new, kind, None))


def _runs(
    tensor: Tensor, fetched: Mapping[str, NDArray[np.generic]]
) -> Sequence[NDArray[np.generic] | None]:
    """A tensor of every run of the bodies that it lies in."""
    value = fetched[tensor.output]
    return list(value.reshape(-1, *value.shape[tensor.stacked :])) if tensor.stacked else [value]


def _matrix_rows(seen: MatrixView, fetched: Mapping[str, NDArray[np.generic]]) -> Rows:
    value = np.moveaxis(fetched[seen.tensor.output], seen.features, -1)
    return value.reshape(-1, value.shape[-1]).astype(np.float32)
