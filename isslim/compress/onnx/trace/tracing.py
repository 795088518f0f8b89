"""Axis inference: walks a graph in the order of its data flow and says of every tensor which axes index it.

Every operator has a rule in one of the modules `rules_*`. A rule lays out the node's outputs and
notes what would have to change if the axes shrank (`edits`). One that cannot go on raises
`Unfollowable`: then every axis that comes in is left alone, with the path that led there. Axes begin at
recurrent layers; those that begin at other matrices ("made") matter only where they meet a
recurrent one, such as in a skip connection.

The sizes of shapes that are computed at run time are followed too: an entry of a shape knows which
axes it counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.layouts import (
    Block,
    Blocks,
    Dim,
    Layout,
    PerIndexAxes,
    block_boundaries,
    size,
    split_blocks,
)
from isslim.compress.onnx.model.recurrent import view
from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import SplitModel, given, graphs, label, nodes
from isslim.compress.onnx.trace.edits import Edit, Product, Select, Use, key
from isslim.compress.onnx.trace.pool import AxisUnionFind, PinReason
from isslim.compress.onnx.trace.types import (
    CONTRADICTIONS,
    Entry,
    Layer,
    Unfollowable,
    unknown_operator,
)

Rule = Callable[["Trace", NodeProto], None]


@dataclass
class Trace:
    """What is known of a graph, and the tools by which rules say more.

    Attributes:
        parts: the model.
        rules: per operator.
        markers: outputs of Identity nodes behind which states are of full size.
        pool: its axes.
        layouts: per value.
        shapes: entries of values that are shapes.
        edits: what must change.
        uses: constants that axes index.
        products: matrices that read activations.
        layers: recurrent nodes.
        summed: dimensions over which activations are summed.
        readers: how often each value is read, as a graph's output included.
        consumers: the nodes that read it.
    """

    parts: SplitModel
    rules: Mapping[str, Rule]
    markers: frozenset[str]
    pool: AxisUnionFind = field(default_factory=AxisUnionFind)
    layouts: dict[str, Layout] = field(default_factory=dict)
    shapes: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    summed: list[Blocks] = field(default_factory=list)
    _inferred: dict[str, Layout] = field(default_factory=dict)
    _origin: dict[str, tuple[NodeProto, str | None]] = field(default_factory=dict)
    readers: Counter[str] = field(default_factory=Counter)
    consumers: dict[str, list[NodeProto]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._inferred = inferred_shapes(self.parts)
        for node in nodes(self.parts.structure.graph):
            self.readers.update(name for name in node.input if name)
            for name in node.input:
                self.consumers[name].append(node)
        self.readers.update(
            port.name for each in graphs(self.parts.structure.graph) for port in each.output
        )

    # What rules ask.

    def constant(self, name: str) -> bool:
        """Whether a value is a constant."""
        return name in self.parts.constants

    def value(self, name: str) -> np.ndarray | None:
        """A constant's value, or None."""
        return self.parts.constants.get(name)

    def integers(self, node: NodeProto, index: int) -> list[int] | None:
        """A constant input as a list of whole numbers; None when it is left out or not constant."""
        value = self.value(given(node, index))
        return None if value is None else [int(each) for each in value.reshape(-1)]

    def layout(self, name: str) -> Layout | None:
        """A value's layout; None when not even its rank is known."""
        if name in self.layouts:
            return self.layouts[name].divided(self.divided)
        if self.constant(name):
            return Layout(tuple(self.parts.constants[name].shape))
        return self._inferred.get(name)

    def require_layout(self, node: NodeProto, index: int) -> Layout:
        """The layout of an input.

        Raises:
            Unfollowable: when its rank is not known.
        """
        layout = self.layout(given(node, index))
        if layout is None:
            raise Unfollowable("the number of dimensions of one of its inputs is not known")
        return layout

    def entries(self, name: str) -> tuple[Entry, ...] | None:
        """The numbers of a shape, if it can be followed."""
        value = self.value(name)
        if value is not None and value.dtype.kind == "i" and value.ndim <= 1 and value.size <= 64:
            return tuple(Entry(int(each)) for each in value.reshape(-1))
        found = self.shapes.get(name)
        return found and tuple(
            replace(each, blocks=each.blocks and self.divided(each.blocks)) for each in found
        )

    def divided(self, blocks: Blocks) -> Blocks:
        """The blocks, those of axes that turned out to be several replaced by theirs."""
        found: list[Block] = []
        for block in blocks:
            parts = () if block.axis is None else self.pool.parts(block.axis)
            found += self.divided(
                tuple(replace(block, axis=p, size=self.pool.size(p)) for p in parts)
            ) or [block]
        return tuple(found)

    def align_blocks(self, several: list[Blocks]) -> list[Blocks]:
        """Several dimensions that meet, cut into blocks at the same places.

        Axes that no recurrent layer began are divided for that.

        Raises:
            Unfollowable: when an axis of a recurrent layer would have to be.
        """
        while True:
            several = [self.divided(blocks) for blocks in several]
            places = sorted({end for blocks in several for end in block_boundaries(blocks)})
            if not any(self._divide_at(blocks, places) for blocks in several):
                return [split_blocks(blocks, places) for blocks in several]

    def _divide_at(self, blocks: Blocks, places: list[int]) -> bool:
        """Divides the first axis in which one of the places lies; says whether there was one."""
        start = 0
        for block in blocks:
            inner = [end - start for end in places if start < end < start + block.size]
            start += block.size
            if inner and block.axis is not None:
                if self.pool.is_recurrent(block.axis):
                    raise Unfollowable("it meets a tensor whose parts lie differently")
                self.pool.divide(
                    block.axis, [high - low for low, high in pairwise([0, *inner, block.size])]
                )
                return True
        return False

    def default(self, name: str) -> Layout | None:
        """What shape inference alone says of a value."""
        return self._inferred.get(name)

    # What rules say.

    def set_layout(self, node: NodeProto, layout: Layout | None, output: int = 0) -> None:
        """Lays out an output."""
        name = node.output[output] if output < len(node.output) else ""
        if not name or layout is None:
            return
        self.layouts[name] = layout
        own = set(map(self.pool.find, layout.axes()))
        known = ((each, self.layouts.get(each)) for each in node.input)
        parent = next(
            (n for n, each in known if each and own & set(map(self.pool.find, each.axes()))), None
        )
        self._origin[name] = (node, parent)

    def new_axis(self, node: NodeProto, length: int) -> Dim:
        """A new axis that begins at the output of a matrix; a single number is none."""
        name = node.output[0]
        if length < 2:
            return length
        axis = self.pool.new(f"made:{name}", length, recurrent=False)
        return (Block(axis, length, name, True),)

    def index_constant(
        self, node: NodeProto, index: int, dims: Mapping[int, Dim], rest: float = 0.0
    ) -> None:
        """Says what the dimensions of a constant input mean."""
        name = node.input[index]
        rank = self.parts.constants[name].ndim
        found = (dims.get(i) for i in range(rank))
        blocks = tuple(each if isinstance(each, tuple) else None for each in found)
        self.uses.append(Use(key(node), index, name, blocks, rest))

    def gate_input(
        self, node: NodeProto, index: int, along: int, options: tuple[Blocks, ...], by: int = 0
    ) -> None:
        """Lets only what an axis keeps of an activation through, which itself stays as large as it is.

        Raises:
            Unfollowable: when its size is not known: it might be 1 and stretch, or another.
        """
        layout = self.require_layout(node, index)
        if size(layout.dims[along]) != size(options[0]):
            raise Unfollowable("it meets a tensor of another or unknown size")
        self.edits.append(Select(key(node), index, along, options, by, layout.rank))

    def unite(self, one: Blocks, other: Blocks) -> None:
        """Two dimensions are of the same axes.

        Raises:
            Unfollowable: when their blocks differ.
        """
        one, other = self.divided(one), self.divided(other)
        if [b.size for b in one] != [b.size for b in other]:
            raise Unfollowable("it meets a tensor whose parts lie differently")
        for first, second in zip(one, other, strict=True):
            if first.axis is not None and second.axis is not None:
                self.pool.unite(first.axis, second.axis)
            elif first.axis != second.axis:
                still = first.axis if first.axis is not None else second.axis
                self.pool.pin(
                    still or 0, PinReason("it meets a tensor part of which stays as it is")
                )

    def without_per_index_axes(self, layout: Layout) -> Layout:
        """The layout without panels: the axes of all options become one.

        Raises:
            Unfollowable: when the options' blocks differ.
        """
        if not layout.per_index:
            return layout
        first, *others = layout.per_index.options
        for each in others:
            self.unite(first, each)
        zero_preserving = tuple(
            all(option[i].zero_preserving for option in layout.per_index.options)
            for i in range(len(first))
        )
        blocks = tuple(
            Block(b.axis, b.size, b.source, quiet)
            for b, quiet in zip(first, zero_preserving, strict=True)
        )
        return Layout(layout.dims, None).with_dim(layout.per_index.along, blocks)

    def without_axes(
        self, layout: Layout, positions: set[int], text: str, node: NodeProto
    ) -> Layout:
        """The layout with some dimensions as plain sizes; the axes that stand there are left alone.

        Args:
            layout: without panels.
            positions: of those dimensions.
            text: why.
            node: where.
        """
        for position in positions & set(layout.labelled()):
            dim = layout.dims[position]
            for axis in Layout((dim,)).axes():
                self.pool.pin(axis, PinReason(text, (f"{node.op_type} '{label(node)}'",)))
            layout = layout.with_dim(position, size(dim))
        return layout

    def with_per_index_axes(
        self, layout: Layout, by: int, along: int, options: tuple[Blocks, ...]
    ) -> Layout:
        """The layout with different axes for each index of a dimension; they share a size.

        Raises:
            Unfollowable: when they cannot, because their blocks differ in number or in size.
        """
        if len(options) == 1:
            return layout.with_dim(along, options[0])
        first = options[0]
        for each in options[1:]:
            if [(b.axis is None, b.size) for b in each] != [
                (b.axis is None, b.size) for b in first
            ]:
                raise Unfollowable("tensors whose parts lie differently are stacked")
            for one, other in zip(first, each, strict=True):
                if one.axis is not None and other.axis is not None:
                    self.pool.same_size(one.axis, other.axis)
        dims = layout.with_dim(along, first).dims
        return Layout(dims, PerIndexAxes(by, along, options))

    def pin(self, name: str, text: str, node: NodeProto | None = None) -> None:
        """Leaves every axis of a value alone."""
        layout = self.layouts.get(name)
        axes = set(layout.axes() if layout else ())
        axes |= {axis for entry in self.shapes.get(name, ()) for axis in entry.axes}
        for axis in axes:
            self.pool.pin(axis, PinReason(text, self.path(name, node)))

    def path(self, name: str | None, node: NodeProto | None = None) -> tuple[str, ...]:
        """The operators through which a value came, the recurrent layer first."""
        steps = [f"{node.op_type} '{label(node)}'"] if node is not None else []
        while name is not None and name in self._origin and len(steps) < 64:
            step, name = self._origin[name]
            steps.append(f"{step.op_type} '{label(step)}'")
        return tuple(reversed(steps))


def _requested_layout(trace: Trace, node: NodeProto) -> Layout | None:
    """What a Reshape was asked for, where inference does not know what it gives: its reader wants the rank at least."""
    entries = trace.entries(given(node, 1)) if node.op_type == "Reshape" else None
    if entries is None:
        return None
    unknown = (f"?{node.output[0]}:{index}" for index in range(len(entries)))
    return Layout(
        tuple(
            e.token if isinstance(e.token, str) or e.token > 0 else u
            for e, u in zip(entries, unknown, strict=True)
        )
    )


def walk(trace: Trace, graph: GraphProto) -> None:
    """Applies the rules to the nodes of one graph, in its order."""
    for node in graph.node:
        rule = trace.rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        try:
            if rule is None:
                raise unknown_operator(node.op_type)
            _apply(trace, node, rule)
        except (Unfollowable, *CONTRADICTIONS) as obstacle:
            for name in {name for name in node.input if name}:
                trace.pin(name, f"at {node.op_type} '{label(node)}': {obstacle}", node)
            for index, name in enumerate(node.output):
                trace.shapes.pop(name, None)
                trace.set_layout(node, trace.default(name) or _requested_layout(trace, node), index)


def _apply(trace: Trace, node: NodeProto, rule: Rule) -> None:
    """Applies a rule; where it cannot go on because of axes that no recurrent layer began, those are left alone first.

    Raises:
        Unfollowable: when units are what it cannot go on with.
    """
    noted = [len(each) for each in (trace.edits, trace.uses, trace.products, trace.summed)]
    try:
        rule(trace, node)
    except (Unfollowable, *CONTRADICTIONS) as obstacle:
        if subgraphs(node) or view(node) or not _forget_made(trace, node, str(obstacle)):
            raise
        for each, length in zip(
            (trace.edits, trace.uses, trace.products, trace.summed), noted, strict=True
        ):
            del each[length:]  # type: ignore[attr-defined]
        rule(trace, node)


def _forget_made(trace: Trace, node: NodeProto, text: str) -> bool:
    """Leaves the axes of a node's inputs alone that no recurrent layer began, units beside them as they are.

    Returns:
        Whether there were such axes, and units too.
    """
    layouts = {
        name: layout
        for name in node.input
        if name in trace.layouts and (layout := trace.layout(name))
    }
    if not any(
        trace.pool.is_recurrent(axis) for layout in layouts.values() for axis in layout.axes()
    ):
        return False
    forgotten = False
    for name, layout in layouts.items():
        along = {layout.per_index.along} if layout.per_index else set()
        made = {
            position
            for position in set(layout.labelled()) - along
            if not any(
                trace.pool.is_recurrent(axis) for axis in Layout((layout.dims[position],)).axes()
            )
        }
        trace.layouts[name] = trace.without_axes(
            layout, made, f"at {node.op_type} '{label(node)}': {text}", node
        )
        forgotten = forgotten or bool(made)
    return forgotten
