"""Writes a graph at other sizes: constants from canonical arrays, and every number that hides a size.

Axes that lie in one tensor side by side (the directions of a layer, a stack of states) need one size there. Each is as large
as the largest of them needs, the others have dead components: zero weights in, zero columns out.

Legend: K kept components of an axis, S its size in the graph (S >= K).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto

from compress.axes import Array, Arrays, Dimension, resized
from compress.graphs.declaring import Meaning
from compress.graphs.edits import Bounds, Edit, Product, Restore, Select, Shares, Target, key
from compress.graphs.layouts import Block, Blocks
from compress.graphs.parts import Parts, attribute, given, graphs, inner_first, put_together, set_attribute, set_input
from compress.graphs.parts import replace as refill
from compress.graphs.placing import Placement, rearranged
from compress.graphs.recurrent import B, Cell, P, R, W, tensors
from compress.graphs.state_sizes import exposable
from compress.graphs.tracing import Layer, Trace


def write(trace: Trace, meaning: Meaning, arrays: Arrays, *, keep_state_shapes: bool = True) -> ModelProto:
    """The graph with the sizes and values of `arrays`.

    Args:
        trace: the graph at full size.
        meaning: what its arrays mean.
        arrays: as `declare` gives them, of any sizes.
        keep_state_shapes: whether states of the caller keep their sizes; if not, those that are inputs and outputs of the
            graph as they are have the sizes of their layers. Stacks and parts of larger tensors keep them anyway.
    """
    return _Writing(trace, meaning, arrays).result(keep_state_shapes=keep_state_shapes)


def sizes(meaning: Meaning, arrays: Arrays) -> dict[str, int]:
    """Components of every axis in `arrays`."""
    found: dict[str, int] = {}
    for name, layers in meaning.layers.items():
        for direction in layers[0].recurrent.directions:
            (segment,) = meaning.declaration.dimensions[f"{name}.{direction}.recurrence"][1]
            if segment.axis is not None:
                found[segment.axis] = arrays[f"{name}.{direction}.recurrence"].shape[1]
    return found


class _Writing:
    """One graph being written."""

    def __init__(self, trace: Trace, meaning: Meaning, arrays: Arrays) -> None:
        structure = ModelProto()
        structure.CopyFrom(trace.parts.structure)
        self._trace, self._meaning, self._arrays = trace, meaning, arrays
        self._parts = Parts(structure, dict(trace.parts.constants))
        self._sizes = sizes(meaning, arrays)
        self._declared = resized(meaning.declaration, self._sizes).dimensions
        pool = trace.pool
        self._placed = dict(self._sizes)
        for group in pool.groups():
            names = [pool.name(axis) for axis in group]
            self._placed |= dict.fromkeys(names, max(self._sizes[name] for name in names))
        self._shrunk = {name for name, size in self._sizes.items() if size < meaning.declaration.axes[name]}
        self._nodes = {key(node): (graph, node) for graph in graphs(structure.graph) for node in graph.node}
        self._before: dict[str, list[NodeProto]] = {}
        self._instead: dict[str, list[NodeProto]] = {}

    def result(self, *, keep_state_shapes: bool) -> ModelProto:
        """The model."""
        exposed = set() if keep_state_shapes else exposable(self._trace, self._placed, self._sizes)
        for name, layers in self._meaning.layers.items():
            self._layer(name, layers)
        for name, products in self._meaning.products.items():
            self._product(name, products)
        for name in self._declared.keys() & self._trace.parts.constants.keys() - self._meaning.products.keys():
            self._constant(name)
        for node, name in self._meaning.created.items():
            self._created(node, name)
        for edit in self._trace.edits:
            if edit in exposed:
                self._expose(edit)
            elif isinstance(edit, Select | Restore):
                self._move(edit)
            elif isinstance(edit, Target):
                self._target(edit)
            elif isinstance(edit, Bounds):
                self._bounds(edit)
            elif self._changes(*edit.outputs):
                self._shares(edit)
        self._insert()
        return put_together(self._parts)

    # Constants.

    def _placed_array(self, name: str, rest: float = 0.0) -> Array:
        """A canonical array with room for dead components."""
        value = self._arrays[name]
        for position, dimension in enumerate(self._declared[name]):
            value = self._placed_along(value, position, dimension, rest)
        return value

    def _placed_along(self, value: Array, position: int, dimension: Dimension, rest: float) -> Array:
        if all(s.axis is None or self._placed[s.axis] == s.size for s in dimension):
            return value
        pieces, start = [], 0
        for segment in dimension:
            room = self._placed[segment.axis] - segment.size if segment.axis else 0
            for _ in range(segment.repeat):
                pieces.append(np.take(value, np.arange(start, start + segment.size), position))
                margin = [(0, 0)] * (value.ndim - 1)
                margin.insert(position, (0, room))
                pieces[-1] = np.pad(pieces[-1], margin, constant_values=rest)
                start += segment.size
        return np.concatenate(pieces, position)

    def _set(self, name: str, value: Array) -> None:
        """Puts a new value in a constant's place, of the constant's type."""
        old = self._parts.constants[name]
        self._parts.constants[name] = value.astype(old.dtype)

    def _layer(self, name: str, layers: list[Layer]) -> None:
        seen = layers[0].recurrent
        cells = []
        for direction in seen.directions:
            prefix = f"{name}.{direction}."
            found = {
                each.removeprefix(prefix): self._placed_array(each) for each in self._arrays if each.startswith(prefix)
            }
            cells.append(Cell(**found))
        made = tensors(seen, cells)
        kind = self._parts.constants[seen.given(W)].dtype
        for index in (W, R, P):
            if index in made:
                self._set(seen.given(index), made[index])
        bias = seen.given(B)
        if bias:
            self._set(bias, made[B])
        elif made[B].any():
            bias = self._parts.fresh(f"{name}.bias")
            self._parts.constants[bias] = made[B].astype(kind)
        for layer in layers:
            node = self._nodes[key(layer.recurrent.node)][1]
            if bias:
                set_input(node, B, bias)
            if attribute(node, "hidden_size") is not None:
                set_attribute(node, "hidden_size", int(made[R].shape[2]))

    def _product(self, name: str, products: list[Product]) -> None:
        old = self._trace.parts.constants[name]
        value = self._placed_array(name)
        self._set(
            name,
            (value if products[0].gives == 0 else value.T).reshape(*self._turned(value, products[0]), *old.shape[2:]),
        )

    @staticmethod
    def _turned(value: Array, product: Product) -> tuple[int, ...]:
        return value.shape if product.gives == 0 else value.shape[::-1]

    def _constant(self, name: str) -> None:
        rest = next((use.rest for use in self._trace.uses if use.name == name), 0.0)
        value = self._placed_array(name, rest)
        if name in self._meaning.biases:
            old = self._trace.parts.constants[name]
            value = (value / self._meaning.biases[name]).reshape(*old.shape[:-1], -1)
        self._set(name, value)

    def _created(self, node: str, name: str) -> None:
        value = self._placed_array(name)
        if not value.any():
            return
        made = self._nodes[node][1]
        kind = self._parts.constants[made.input[1]].dtype
        if made.op_type == "Gemm":
            alpha, beta = float(attribute(made, "alpha", 1.0)), float(attribute(made, "beta", 1.0))  # type: ignore[arg-type]
            set_attribute(made, "beta", beta or None)
            value = value * alpha / (beta or 1.0)
        free = self._parts.fresh(name)
        self._parts.constants[free] = value.astype(kind)
        set_input(made, 2, free)

    # Numbers that hide sizes.

    def _width(self, blocks: Blocks) -> int:
        return sum(self._placed[name] if (name := self._name(block)) else block.size for block in blocks)

    def _name(self, block: Block) -> str | None:
        """The block's axis, if it may shrink."""
        pool = self._trace.pool
        return pool.name(block.axis) if block.axis is not None and pool.is_prunable(block.axis) else None

    def _changes(self, *runs: Blocks) -> bool:
        return any(self._name(block) in self._shrunk for blocks in runs for block in blocks)

    def _move(self, edit: Select | Restore) -> None:
        """Selects what an axis keeps of a larger tensor, or puts it back into one."""
        if not self._changes(*edit.options):
            return
        placements = tuple(self._placement(blocks, back=isinstance(edit, Restore)) for blocks in edit.options)
        node = self._nodes[edit.node][1]
        source = node.input[edit.index if isinstance(edit, Select) else 0]
        made = self._parts.fresh(f"{edit.node}.{'selected' if isinstance(edit, Select) else 'restored'}")
        if isinstance(edit, Select):
            made = self._parts.fresh(f"{made}.{edit.index}")
        steps = rearranged(self._parts, source, made, edit.along, edit.by, edit.rank, placements)
        self._before.setdefault(edit.node, []).extend(steps)
        set_input(node, edit.index if isinstance(edit, Select) else 0, made)

    def _expose(self, edit: Edit) -> None:
        """Gives a state of the caller the size of its layer."""
        if not isinstance(edit, Select | Restore):
            return
        name = given(self._nodes[edit.node][1], edit.index) if isinstance(edit, Select) else edit.node
        ports = self._parts.structure.graph.input if isinstance(edit, Select) else self._parts.structure.graph.output
        for port in ports:
            if port.name == name:
                port.type.tensor_type.shape.dim[edit.along].dim_value = self._width(edit.options[0])

    def _placement(self, blocks: Blocks, *, back: bool) -> Placement:
        """Where each entry comes from; -1 stands for zero."""
        found: list[NDArray[np.int64]] = []
        start = 0  # of the block in the tensor that is read
        for block in blocks:
            name = self._name(block)
            if name is None or name not in self._shrunk:
                found.append(np.arange(start, start + block.size))
                start += block.size
                continue
            kept, room = np.rint(self._arrays[f"{name}.kept"]).astype(np.int64), self._placed[name]
            if back:
                places = np.full(block.size, -1)
                places[kept] = start + np.arange(len(kept))
                start += room
            else:
                places = np.full(room, -1)
                places[: len(kept)] = start + kept
                start += block.size
            found.append(places)
        return Placement(np.concatenate(found), start)

    def _target(self, edit: Target) -> None:
        new = {position: self._width(blocks) for position, blocks in edit.sizes}
        if self._changes(*(blocks for _, blocks in edit.sizes)) or any(b == (Block(None, 1),) for _, b in edit.sizes):
            self._override(edit.node, edit.index, new)

    def _bounds(self, edit: Bounds) -> None:
        if not self._changes(*(blocks for _, before, within in edit.entries for blocks in (before, within))):
            return
        starts = {entry: self._width(before) for entry, before, _ in edit.entries}
        ends = {entry: self._width(before) + self._width(within) for entry, before, within in edit.entries}
        node = self._nodes[edit.node][1]
        if self._parts.opset < 10:
            for name, new in (("starts", starts), ("ends", ends)):
                old = list(attribute(node, name))  # type: ignore[call-overload]
                set_attribute(node, name, [new.get(index, value) for index, value in enumerate(old)])
            return
        self._override(edit.node, 1, starts)
        self._override(edit.node, 2, ends)

    def _shares(self, edit: Shares) -> None:
        node = self._nodes[edit.node][1]
        new = [self._width(blocks) for blocks in edit.outputs]
        if self._parts.opset < 13:
            set_attribute(node, "split", new)
            return
        name = self._parts.fresh(f"{edit.node}.split")
        self._parts.constants[name] = np.array(new, np.int64)
        set_attribute(node, "num_outputs", None)
        set_input(node, 1, name)

    def _override(self, target: str, index: int, new: Mapping[int, int]) -> None:
        """Gives some numbers of an input other values; the input may be computed at run time."""
        node = self._nodes[target][1]
        old = given(node, index)
        name = self._parts.fresh(f"{target}.sizes")
        if old in self._parts.constants:
            value = np.array(self._parts.constants[old])
            value.reshape(-1)[list(new)] = list(new.values())
            self._parts.constants[name] = value
        else:
            length = len(self._trace.entries(old) or ())
            mask, values = np.zeros(length, bool), np.zeros(length, np.int64)
            mask[list(new)], values[list(new)] = True, list(new.values())
            chosen, wanted = self._parts.fresh(f"{name}.which"), self._parts.fresh(f"{name}.new")
            self._parts.constants |= {chosen: mask, wanted: values}
            step = NodeProto(op_type="Where", input=[chosen, wanted, old], output=[name])
            self._before.setdefault(target, []).append(step)
        set_input(node, index, name)

    def _insert(self) -> None:
        """Puts new nodes before their readers; shapes of branches' outputs that shrank are no longer told."""
        for graph in inner_first(self._parts.structure.graph):
            if any(key(node) in self._before for node in graph.node):
                order = [each for node in graph.node for each in (*self._before.get(key(node), ()), node)]
                refill(graph.node, list(order))
            del graph.value_info[:]
            if graph is not self._parts.structure.graph:
                self._untold(graph)

    def _untold(self, graph: GraphProto) -> None:
        for port in graph.output:
            layout = self._trace.layout(port.name)
            if layout is not None and any(self._name(Block(axis, 0)) in self._shrunk for axis in layout.axes()):
                port.type.tensor_type.ClearField("shape")
