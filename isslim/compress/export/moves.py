"""Operators that only move numbers, merged: one operator in place of a chain of small ones.

Exporters take the states of their caller apart by Slice, Squeeze and Unsqueeze, and a cut selects
what is kept of them and puts it back in its places: in a run of one step of a small network these
operators take more time than its products. Where sizes are fixed, what a chain of them gives is
known number by number: the chain is run on numbers of places in place of values. The same values
are then read from what the chain reads, all beside each other, by one GatherElements.

https://onnx.ai/onnx/operators/onnx__GatherElements.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto

from isslim.compress.export.move_nodes import MoveNodes, Places
from isslim.compress.export.row_moves import RowMoves
from isslim.compress.onnx.model.attributes import get_string
from isslim.compress.onnx.model.shapes import Sized, sized_tensors
from isslim.compress.onnx.model.split_model import (
    SplitModel,
    given,
    graphs,
    merge_constants,
    nodes,
    replace,
    split_constants,
)
from isslim.compress.onnx.normalise.carried_states import MOVES
from isslim.compress.onnx.normalise.folding import evaluated
from isslim.compress.onnx.normalise.normal_form import drop_unread
from isslim.compress.onnx.trace.edits import key

OLDEST = 11
"""The first version of the standard operators with GatherElements."""
LARGEST = 4_096
"""Numbers of a tensor up to which places are counted: larger ones take longer to move than to
dispatch."""
GATHERED = 400
"""Numbers that GatherElements copies in the time of one operator's dispatch, some 0.4 us. A Gather
copies blocks, and takes eight times as long for single numbers."""
_ZERO = "\0"
"""Stands for a zero among sources: no value has that name."""
_MOVING = MOVES - {"Cast"} | {"Concat", "Pad"}


def merge_moves(model: ModelProto) -> ModelProto:
    """The same graph with fewer operators that only move numbers.

    Args:
        model: whose constants are folded; it is not changed, and returned where nothing is merged.
    """
    parts = split_constants(model)
    if parts.opset < OLDEST:
        return model
    moving = _Moving(parts)
    for chain in moving.chains():
        moving.merge(chain)
    if not moving.instead:
        return model
    written: list[NodeProto] = []
    for node in parts.structure.graph.node:
        written += moving.instead.get(key(node), [node])
    replace(parts.structure.graph.node, written)
    drop_unread(parts)
    replace(parts.structure.graph.value_info, [])  # of values that are no more
    return merge_constants(parts)


@dataclass
class _Chain:
    """Moving operators that share what they read or give.

    Attributes:
        nodes: in the order of the graph.
        places: of all values in it.
        sources: what it reads of other operators, with the place of its first number.
    """

    nodes: list[NodeProto] = field(default_factory=list)
    places: dict[str, Places] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)


class _Moving:
    """The moving operators of one graph, and what is written instead of them."""

    def __init__(self, parts: SplitModel) -> None:
        self._parts = parts
        self._tensors = sized_tensors(parts)
        self._nodes = MoveNodes(parts)
        self.instead: dict[str, list[NodeProto]] = {}
        # Values that nodes of nested graphs read, or give on, are read by others too.
        self._reads: dict[str, list[str]] = {}
        for node in nodes(parts.structure.graph):
            for name in node.input:
                self._reads.setdefault(name, []).append(key(node))
        self._given = {
            port.name for graph in graphs(parts.structure.graph) for port in graph.output
        }

    def chains(self) -> list[_Chain]:
        """All of the outermost graph."""
        chain_of: dict[str, _Chain] = {}
        for node in self._parts.structure.graph.node:
            read = self._moved(node)
            if not read:
                continue
            met = {id(chain_of[name]): chain_of[name] for name in read if name in chain_of}
            chain = _Chain()
            for other in met.values():
                chain.nodes += other.nodes
            chain.nodes.append(node)
            for each in chain.nodes:
                names = [*self._moved(each), *each.output]
                chain_of.update(dict.fromkeys(filter(None, names), chain))
        order = {key(node): at for at, node in enumerate(self._parts.structure.graph.node)}
        found = list({id(chain): chain for chain in chain_of.values()}.values())
        for chain in found:
            chain.nodes.sort(key=lambda node: order[key(node)])
        return found

    def merge(self, chain: _Chain) -> None:
        """Notes what is written instead of a chain, where that is less work."""
        if not self._follow(chain):
            return
        own = {key(node) for node in chain.nodes}
        makers = {name: key(node) for node in chain.nodes for name in filter(None, node.output)}
        ends = [
            name
            for name in makers
            if name in self._given or not own.issuperset(self._reads.get(name, []))
        ]
        made, copied = self._written(chain, ends)
        kept = self._needed(chain, [name for name in ends if name not in made], made)
        instead = {
            key(node): [self._without(node, made)] if key(node) in kept else []
            for node in chain.nodes
        }
        for name, written in made.items():
            instead[makers[name]] += written
        left = [node for written in instead.values() for node in written]
        if _dispatched(left) + copied / GATHERED < _dispatched(chain.nodes):
            self.instead |= instead

    def _written(self, chain: _Chain, ends: list[str]) -> tuple[dict[str, list[NodeProto]], int]:
        """New operators for what a chain gives, as far as there are any, and how much they copy."""
        # Nothing but zeros is of no source's type.
        some = [name for name in ends if chain.places[name].any()]
        if not all(self._tensors[name].is_fixed for name in chain.places):
            operators = {node.op_type for node in chain.nodes}
            read = chain.sources, chain.places
            return RowMoves(self._nodes, self._tensors, *read, operators).made(some), 0
        writing = _Writing(self._nodes, self._tensors, chain)
        return writing.made(some), writing.gathered

    def _needed(self, chain: _Chain, ends: list[str], made: Mapping[str, object]) -> set[str]:
        """The operators of a chain that stay, since values need them that are not made anew."""
        needed, wanted = set[str](), set(ends)
        for node in reversed(chain.nodes):
            if wanted & set(node.output):
                needed.add(key(node))
                wanted |= set(self._moved(node)) - made.keys()
        return needed

    def _without(self, node: NodeProto, made: Mapping[str, object]) -> NodeProto:
        """An operator that stays, with other names for those of its outputs that are made anew."""
        if not made.keys() & set(node.output):
            return node
        copied = NodeProto()
        copied.CopyFrom(node)
        for index, name in enumerate(node.output):
            if name in made:
                copied.output[index] = self._nodes.fresh(f"{name}.unread")
        return copied

    def _moved(self, node: NodeProto) -> list[str]:
        """What a moving operator moves; nothing where it is none, or ranks are not known."""
        constants = self._parts.constants
        if node.op_type not in _MOVING or node.domain not in ("", "ai.onnx"):
            return []
        moved = list(node.input) if node.op_type == "Concat" else list(node.input[:1])
        others = [name for name in node.input[len(moved) :] if name]
        if node.op_type == "Pad":
            filler = given(node, 2)
            if get_string(node, "mode", "constant") != "constant" or (
                filler and np.any(constants.get(filler, 1))
            ):
                return []
        if not all(name in constants for name in others) or constants.keys() & set(moved):
            return []
        tensors = [self._tensors.get(name) for name in [*moved, *filter(None, node.output)]]
        # Whole numbers may be shapes, which runtimes follow through the operators as they are.
        small = all(
            each is not None and each.dtype.kind == "f" and 0 < each.size <= LARGEST
            for each in tensors
        )
        return moved if small else []

    def _follow(self, chain: _Chain) -> bool:
        """Counts places through a chain; whether the operators could be run on them."""
        count = 1
        for node in chain.nodes:
            moved = self._moved(node)
            for name in moved:
                if name not in chain.places:
                    tensor = self._tensors[name]
                    chain.sources[name] = count
                    places = np.arange(count, count + tensor.size, dtype=np.int64)
                    chain.places[name] = places.reshape(tensor.shape)
                    count += tensor.size
            values = {name: chain.places[name] for name in moved}
            values |= {
                name: self._parts.constants[name]
                for name in node.input[len(moved) :]
                if name and not (node.op_type == "Pad" and name == given(node, 2))
            }
            found = evaluated(_without_filler(node), values, self._parts.opset)
            if found is None:
                return False
            chain.places |= {name: value.astype(np.int64) for name, value in found.items()}
        return True


@dataclass(frozen=True)
class _Row:
    """Numbers beside each other, (1, ..., 1, N).

    Attributes:
        name: of the value.
        shape: of the dimensions before the last.
        starts: by source, where its numbers begin; `_ZERO` is one of them where it is read.
    """

    name: str
    shape: tuple[int, ...]
    starts: dict[str, int]


class _Writing:
    """Writes what a chain gives, from what it reads.

    Attributes:
        gathered: numbers that are copied one by one.
    """

    def __init__(self, nodes: MoveNodes, fixed: dict[str, Sized], chain: _Chain) -> None:
        self._nodes, self._fixed, self._chain = nodes, fixed, chain
        self.gathered = 0

    def made(self, ends: Sequence[str]) -> dict[str, list[NodeProto]]:
        """The operators that make values, each where the chain made that value."""
        found: dict[str, list[NodeProto]] = {}
        groups: dict[tuple[str, ...], list[str]] = {}
        for name in ends:
            sources, places = self._sources(name), self._chain.places[name]
            if len(sources) == 1 and self._is_whole(sources[0], places):
                found[name] = [self._shaped(sources[0], self._fixed[sources[0]].shape, name)]
            else:
                groups.setdefault(sources, []).append(name)
        for sources, names in groups.items():
            # What the first of them reads is all that the others read.
            found |= {name: [] for name in names}
            found[names[0]] = self._gathered(sources, names)
        return found

    def _sources(self, name: str) -> tuple[str, ...]:
        """What a value shows numbers of; `_ZERO` is the last of them where it has zeros."""
        places, used = self._chain.places[name], []
        for source, start in self._chain.sources.items():
            if ((places >= start) & (places < start + self._fixed[source].size)).any():
                used.append(source)
        return (*used, _ZERO) if (places == 0).any() else (*used,)

    def _is_whole(self, source: str, places: Places) -> bool:
        """Whether places are those of all numbers of a source, in order."""
        start = self._chain.sources.get(source, 0)
        whole = np.arange(start, start + places.size)
        return places.size == self._fixed[source].size and bool((places.reshape(-1) == whole).all())

    def _gathered(self, sources: Sequence[str], names: Sequence[str]) -> list[NodeProto]:
        """Values of the same sources, gathered together."""
        made: list[NodeProto] = []
        wanted = [self._chain.places[name] for name in names]
        row = self._row(sources, len(wanted[0].shape) if _lies(wanted[0].shape) else 1, made)
        index = [self._index(row, places) for places in wanted]
        sizes = [len(each) for each in index]
        ones = row.shape
        order = self._nodes.constant(f"{names[0]}.order", np.concatenate(index).reshape(*ones, -1))
        self.gathered += sum(sizes)
        pieces = [
            name if places.shape == (*ones, size) else self._nodes.fresh(f"{name}.lying")
            for name, places, size in zip(names, wanted, sizes, strict=True)
        ]
        together = pieces[0] if len(pieces) == 1 else self._nodes.fresh(f"{names[0]}.together")
        made.append(
            self._nodes.node("GatherElements", [row.name, order], [together], axis=len(ones))
        )
        if len(pieces) > 1:
            made.append(self._nodes.split(together, pieces, sizes, len(ones)))
        for name, piece, size in zip(names, pieces, sizes, strict=True):
            if piece != name:
                made.append(self._shaped(piece, (*ones, size), name))
        return made

    def _row(self, sources: Sequence[str], rank: int, made: list[NodeProto]) -> _Row:
        """All numbers of sources beside each other.

        Args:
            sources: which, with `_ZERO` for a zero.
            rank: that the row should have.
            made: the operators that make it are added.
        """
        own = [source for source in sources if source != _ZERO]
        starts = np.cumsum([0, *(self._fixed[source].size for source in own)]).tolist()
        shapes = {self._fixed[source].shape[:-1] for source in own}
        ones = next(iter(shapes))
        if len(shapes) > 1 or not all(_lies(self._fixed[source].shape) for source in own):
            ones = (1,) * (rank - 1)
            flat = [self._nodes.fresh(f"{source}.row") for source in own]
            for source, name in zip(own, flat, strict=True):
                made.append(self._nodes.reshaped(source, name, (*ones, -1)))
            own = flat
        if len(sources) > 1:
            if _ZERO in sources:
                zero = np.zeros((*ones, 1), self._fixed[sources[0]].dtype)
                own.append(self._nodes.constant(f"{sources[0]}.zero", zero))
            name = self._nodes.fresh(f"{sources[0]}.beside")
            made.append(self._nodes.node("Concat", own, [name], axis=len(ones)))
            own = [name]
        return _Row(own[0], ones, dict(zip(sources, starts, strict=False)))

    def _index(self, row: _Row, places: Places) -> Places:
        """Where places lie in a row, (M,)."""
        flat = places.reshape(-1)
        index = np.full(len(flat), row.starts.get(_ZERO, 0))
        for source, at in row.starts.items():
            if source != _ZERO:
                start = self._chain.sources[source]
                here = (flat >= start) & (flat < start + self._fixed[source].size)
                index[here] = flat[here] - start + at
        return index

    def _shaped(self, source: str, shape: tuple[int, ...], name: str) -> NodeProto:
        """A value of the same numbers in the same order."""
        target = self._chain.places[name].shape
        if shape == target:
            return self._nodes.node("Identity", [source], [name])
        return self._nodes.reshaped(source, name, target)


def _lies(shape: Sequence[int]) -> bool:
    """Whether all numbers of a tensor are in its last dimension."""
    return len(shape) > 0 and all(size == 1 for size in shape[:-1])


def _dispatched(nodes: Iterable[NodeProto]) -> int:
    """How many operators are run: the runtime leaves out an Identity."""
    return sum(node.op_type != "Identity" for node in nodes)


def _without_filler(node: NodeProto) -> NodeProto:
    """A node as it moves places: what a Pad fills with is zero, of the type of values."""
    if node.op_type != "Pad" or not given(node, 2):
        return node
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.input[2] = ""
    return bare
