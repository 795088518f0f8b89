"""What a rule of axis inference may ask and note while it stands at one node.

`RuleContext.graph` says what the graph itself says, `RuleContext.axes` makes dimensions agree, and
the context knows the layouts so far, takes the rule's notes, and follows nested graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.layouts import Block, Blocks, Dim, Layout, size
from isslim.compress.onnx.model.split_model import given, label
from isslim.compress.onnx.trace.alignment import AxisAligner
from isslim.compress.onnx.trace.edits import Select, Use, key
from isslim.compress.onnx.trace.facts import AxisFacts, constant_entries
from isslim.compress.onnx.trace.findings import Findings
from isslim.compress.onnx.trace.graph_view import GraphView
from isslim.compress.onnx.trace.pool import AxisUnionFind, PinReason
from isslim.compress.onnx.trace.types import Entry, Unfollowable

UNKNOWN_RANK = "the number of dimensions of one of its inputs is not known"
OTHER_SIZE = "it meets a tensor of another or unknown size"

_MAX_PATH = 64
"""Operators of a path that a reason names: a graph of thousands of steps needs no longer one."""


class RuleContext:
    """The tools of a rule.

    Attributes:
        graph: what the graph itself says.
        axes: makes dimensions that meet agree.
        findings: the notes so far.
    """

    def __init__(self, graph: GraphView, walk: Callable[[RuleContext, GraphProto], None]) -> None:
        self.graph = graph
        self.axes = AxisAligner(AxisUnionFind())
        self.findings = Findings()
        self._walk = walk
        self._origin: dict[str, tuple[NodeProto, str | None]] = {}

    # What is known.

    @property
    def pool(self) -> AxisUnionFind:
        """All axes."""
        return self.axes.pool

    def constant(self, name: str) -> np.ndarray:
        """The value of a constant that is known to be one."""
        return self.graph.parts.constants[name]

    def layout(self, name: str) -> Layout | None:
        """A value's layout; None when not even its rank is known."""
        found = self.findings.layouts.get(name)
        return self.graph.default(name) if found is None else found.divided(self.axes.refined)

    def require_layout(self, node: NodeProto, index: int) -> Layout:
        """The layout of an input.

        Args:
            node: the reader.
            index: of its input.

        Raises:
            Unfollowable: when its rank is not known.
        """
        layout = self.layout(given(node, index))
        if layout is None:
            raise Unfollowable(UNKNOWN_RANK)
        return layout

    def plain_layout(self, node: NodeProto, index: int) -> Layout:
        """The layout of an input with one axis in place of one for each index.

        Args:
            node: the reader.
            index: of its input.

        Raises:
            Unfollowable: when its rank is not known, or the axes' blocks differ.
        """
        return self.axes.without_per_index_axes(self.require_layout(node, index))

    def entries(self, name: str) -> tuple[Entry, ...] | None:
        """The numbers of a shape, if it can be followed."""
        constant = constant_entries(self.graph.value(name))
        if constant is not None:
            return constant
        found = self.findings.shapes.get(name)
        if found is None:
            return None
        refined = self.axes.refined
        return tuple(replace(each, blocks=each.blocks and refined(each.blocks)) for each in found)

    def counts_units(self, name: str) -> bool:
        """Whether a value is a shape in which a number counts the components of an axis."""
        return any(entry.axes for entry in self.findings.shapes.get(name, ()))

    # What a rule notes.

    def set_layout(self, node: NodeProto, layout: Layout | None, output: int = 0) -> None:
        """Lays out an output.

        Args:
            node: whose output.
            layout: None where nothing is known of it.
            output: its index; one that the node leaves out is passed over.
        """
        name = node.output[output] if output < len(node.output) else ""
        if not name or layout is None:
            return
        self.findings.layouts[name] = layout
        self._origin[name] = (node, self._parent(node, layout))

    def set_default_layout(self, node: NodeProto) -> None:
        """Lays out the first output as shape inference knows it, without axes."""
        self.set_layout(node, self.graph.default(node.output[0]))

    def new_axis(self, node: NodeProto, length: int) -> Dim:
        """A new axis that begins at the output of a matrix.

        Args:
            node: the product.
            length: of the dimension; a single number is no axis, as nothing can be removed of it.
        """
        name = node.output[0]
        if length < 2:
            return length
        axis = self.pool.new(f"made:{name}", length, recurrent=False)
        # A matrix has no column for a removed component, so what it gives there is zero.
        return (Block(axis, length, name, True),)

    def index_constant(
        self, node: NodeProto, index: int, dims: Mapping[int, Dim], rest: float = 0.0
    ) -> None:
        """Notes what the dimensions of a constant input mean.

        Args:
            node: the reader.
            index: of the input.
            dims: by position; others, and those without blocks, have no axis.
            rest: what stands at removed components, as in `edits.Use`.
        """
        name = node.input[index]
        blocks: list[Blocks | None] = []
        for position in range(self.constant(name).ndim):
            dim = dims.get(position)
            blocks.append(dim if isinstance(dim, tuple) else None)
        self.findings.uses.append(Use(key(node), index, name, tuple(blocks), rest))

    def gate_input(
        self, node: NodeProto, index: int, along: int, options: tuple[Blocks, ...], by: int = 0
    ) -> None:
        """Lets only what an axis keeps of an input through, which itself stays as large as it is.

        Args:
            node: the reader.
            index: of the input.
            along: dimension of the input.
            options: blocks of that dimension; several: one for each index of dimension `by`.
            by: see `options`.

        Raises:
            Unfollowable: when its size is not known: it might be 1 and stretch, or another.
        """
        layout = self.require_layout(node, index)
        if size(layout.dims[along]) != size(options[0]):
            raise Unfollowable(OTHER_SIZE)
        self.findings.edits.append(Select(key(node), index, along, options, by, layout.rank))

    def without_axes(
        self, layout: Layout, positions: set[int], text: str, node: NodeProto
    ) -> Layout:
        """The layout with some dimensions as plain sizes; the axes that stand there are left alone.

        Args:
            layout: without an axis for each index.
            positions: of those dimensions.
            text: why.
            node: where.
        """
        reason = PinReason(text, (f"{node.op_type} '{label(node)}'",))
        for position in positions & set(layout.labelled()):
            dim = layout.dims[position]
            for axis in Layout((dim,)).axes():
                self.pool.pin(axis, reason)
            layout = layout.with_dim(position, size(dim))
        return layout

    def pin(self, name: str, text: str, node: NodeProto | None = None) -> None:
        """Leaves every axis of a value alone.

        Args:
            name: of the value.
            text: why.
            node: where; None: at the value itself.
        """
        layout = self.findings.layouts.get(name)
        axes = set(layout.axes() if layout else ())
        for entry in self.findings.shapes.get(name, ()):
            axes |= entry.axes
        reason = PinReason(text, self._path(name, node))
        for axis in axes:
            self.pool.pin(axis, reason)

    def walk(self, graph: GraphProto) -> None:
        """Follows the nodes of a nested graph."""
        self._walk(self, graph)

    def facts(self) -> AxisFacts:
        """What is known now, with no way to change it."""
        found = self.findings
        refined = self.axes.refined
        layouts = {name: layout.divided(refined) for name, layout in found.layouts.items()}
        shapes = {name: self.entries(name) or () for name in found.shapes}
        return AxisFacts(
            graph=self.graph,
            pool=self.pool,
            edits=tuple(found.edits),
            uses=tuple(found.uses),
            products=tuple(found.products),
            layers=tuple(found.layers),
            layouts=layouts,
            shapes=shapes,
        )

    def _parent(self, node: NodeProto, layout: Layout) -> str | None:
        """The input from which the axes of an output came, so that a path leads back through it."""
        own = set(map(self.pool.find, layout.axes()))
        for name in map(str, node.input):
            known = self.findings.layouts.get(name)
            if known is not None and own & set(map(self.pool.find, known.axes())):
                return name
        return None

    def _path(self, name: str | None, node: NodeProto | None) -> tuple[str, ...]:
        """The operators through which a value came, the recurrent layer first."""
        steps = [] if node is None else [f"{node.op_type} '{label(node)}'"]
        while name is not None and name in self._origin and len(steps) < _MAX_PATH:
            step, name = self._origin[name]
            steps.append(f"{step.op_type} '{label(step)}'")
        return tuple(reversed(steps))
