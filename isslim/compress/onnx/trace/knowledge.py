"""What is known of a graph's axes while it is walked, by value; rules add to it node by node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.layouts import Layout, size
from isslim.compress.onnx.model.split_model import label
from isslim.compress.onnx.trace.alignment import AxisAligner
from isslim.compress.onnx.trace.facts import AxisFacts, constant_entries
from isslim.compress.onnx.trace.findings import Findings
from isslim.compress.onnx.trace.graph_view import GraphView
from isslim.compress.onnx.trace.pool import AxisUnionFind, PinReason
from isslim.compress.onnx.trace.types import Entry

Walk = Callable[["Knowledge", GraphProto], None]

_MAX_PATH = 64
"""Operators of a path that a reason names: a graph of thousands of steps needs no longer one."""


class Knowledge:
    """Everything that is known so far.

    Attributes:
        graph: what the graph itself says.
        axes: makes dimensions that meet agree.
        findings: what rules have noted.
    """

    def __init__(self, graph: GraphView, walk: Walk) -> None:
        self.graph = graph
        self.axes = AxisAligner(AxisUnionFind())
        self.findings = Findings()
        self._walk = walk
        # Per value the node that gave it, and the input of that node from which its axes came.
        self._origin: dict[str, tuple[NodeProto, str | None]] = {}

    @property
    def pool(self) -> AxisUnionFind:
        """All axes."""
        return self.axes.pool

    def layout(self, name: str) -> Layout | None:
        """A value's layout; None when not even its rank is known."""
        found = self.findings.layouts.get(name)
        if found is None:
            return self.graph.default(name)
        # Axes may have been divided since it was laid out.
        return found.divided(self.axes.refined)

    def entries(self, name: str) -> tuple[Entry, ...] | None:
        """The numbers of a shape, if it can be followed."""
        constant = constant_entries(self.graph.value(name))
        if constant is not None:
            return constant
        found = self.findings.shapes.get(name)
        return None if found is None else tuple(map(self._refined, found))

    def counts_units(self, name: str) -> bool:
        """Whether a value is a shape in which a number counts the components of an axis."""
        return any(entry.axes for entry in self.findings.shapes.get(name, ()))

    def set_layout(self, node: NodeProto, name: str, layout: Layout) -> None:
        """Lays out a value.

        Args:
            node: that gives it.
            name: of the value.
            layout: its dimensions.
        """
        self.findings.layouts[name] = layout
        self._origin[name] = (node, self._parent(node, layout))

    def without_axes(
        self, node: NodeProto, layout: Layout, positions: set[int], text: str
    ) -> Layout:
        """The layout with some dimensions as plain sizes; the axes that stand there are left alone.

        Args:
            node: where.
            layout: without an axis for each index.
            positions: of those dimensions.
            text: why.
        """
        reason = PinReason(text, (_step(node),))
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
        # A number of units says as much about them as the units: it may not change either.
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

    def _refined(self, entry: Entry) -> Entry:
        if entry.blocks is None:
            return entry
        return replace(entry, blocks=self.axes.refined(entry.blocks))

    def _parent(self, node: NodeProto, layout: Layout) -> str | None:
        """The input from which the axes of an output came, so that a path leads back through it."""
        # The first of several will do: a reason needs one way by which units came.
        own = self._identity(layout)
        for name in map(str, node.input):
            known = self.findings.layouts.get(name)
            if known is not None and own & self._identity(known):
                return name
        return None

    def _identity(self, layout: Layout) -> set[int]:
        return set(map(self.pool.find, layout.axes()))

    def _path(self, name: str | None, node: NodeProto | None) -> tuple[str, ...]:
        """The operators through which a value came, the recurrent layer first."""
        steps = [] if node is None else [_step(node)]
        while name is not None and name in self._origin and len(steps) < _MAX_PATH:
            before, name = self._origin[name]
            steps.append(_step(before))
        return tuple(reversed(steps))


def _step(node: NodeProto) -> str:
    return f"{node.op_type} '{label(node)}'"
