"""What a rule of axis inference may ask and note while it stands at one node."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Block, Blocks, Dim, Layout, size
from isslim.compress.onnx.model.split_model import given, label
from isslim.compress.onnx.trace.alignment import AxisAligner
from isslim.compress.onnx.trace.edits import Edit, Product, Select, Use, key
from isslim.compress.onnx.trace.graph_view import GraphView
from isslim.compress.onnx.trace.knowledge import Knowledge
from isslim.compress.onnx.trace.pool import AxisUnionFind
from isslim.compress.onnx.trace.types import Entry, Layer, Unfollowable
from isslim.types.axis_names import channels_of

UNKNOWN_RANK = "the number of dimensions of one of its inputs is not known"
OTHER_SIZE = "it meets a tensor of another or unknown size"


class RuleContext:
    """The tools of a rule. Inputs and outputs are those of its node, by index.

    Attributes:
        node: where the rule stands.
    """

    def __init__(self, known: Knowledge, node: NodeProto) -> None:
        self.node = node
        self._known = known

    # What is known.

    @property
    def graph(self) -> GraphView:
        """What the graph itself says."""
        return self._known.graph

    @property
    def axes(self) -> AxisAligner:
        """Makes dimensions that meet agree."""
        return self._known.axes

    @property
    def pool(self) -> AxisUnionFind:
        """All axes."""
        return self._known.pool

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.graph.opset

    @property
    def key(self) -> str:
        """What the node is found by in edits."""
        return key(self.node)

    @property
    def output(self) -> str:
        """Name of the first output."""
        return str(self.node.output[0])

    def input(self, index: int) -> str:
        """Name of an input, empty when it is left out."""
        return given(self.node, index)

    def axis(self, default: int, rank: int) -> int:
        """The attribute `axis`, counted from the front.

        Args:
            default: where it is left out.
            rank: of the tensor along which it counts.
        """
        return get_int(self.node, "axis", default) % rank

    def unknown(self, position: int) -> str:
        """A name for a size of the first output that nothing is known of."""
        return f"?{self.output}:{position}"

    def is_constant(self, index: int) -> bool:
        """Whether an input is a constant."""
        return self.graph.is_constant(self.input(index))

    def constant(self, index: int) -> np.ndarray:
        """The value of an input that is known to be a constant."""
        return self.graph.parts.constants[self.input(index)]

    def value(self, index: int) -> np.ndarray | None:
        """The value of an input, or None if it is no constant."""
        return self.graph.value(self.input(index))

    def integers(self, index: int) -> list[int] | None:
        """A constant input as whole numbers in order; None when left out or not constant."""
        return self.graph.integers(self.node, index)

    def layout(self, index: int) -> Layout | None:
        """The layout of an input; None when not even its rank is known."""
        return self._known.layout(self.input(index))

    def require_layout(self, index: int) -> Layout:
        """The layout of an input.

        Raises:
            Unfollowable: when its rank is not known.
        """
        layout = self.layout(index)
        if layout is None:
            raise Unfollowable(UNKNOWN_RANK)
        return layout

    def require_layouts(self) -> list[Layout]:
        """The layouts of all inputs.

        Raises:
            Unfollowable: when a rank is not known.
        """
        return [self.require_layout(index) for index in range(len(self.node.input))]

    def plain_layout(self, index: int) -> Layout:
        """The layout of an input with one axis in place of one for each index.

        Raises:
            Unfollowable: when its rank is not known, or the axes' blocks differ.
        """
        return self.axes.without_per_index_axes(self.require_layout(index))

    def default(self) -> Layout | None:
        """The layout of the first output as shape inference alone knows it."""
        return self.graph.default(self.output)

    def inferred_size(self, position: int) -> Dim:
        """A size of the first output as shape inference alone knows it."""
        known = self.default()
        return known.dims[position] if known else self.unknown(position)

    def layout_of(self, name: str) -> Layout | None:
        """The layout of any value, such as one that a nested graph gives."""
        return self._known.layout(name)

    def entries(self, index: int) -> tuple[Entry, ...] | None:
        """The numbers of an input that is a shape, if it can be followed."""
        return self._known.entries(self.input(index))

    def is_computed(self, index: int) -> bool:
        """Whether an input is a shape which the graph computes."""
        return self.input(index) in self._known.findings.shapes

    def computed_entries(self, index: int) -> tuple[Entry, ...]:
        """The numbers of an input that is a shape which the graph computes; none of others."""
        return self._known.findings.shapes.get(self.input(index), ())

    def counts_units(self, name: str) -> bool:
        """Whether a value is a shape in which a number counts the components of an axis."""
        return self._known.counts_units(name)

    def has_units(self) -> bool:
        """Whether an input has an axis."""
        layouts = filter(None, map(self._known.layout, self.node.input))
        return any(layout.axes() for layout in layouts)

    def has_unknown_output(self) -> bool:
        """Whether something reads an output beside the first that no rule has laid out."""
        for name in self.node.output[1:]:
            if self.graph.readers[name] and name not in self._known.findings.layouts:
                return True
        return False

    # What a rule notes.

    def set_layout(self, layout: Layout | None, output: int = 0) -> None:
        """Lays out an output.

        Args:
            layout: None where nothing is known of it.
            output: its index; one that the node leaves out is passed over.
        """
        # Optional outputs are left out by an empty name, or not named at all.
        names = self.node.output
        if layout is not None and output < len(names) and names[output]:
            self._known.set_layout(self.node, names[output], layout)

    def set_default_layout(self, output: int = 0) -> None:
        """Lays out an output as shape inference knows it, without axes."""
        self.set_layout(self.graph.default(self.node.output[output]), output)

    def set_entries(self, entries: tuple[Entry, ...], output: int = 0) -> None:
        """Notes that an output is a shape.

        Args:
            entries: its numbers.
            output: its index.
        """
        self._known.findings.shapes[self.node.output[output]] = entries

    def new_axis(self, length: int) -> Dim:
        """A new axis that begins at the output of a matrix.

        Args:
            length: of the dimension; a single number is no axis, as nothing can be removed of it.
        """
        if length < 2:
            return length
        axis = self.pool.new(channels_of(label(self.node)), length, recurrent=False)
        # A matrix has no column for a removed component, so what it gives there is zero.
        return (Block(axis, length, self.output, True),)

    def note_edit(self, edit: Edit) -> None:
        """Notes what must change beside constants when axes shrink."""
        self._known.findings.edits.append(edit)

    def note_product(self, product: Product) -> None:
        """Notes that a constant matrix reads an activation."""
        self._known.findings.products.append(product)

    def note_layer(self, layer: Layer) -> None:
        """Notes a recurrent node."""
        self._known.findings.layers.append(layer)

    def note_sum(self, blocks: Blocks) -> None:
        """Notes that units are summed: they are read, though by no constant."""
        self._known.findings.summed.append(blocks)

    def index_constant(self, index: int, dims: Mapping[int, Dim], rest: float = 0.0) -> None:
        """Notes what the dimensions of a constant input mean.

        Args:
            index: of the input.
            dims: by position; others, and those without blocks, have no axis.
            rest: what stands at removed components, as in `edits.Use`.
        """
        # A plain size beside blocks means that a cut changes nothing along it.
        blocks: list[Blocks | None] = []
        for position in range(self.constant(index).ndim):
            dim = dims.get(position)
            blocks.append(dim if isinstance(dim, tuple) else None)
        use = Use(self.key, index, self.input(index), tuple(blocks), rest)
        self._known.findings.uses.append(use)

    def gate_input(self, index: int, along: int, options: tuple[Blocks, ...], by: int = 0) -> None:
        """Lets only what an axis keeps of an input through, which itself stays as large as it is.

        Args:
            index: of the input.
            along: dimension of the input.
            options: blocks of that dimension; several: one for each index of dimension `by`.
            by: see `options`.

        Raises:
            Unfollowable: when its size is not known: it might be 1 and stretch, or another.
        """
        layout = self.require_layout(index)
        own, expected = size(layout.dims[along]), size(options[0])
        if own != expected:
            raise Unfollowable(OTHER_SIZE)
        self.note_edit(Select(self.key, index, along, options, by, layout.rank))

    def without_axes(self, layout: Layout, positions: set[int], text: str) -> Layout:
        """The layout with some dimensions as plain sizes; the axes that stand there are left alone.

        Args:
            layout: without an axis for each index.
            positions: of those dimensions.
            text: why.
        """
        return self._known.without_axes(self.node, layout, positions, text)

    def pin(self, name: str, text: str) -> None:
        """Leaves every axis of a value alone.

        Args:
            name: of the value.
            text: why.
        """
        self._known.pin(name, text, self.node)

    def walk(self, graph: GraphProto) -> None:
        """Follows the nodes of a nested graph."""
        self._known.walk(graph)
