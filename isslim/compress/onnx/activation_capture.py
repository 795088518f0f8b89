"""Captures the activations that a graph's sites read, as additional outputs of the graph.

A recurrent site reads the layer's input and its output of the previous step, which is Y shifted by
one step with the initial state first (for a backward layer: last). The last gate of a GRU without
`linear_before_reset` reads that times the reset gate, which is computed from both. A matrix reads
one tensor. A tensor in a branch of an If is returned through the If, empty when the other branch
ran; one in the body of a Loop or Scan as a stack over its iterations. One in a branch inside a body
is not captured: iterations without it could not be stacked.

Legend: T steps, B batch, D directions, H units, I inputs, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from isslim.compress.onnx.model.attributes import append_output, subgraphs
from isslim.compress.onnx.model.gates import Gate, reset_gate
from isslim.compress.onnx.model.recurrent import H0, LENGTHS, B, R, W, X
from isslim.compress.onnx.model.split_model import SplitModel, graphs, merge_constants, nodes
from isslim.compress.onnx.model.windows import Window, most_rows
from isslim.compress.onnx.rewrite.named_arrays import LayerSite, Meaning
from isslim.compress.onnx.trace.edits import Product, key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer

Rows = NDArray[np.float32]
_SEEN = "seen:"


@dataclass(frozen=True)
class Tensor:
    """A tensor that is returned by the graph.

    Attributes:
        output: name of the graph's output that shows it.
        stacked: number of bodies around it, each with a leading dimension for its iterations.
    """

    output: str
    stacked: int


@dataclass(frozen=True)
class LayerView:
    """The outputs from which the inputs of a layer's sites are computed.

    Attributes:
        site: which of the layer's sites it is.
        inputs: X (T, B, I).
        outputs: Y (T, D, B, H).
        initial: H0 (D, B, H), if it is given.
        lengths: of the sequences (B,), if they are given.
        direction: index into D.
        backward: whether that direction runs from the last step to the first.
        reset: of a GRU without `linear_before_reset`: its reset gate (N, H) from the layer's input
            and its output of the previous step.
    """

    site: LayerSite
    inputs: Tensor
    outputs: Tensor
    initial: Tensor | None
    lengths: Tensor | None
    direction: int
    backward: bool
    reset: Gate | None


@dataclass(frozen=True)
class MatrixView:
    """The tensor that a matrix reads.

    Attributes:
        tensor: the tensor.
        features: the dimension, counted from the end, whose entries are read, once for each index
            of the others.
    """

    tensor: Tensor
    features: int


@dataclass(frozen=True)
class WindowView:
    """The tensor that the window of a convolution slides over.

    Attributes:
        tensor: the tensor (N, C, L...).
        window: the window.
    """

    tensor: Tensor
    window: Window


class Observer:
    """A graph that returns the activations that its sites read.

    Args:
        trace, meaning, runs: the original, and how many runs are observed.

    Attributes:
        model: the original graph with additional outputs.
        outputs: their names.
        sites: per site of the declaration what it reads: of every node with its matrices, in one or
            two views.
    """

    def __init__(self, trace: AxisFacts, meaning: Meaning, runs: int = 1) -> None:
        self._runs = runs
        structure = ModelProto()
        structure.CopyFrom(trace.parts.structure)
        self._trace = trace
        self._parts = SplitModel(structure, dict(trace.parts.constants))
        self._shown: dict[str, Tensor] = {}
        self._homes: dict[str, GraphProto] = {}
        for graph in graphs(structure.graph):
            self._homes |= {port.name: graph for port in graph.input}
            self._homes |= {name: graph for node in graph.node for name in node.output}
        self.sites: dict[str, list[LayerView | MatrixView | WindowView]] = {}
        for name, layers in meaning.layers.items():
            for layer in layers:
                self._show_layer(name, layer)
        for name, products in meaning.products.items():
            views = map(self._show_product, products)
            self.sites[name] = [view for view in views if view is not None]
        self._widths: dict[str, int] = {}
        for site in meaning.declaration.sites:
            self._widths[site.name] = sum(part.size for part in meaning.declaration.parts(site))
        self.sites = {name: views for name, views in self.sites.items() if name in self._widths}
        self.outputs = [tensor.output for tensor in self._shown.values()]
        self.model = merge_constants(self._parts)

    def rows(self, fetched: Mapping[str, NDArray[np.generic]]) -> dict[str, Rows]:
        """The activations that every site read in one run.

        Args:
            fetched: the outputs named by `outputs`.

        Returns:
            Per site its concatenated inputs (N, D) in the order of its readers' segments; padding
            is left out. N is 0 for a site in a branch that did not run.
        """
        found: dict[str, Rows] = {}
        for name, views in self.sites.items():
            # A site whose branch did not run still has a width: its moments are those of no rows.
            parts = [np.zeros((0, self._widths[name]), np.float32)]
            for each in views:
                if isinstance(each, LayerView):
                    parts += _layer_rows(each, fetched)
                elif fetched[each.tensor.output].size:
                    parts.append(_product_rows(each, fetched, self._runs))
            found[name] = np.concatenate(parts)
        return found

    def positions(
        self, fetched: Mapping[str, NDArray[np.generic]], rows: Mapping[str, Rows]
    ) -> dict[str, int]:
        """How often the matrices of every site are applied in one run.

        Args:
            fetched: the outputs named by `outputs`.
            rows: what `self.rows` made of them: of windows only some.
        """
        found = {name: len(each) for name, each in rows.items()}
        for name, views in self.sites.items():
            windows = [each for each in views if isinstance(each, WindowView)]
            if windows:
                pairs = [(each, fetched[each.tensor.output]) for each in windows]
                found[name] = sum(_positions(each, value) for each, value in pairs if value.size)
        return found

    def _show_layer(self, name: str, layer: Layer) -> None:
        """Adds a layer's inputs and outputs to the graph's outputs; records its sites' views."""
        seen = layer.recurrent
        node = self._find(key(seen.node))
        kind = int(helper.np_dtype_to_tensor_dtype(self._parts.constants[seen.given(W)].dtype))
        if not node.output[0]:  # only states are read: Y is requested now
            home = self._homes[key(node)]
            node.output[0] = self._parts.fresh(f"{seen.name}.steps")
            self._homes[node.output[0]] = home
        inputs, outputs = self._show(node.input[X], kind, 3), self._show(node.output[0], kind, 4)
        initial = self._show(seen.given(H0), kind, 3) if seen.given(H0) else None
        lengths = None
        if seen.given(LENGTHS):
            lengths = self._show(seen.given(LENGTHS), TensorProto.INT32, 1)
        names = {at: seen.given(at) for at in (W, R, B) if seen.given(at)}
        weights = {at: self._parts.constants[each] for at, each in names.items()}
        for index, direction in enumerate(seen.directions):
            reset = reset_gate(seen, index, weights) if seen.reset_first else None
            for site in LayerSite.all_of(seen):
                views = self.sites.setdefault(site.of(f"{name}.{direction}"), [])
                # A layer is captured completely or not at all.
                if inputs and outputs and bool(initial) == bool(seen.given(H0)):
                    backward = direction == "backward"
                    views.append(
                        LayerView(site, inputs, outputs, initial, lengths, index, backward, reset)
                    )

    def _show_product(self, product: Product) -> MatrixView | WindowView | None:
        layout = self._trace.layout(product.activation)
        rank = layout.rank if layout else 2
        kind = helper.np_dtype_to_tensor_dtype(self._parts.constants[product.matrix].dtype)
        tensor = self._show(product.activation, int(kind), rank)
        if tensor is None:
            return None
        if product.window is not None:
            return WindowView(tensor, product.window)
        return MatrixView(tensor, product.features - rank)

    def _find(self, wanted: str) -> NodeProto:
        return next(
            node
            for node in nodes(self._parts.structure.graph)
            if any(node.output) and key(node) == wanted
        )

    def _show(self, name: str, kind: int, rank: int) -> Tensor | None:
        """Returns a tensor from the graph that computes it, up to the outermost one.

        Args:
            name: of the tensor.
            kind: its type.
            rank: its number of dimensions.

        Returns:
            None where it cannot be returned: in a branch inside a body.
        """
        # Two sites may read one tensor: it is returned once.
        if name in self._shown:
            return self._shown[name]
        top, shown = self._parts.structure.graph, name
        graph = self._homes.get(name, top)
        around = self._around(graph)
        bodies = [node.op_type != "If" for _, node in around]
        # A body stacks the outputs of its iterations, so each must have one.
        if True in bodies and False in bodies[: bodies.index(True)]:
            return None
        for outer, node in around:
            new = self._parts.fresh(f"{shown}.out")
            _give(graph, shown, new, kind)
            if node.op_type == "If":
                for branch in subgraphs(node):
                    # All branches of an If have equally many outputs.
                    if branch is not graph:
                        self._show_nothing(branch, new, kind, rank)
            shown = self._parts.fresh(f"{new}.of")
            append_output(node, shown)
            graph = outer
        _give(top, shown, f"{_SEEN}{name}", kind)
        self._shown[name] = Tensor(f"{_SEEN}{name}", sum(bodies))
        return self._shown[name]

    def _around(self, graph: GraphProto) -> list[tuple[GraphProto, NodeProto]]:
        """The nodes in which a graph is nested, inner ones first, each with its graph."""
        found = []
        while graph is not self._parts.structure.graph:
            outer, node = self._holder(graph)
            found.append((outer, node))
            graph = outer
        return found

    def _holder(self, wanted: GraphProto) -> tuple[GraphProto, NodeProto]:
        """The node that has a graph as its body or branch, and the graph that contains the node."""
        for outer in graphs(self._parts.structure.graph):
            for node in outer.node:
                # By identity: two branches may be equal.
                if any(each is wanted for each in subgraphs(node)):
                    return outer, node
        raise LookupError(wanted.name)

    def _show_nothing(self, branch: GraphProto, name: str, kind: int, rank: int) -> None:
        """The output of a branch for a tensor of the other branch: a tensor without entries."""
        empty = self._parts.fresh(f"{name}.empty")
        self._parts.constants[empty] = np.zeros((0,) * rank, helper.tensor_dtype_to_np_dtype(kind))
        _give(branch, empty, self._parts.fresh(f"{name}.nothing"), kind)


def _layer_rows(seen: LayerView, fetched: Mapping[str, NDArray[np.generic]]) -> list[Rows]:
    """The activations that a layer's site read in one run: an array for each iteration."""
    if not fetched[seen.outputs.output].size:  # it is in a branch that did not run
        return []
    tensors = (seen.inputs, seen.outputs, seen.initial, seen.lengths)
    runs = [_runs(tensor, fetched) if tensor else [None] for tensor in tensors]
    count = max(map(len, runs))
    found = []
    for run in range(count):
        # Values outside a body are the same in all of its iterations.
        inputs, outputs, initial, lengths = (each[run * len(each) // count] for each in runs)
        if inputs is not None and outputs is not None:
            own = outputs[:, seen.direction]  # (T, B, H)
            first = np.zeros_like(own[:1])
            if initial is not None:
                first = initial[seen.direction][None]
            found.append(_rows_of_run(seen, inputs, own, first, lengths))
    return found


def _rows_of_run(
    seen: LayerView,
    inputs: NDArray[np.generic],
    outputs: NDArray[np.generic],
    first: NDArray[np.generic],
    lengths: NDArray[np.generic] | None,
) -> Rows:
    """The activations that a site read at every step that is not padding.

    Args:
        seen: the site.
        inputs: X (T, B, I).
        outputs: Y of the direction (T, B, H).
        first: its initial state (1, B, H).
        lengths: of the sequences (B,), if they are given.

    Returns:
        (N, I), (N, H) or (N, I + H), by the site's kind.
    """
    steps, batch = inputs.shape[:2]
    ends = np.full(batch, steps) if lengths is None else lengths.astype(np.int64)
    # Padding is removed: it would otherwise count in the moments.
    real = np.arange(steps)[:, None] < ends  # (T, B)
    before = _step_before(outputs, first, ends, backward=seen.backward)[real].astype(np.float32)
    read = inputs[real].astype(np.float32)
    if seen.site is LayerSite.INPUT:
        return read
    if seen.site is LayerSite.RECURRENT:
        return before
    if seen.reset is not None:  # LayerSite.CANDIDATE
        return seen.reset(read, before) * before
    return np.concatenate([read, before], axis=-1)


def _step_before(
    outputs: NDArray[np.generic],
    first: NDArray[np.generic],
    ends: NDArray[np.int64],
    *,
    backward: bool,
) -> NDArray[np.generic]:
    """The state of a layer before every step (T, B, H).

    Args:
        outputs: its states after every step (T, B, H).
        first: its initial state (1, B, H).
        ends: lengths of the sequences (B,).
        backward: whether it runs from the last step to the first.
    """
    if not len(outputs):
        return outputs
    if not backward:
        return np.concatenate([first, outputs[:-1]])
    before = np.concatenate([outputs[1:], first])
    # A backward layer begins at each sequence's own last step, not after the padding.
    batch = len(ends)
    begins = (np.maximum(ends - 1, 0), np.arange(batch))
    before[begins] = np.broadcast_to(first[0], (batch, first.shape[-1]))
    return before


def _give(graph: GraphProto, name: str, new: str, kind: int) -> None:
    """Adds a value to a graph's outputs under another name."""
    graph.node.append(helper.make_node("Identity", [name], [new]))
    graph.output.append(helper.make_tensor_value_info(new, kind, None))


def _runs(
    tensor: Tensor, fetched: Mapping[str, NDArray[np.generic]]
) -> Sequence[NDArray[np.generic] | None]:
    """A tensor of every iteration of the bodies around it."""
    value = fetched[tensor.output]
    return list(value.reshape(-1, *value.shape[tensor.stacked :])) if tensor.stacked else [value]


def _product_rows(
    seen: MatrixView | WindowView, fetched: Mapping[str, NDArray[np.generic]], runs: int
) -> Rows:
    """The activations that a matrix, or a kernel, read in one run of several (N, features)."""
    value = fetched[seen.tensor.output]
    if isinstance(seen, MatrixView):
        value = np.moveaxis(value, seen.features, -1)
        return value.reshape(-1, value.shape[-1]).astype(np.float32)
    value = _of_all_iterations(seen, value)
    return seen.window.rows(value, most_rows(value.shape[1], runs))


def _positions(seen: WindowView, value: NDArray[np.generic]) -> int:
    """How often a kernel is applied in one run of the graph."""
    value = _of_all_iterations(seen, value)
    return len(value) * seen.window.positions(value.shape[2:])


def _of_all_iterations(seen: WindowView, value: NDArray[np.generic]) -> NDArray[np.generic]:
    """What a window slides over (N, C, L...), of every iteration of the bodies around it."""
    return value.reshape(-1, *value.shape[-1 - len(seen.window.sizes) :])
