"""Changes in a graph besides weights: numbers that encode sizes, and the caller's states."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.attributes import get_ints, remove_attribute, set_attribute
from isslim.compress.onnx.model.layouts import Block, Blocks
from isslim.compress.onnx.model.split_model import (
    SplitModel,
    given,
    inner_first,
    nodes,
    replace,
    set_input,
)
from isslim.compress.onnx.rewrite.gather_scatter import Placement, Rearrangement, gather_scatter
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.state_sizes import exposable
from isslim.compress.onnx.trace.edits import (
    Bounds,
    Channels,
    Edit,
    Restore,
    Select,
    Shares,
    Target,
    key,
)
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.pruning.axes import Arrays


def resize(
    parts: SplitModel, trace: AxisFacts, arrays: Arrays, sizes: Sizes, *, keep_state_shapes: bool
) -> None:
    """Adapts the structure of a graph to its new sizes; in place.

    Args:
        parts: the graph at full size.
        trace: what is known of it.
        arrays: which components are kept, by `<axis>.kept`.
        sizes: the new ones.
        keep_state_shapes: see `write`.
    """
    resizing = _Resizing(parts, trace, arrays, sizes)
    # Exposed states need no rearrangement: the caller passes the small state itself.
    exposed = set() if keep_state_shapes else exposable(trace, sizes.placed, sizes.components)
    for edit in trace.edits:
        if edit in exposed:
            resizing.expose(edit)
        else:
            resizing.apply(edit)
    resizing.insert()


class _Resizing:
    """One graph being resized."""

    def __init__(self, parts: SplitModel, trace: AxisFacts, arrays: Arrays, sizes: Sizes) -> None:
        self._parts, self._trace, self._arrays, self._sizes = parts, trace, arrays, sizes
        self._nodes = {key(node): node for node in nodes(parts.structure.graph)}
        self._before: dict[str, list[NodeProto]] = {}

    def apply(self, edit: Edit) -> None:
        """Applies an edit, if one of its axes has shrunk."""
        if isinstance(edit, Select | Restore):
            self._move(edit)
        elif isinstance(edit, Target):
            self._target(edit)
        elif isinstance(edit, Bounds):
            self._bounds(edit)
        elif isinstance(edit, Channels):
            set_attribute(self._nodes[edit.node], "group", self._sizes.width(edit.blocks))
        elif self._sizes.changes(*edit.outputs):
            self._shares(edit)

    def _move(self, edit: Select | Restore) -> None:
        """Selects the kept components of a larger tensor, or scatters them back into one."""
        if not self._sizes.changes(*edit.options):
            return
        back = isinstance(edit, Restore)
        placements = tuple(self._placement(blocks, back=back) for blocks in edit.options)
        node = self._nodes[edit.node]
        if isinstance(edit, Select):
            index = edit.index
            made = self._parts.fresh(f"{self._parts.fresh(f'{edit.node}.selected')}.{index}")
        else:
            index = 0  # a marker has one input
            made = self._parts.fresh(f"{edit.node}.restored")
        change = Rearrangement(edit.along, edit.by, edit.rank, placements)
        steps = gather_scatter(self._parts, node.input[index], made, change)
        self._before.setdefault(edit.node, []).extend(steps)
        set_input(node, index, made)

    def expose(self, edit: Edit) -> None:
        """Gives a state of the caller the size of its layer."""
        if not isinstance(edit, Select | Restore):
            return
        graph = self._parts.structure.graph
        if isinstance(edit, Select):
            name, ports = given(self._nodes[edit.node], edit.index), graph.input
        else:
            name, ports = edit.node, graph.output
        # All options have one size, since they share a tensor.
        width = self._sizes.width(edit.options[0])
        for port in ports:
            if port.name == name:
                port.type.tensor_type.shape.dim[edit.along].dim_value = width

    def _placement(self, blocks: Blocks, *, back: bool) -> Placement:
        """The source of each entry; -1 stands for zero."""
        found: list[NDArray[np.int64]] = []
        start = 0  # of the block in the tensor that is read
        for block in blocks:
            name = self._sizes.name(block)
            if name is None or name not in self._sizes.shrunk:
                found.append(np.arange(start, start + block.size))
                start += block.size
                continue
            # Arrays are float32 throughout: numbers of components too.
            kept = np.rint(self._arrays[f"{name}.kept"]).astype(np.int64)
            room = self._sizes.placed[name]
            if back:
                # Back to the size that the caller knows, with zeros at removed components.
                places = np.full(block.size, -1)
                places[kept] = start + np.arange(len(kept))
                start += room
            else:
                # Positions beyond the kept components are for dead ones, which read zeros.
                places = np.full(room, -1)
                places[: len(kept)] = start + kept
                start += block.size
            found.append(places)
        return Placement(np.concatenate(found), start)

    def _target(self, edit: Target) -> None:
        """New sizes in the target of a Reshape or Expand.

        A 1 is written in any case: it asks an Expand to leave a dimension of units as it is, where
        the target asks for their old number.
        """
        runs = [blocks for _, blocks in edit.sizes]
        if self._sizes.changes(*runs) or (Block(None, 1),) in runs:
            new = {position: self._sizes.width(blocks) for position, blocks in edit.sizes}
            self._override(edit.node, edit.index, new)

    def _bounds(self, edit: Bounds) -> None:
        """New starts and ends of a Slice."""
        starts: dict[int, int] = {}
        ends: dict[int, int] = {}
        changed = False
        for entry, before, within in edit.entries:
            starts[entry] = self._sizes.width(before)
            ends[entry] = starts[entry] + self._sizes.width(within)
            changed = changed or self._sizes.changes(before, within)
        if not changed:
            return
        node = self._nodes[edit.node]
        if self._parts.opset < 10:  # attributes then, inputs since
            for name, new in (("starts", starts), ("ends", ends)):
                old = get_ints(node, name) or []
                set_attribute(node, name, [new.get(index, old[index]) for index in range(len(old))])
            return
        self._override(edit.node, 1, starts)
        self._override(edit.node, 2, ends)

    def _shares(self, edit: Shares) -> None:
        """New sizes of a Split's outputs; equal ones that were left out are written too."""
        node = self._nodes[edit.node]
        new = [self._sizes.width(blocks) for blocks in edit.outputs]
        if self._parts.opset < 13:
            set_attribute(node, "split", new)
            return
        name = self._parts.fresh(f"{edit.node}.split")
        self._parts.constants[name] = np.array(new, np.int64)
        # A Split takes sizes or a number of equal outputs, never both.
        remove_attribute(node, "num_outputs")
        set_input(node, 1, name)

    def _override(self, target: str, index: int, new: Mapping[int, int]) -> None:
        """Replaces some numbers of an input, which may be computed at run time."""
        node = self._nodes[target]
        old = given(node, index)
        name = self._parts.fresh(f"{target}.sizes")
        if old in self._parts.constants:
            # A copy under a new name: others may read the old one.
            value = np.array(self._parts.constants[old])
            value.reshape(-1)[list(new)] = list(new.values())
            self._parts.constants[name] = value
        else:
            # A computed target keeps its other numbers: some may only be known at run time.
            length = len(self._trace.entries(old) or ())
            mask, values = np.zeros(length, bool), np.zeros(length, np.int64)
            mask[list(new)], values[list(new)] = True, list(new.values())
            chosen, wanted = self._parts.fresh(f"{name}.which"), self._parts.fresh(f"{name}.new")
            self._parts.constants |= {chosen: mask, wanted: values}
            # New numbers at their positions, the computed ones everywhere else.
            step = NodeProto(op_type="Where", input=[chosen, wanted, old], output=[name])
            self._before.setdefault(target, []).append(step)
        set_input(node, index, name)

    def insert(self) -> None:
        """Puts new nodes before their readers, and drops declared shapes that no longer hold."""
        for graph in inner_first(self._parts.structure.graph):
            if any(key(node) in self._before for node in graph.node):
                order: list[NodeProto] = []
                for node in graph.node:
                    order += [*self._before.get(key(node), ()), node]
                replace(graph.node, order)
            # Recorded shapes inside no longer hold.
            del graph.value_info[:]
            if graph is not self._parts.structure.graph:
                self._drop_shapes(graph)

    def _drop_shapes(self, graph: GraphProto) -> None:
        """Drops the declared shapes of a branch's or body's outputs that shrank."""
        for port in graph.output:
            layout = self._trace.layout(port.name)
            axes = layout.axes() if layout is not None else []
            if self._sizes.changes(tuple(Block(axis, 0) for axis in axes)):
                port.type.tensor_type.ClearField("shape")
