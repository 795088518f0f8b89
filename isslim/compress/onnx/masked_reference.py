"""The reference that a smaller graph must equal: the original graph with the removed units held at zero.

It is built without the surgery: nothing becomes smaller, no size is rewritten. The rows of a
removed unit in W, R, B and P are zero, so that it stays at zero from a zero state; where an initial
state is given, its entries there are multiplied with zero, as the small graph does not read them.
What reads the unit stays untouched and reads zeros, unless something between makes another number
of zero (Sigmoid): then the reader's columns are zero, since the small graph has none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, helper

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Blocks
from isslim.compress.onnx.model.recurrent import C0, H0, B, P, R, Recurrent, W, view
from isslim.compress.onnx.model.split_model import (
    Constant,
    SplitModel,
    given,
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
        keep: per axis the kept indices; an axis not named is whole.
    """
    structure = ModelProto()
    structure.CopyFrom(source.structure)
    parts = SplitModel(structure, dict(source.constants))
    masker = _Masker(trace, keep, parts)
    layers = {layer.recurrent.name: layer for layer in trace.layers}
    for graph in inner_first(structure.graph):
        masker.initial_states(graph, layers)
    for node in nodes(structure.graph):
        seen = view(node)
        if seen is not None and seen.name in layers:
            masker.layer(seen, layers[seen.name])
    for use in trace.uses:
        if use.name in parts.constants:
            masker.constant(use)
    return merge_constants(parts)


class _Masker:
    """Sets constants of a copy to zero."""

    def __init__(self, trace: AxisFacts, keep: Keep, parts: SplitModel) -> None:
        self._trace, self._keep, self._parts = trace, keep, parts
        self._reads = {(p.node, p.index): p.reads for p in trace.products}

    def gone(self, axis: int | None, size: int) -> NDArray[np.bool_]:
        """Which components of an axis are removed."""
        removed = np.zeros(size, bool)
        pool = self._trace.pool
        if axis is not None and pool.is_prunable(axis) and pool.name(axis) in self._keep:
            removed[:] = True
            removed[self._keep[pool.name(axis)]] = False
        return removed

    def along(self, blocks: Blocks, *, nonzero_only: bool) -> NDArray[np.bool_]:
        """The removed positions of a dimension; `nonzero_only`: of those that are not zero by themselves."""
        return np.concatenate(
            [
                self.gone(
                    None if nonzero_only and block.zero_preserving else block.axis, block.size
                )
                for block in blocks
            ]
        )

    def layer(self, seen: Recurrent, layer: Layer) -> None:
        """Rows of a layer's constants, and columns where what it reads is not silent."""
        for index in (W, R, B, P):
            name = seen.given(index)
            if not name:
                continue
            value = np.array(self._parts.constants[name])
            for position, axis in enumerate(layer.axes):
                rows = value[position].reshape(
                    -1, seen.units, *value.shape[2:]
                )  # (gates, H, ...), a view
                rows[:, self.gone(axis, seen.units)] = 0
                if index == W:
                    value[position][:, self.along(layer.inputs, nonzero_only=True)] = 0
            self._parts.constants[name] = value

    def constant(self, use: Use) -> None:
        """Entries of a constant at removed components; of a matrix, what it gives, and what it reads if that is loud."""
        value: Constant = np.array(self._parts.constants[use.name])
        reads = self._reads.get((use.node, use.index))
        for position, blocks in enumerate(use.dims):
            if blocks is not None and use.rest == 0:
                removed = self.along(blocks, nonzero_only=position == reads)
                value[(slice(None),) * position + (removed,)] = 0
        self._parts.constants[use.name] = value

    def initial_states(self, graph: GraphProto, layers: dict[str, Layer]) -> None:
        """Multiplies given initial states with zero at removed units."""
        order = []
        for node in graph.node:
            seen = view(node)
            layer = layers.get(seen.name) if seen else None
            if seen is not None and layer is not None:
                mask = ~np.stack([self.gone(axis, seen.units) for axis in layer.axes])  # (D, H)
                shape = mask[None] if get_int(node, "layout", 0) else mask[:, None]
                for index in (H0, C0):
                    name = given(node, index)
                    if name and not mask.all():
                        new, factor = f"{seen.name}.silenced.{index}", f"{seen.name}.silence"
                        kind = self._parts.constants[seen.given(W)].dtype
                        self._parts.constants[factor] = shape.astype(kind)
                        order.append(helper.make_node("Mul", [name, factor], [new]))
                        set_input(node, index, new)
            order.append(node)
        refill(graph.node, list(order))
