"""The reference that a smaller graph must equal: the original with removed units held at zero.

It is built without the rewriting code: nothing becomes smaller, no size changes. The rows of a
removed unit in W, R, B and P are zero, so that it stays at zero from a zero state; where an initial
state is given, its entries there are multiplied by zero, as the small graph does not read them.
A reader of the unit is not changed and reads zeros, unless an operator in between maps zero to
another number (Sigmoid): then the reader's columns are zero, since the small graph has none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Blocks
from isslim.compress.onnx.model.recurrent import C0, H0, B, P, R, Recurrent, W, view
from isslim.compress.onnx.model.split_model import (
    Constant,
    SplitModel,
    inner_first,
    merge_constants,
    nodes,
    set_input,
)
from isslim.compress.onnx.model.split_model import replace as refill
from isslim.compress.onnx.trace.edits import Use
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer
from isslim.compress.pruning.axes import Keep


def masked_reference(source: SplitModel, trace: AxisFacts, keep: Keep) -> ModelProto:
    """The original graph with removed units at zero.

    Args:
        source: the graph as it was read, before its normal form.
        trace: its axes.
        keep: per axis the kept indices; an axis that is not named keeps all.
    """
    structure = ModelProto()
    structure.CopyFrom(source.structure)
    parts = SplitModel(structure, dict(source.constants))
    masker = _Masker(trace, keep, parts)
    layers = {layer.recurrent.name: layer for layer in trace.layers}
    # Inner ones first, since replacing nodes copies what is nested in them.
    for graph in inner_first(structure.graph):
        masker.initial_states(graph, layers)
    for node in nodes(structure.graph):
        seen = view(node)
        if seen is not None and seen.name in layers:
            masker.layer(seen, layers[seen.name])
    for use in trace.uses:
        # The normal form has additional constants, which the graph as it was read lacks.
        if use.name in parts.constants:
            masker.constant(use)
    return merge_constants(parts)


class _Masker:
    """Sets constants of a copy to zero."""

    def __init__(self, trace: AxisFacts, keep: Keep, parts: SplitModel) -> None:
        self._trace, self._keep, self._parts = trace, keep, parts
        self._reads = {(p.node, p.index): p.reads for p in trace.products}

    def gone(self, axis: int | None, size: int) -> NDArray[np.bool_]:
        """Which components of an axis are removed, (size,).

        Args:
            axis: its number in the trace; None: none is removed.
            size: of the axis, in components.
        """
        removed = np.zeros(size, bool)
        pool = self._trace.pool
        if axis is not None and pool.is_prunable(axis) and pool.name(axis) in self._keep:
            removed[:] = True
            removed[self._keep[pool.name(axis)]] = False
        return removed

    def along(self, blocks: Blocks, *, nonzero_only: bool) -> NDArray[np.bool_]:
        """The removed positions of a dimension.

        Args:
            blocks: of the dimension.
            nonzero_only: leave out those that are zero by themselves, since nothing between the
                layer and here makes another number of zero.
        """
        masks = []
        for block in blocks:
            zero_anyway = nonzero_only and block.zero_preserving
            masks.append(self.gone(None if zero_anyway else block.axis, block.size))
        return np.concatenate(masks)

    def layer(self, seen: Recurrent, layer: Layer) -> None:
        """Zeroes rows of a layer's constants, and columns where its input is not already zero.

        Args:
            seen: the layer in the graph that is changed.
            layer: the same in the trace.
        """
        for index in (W, R, B, P):
            name = seen.given(index)
            if not name:
                continue
            value = np.array(self._parts.constants[name])
            for position, axis in enumerate(layer.axes):
                # (gates, H, ...), a view: what is set in it is set in `value`.
                rows = value[position].reshape(-1, seen.units, *value.shape[2:])
                rows[:, self.gone(axis, seen.units)] = 0
                if index == W:
                    value[position][:, self.along(layer.inputs, nonzero_only=True)] = 0
            self._parts.constants[name] = value

    def constant(self, use: Use) -> None:
        """Zeroes a constant's entries at removed components; columns of a matrix only if needed."""
        value: Constant = np.array(self._parts.constants[use.name])
        reads = self._reads.get((use.node, use.index))
        for position, blocks in enumerate(use.dims):
            # A divisor is kept: the dividend is zero, and zero by zero would be NaN.
            if blocks is not None and use.rest == 0:
                removed = self.along(blocks, nonzero_only=position == reads)
                value[(slice(None),) * position + (removed,)] = 0
        self._parts.constants[use.name] = value

    def initial_states(self, graph: GraphProto, layers: dict[str, Layer]) -> None:
        """Multiplies given initial states by zero at removed units.

        Args:
            graph: is changed in place, nested graphs are not.
            layers: those of the trace, by name.
        """
        order = []
        for node in graph.node:
            seen = view(node)
            if seen is not None and seen.name in layers:
                order += self._masked_states(seen, layers[seen.name])
            order.append(node)
        refill(graph.node, order)

    def _masked_states(self, seen: Recurrent, layer: Layer) -> list[NodeProto]:
        """The products with zeros and ones that one layer's initial states need."""
        kept = ~np.stack([self.gone(axis, seen.units) for axis in layer.axes])  # (D, H)
        states = [index for index in (H0, C0) if seen.given(index)]
        if kept.all() or not states:
            return []
        # States are (D, B, H), or (B, D, H) where the layer's tensors begin with the batch.
        factors = kept[None] if get_int(seen.node, "layout", 0) else kept[:, None]
        factor = f"{seen.name}.mask"
        self._parts.constants[factor] = factors.astype(self._parts.constants[seen.given(W)].dtype)
        products = []
        for index in states:
            masked = f"{seen.name}.masked.{index}"
            products.append(helper.make_node("Mul", [seen.given(index), factor], [masked]))
            set_input(seen.node, index, masked)
        return products
