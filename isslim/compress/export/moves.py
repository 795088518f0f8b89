"""Operators that only move numbers, merged: one operator in place of a chain of small ones.

Exporters take the states of their caller apart by Slice, Squeeze and Unsqueeze, and a cut selects
what is kept of them and puts it back in its places: in a run of one step of a small network these
operators take more time than its products. Where sizes are fixed, what a chain of them gives is
known number by number: the chain is run on numbers of places in place of values. The same values
are then read from what the chain reads, all beside each other, by one GatherElements.

https://onnx.ai/onnx/operators/onnx__GatherElements.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from isslim.compress.onnx.model.attributes import get_string
from isslim.compress.onnx.model.shapes import Fixed, fixed_tensors
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

OLDEST, _SIZES_AS_INPUT = 11, 13
"""The first versions of the standard operators with GatherElements, and in which the sizes of a
Split are an input."""
LARGEST = 4_096
"""Numbers of a tensor up to which places are counted: larger ones take longer to move than to
dispatch."""
GATHERED = 400
"""Numbers that GatherElements copies in the time of one operator's dispatch, some 0.4 us. A Gather
copies blocks, and takes eight times as long for single numbers."""
_ZERO = "\0"
"""Stands for a zero among sources: no value has that name."""
_MOVING = MOVES - {"Cast"} | {"Concat", "Pad"}
Places = NDArray[np.int64]
"""Per number of a value where it is from: 1 and more, in order over all sources; 0 for a zero."""


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
        self._fixed = fixed_tensors(parts)
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
        if not all(chain.places[name].any() for name in ends):
            return  # nothing but zeros, which are of no source's type
        writing = _Writing(self._parts, self._fixed, chain)
        instead: dict[str, list[NodeProto]] = {name: [] for name in own}
        for name, made in writing.made(ends).items():
            instead[makers[name]] += made
        new = [node for made in instead.values() for node in made]
        # The runtime leaves out an Identity.
        dispatched = sum(node.op_type != "Identity" for node in new)
        if dispatched + writing.gathered / GATHERED < len(chain.nodes):
            self.instead |= instead

    def _moved(self, node: NodeProto) -> list[str]:
        """What a moving operator moves; nothing where it is none, or sizes are not fixed."""
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
        tensors = [self._fixed.get(name) for name in [*moved, *filter(None, node.output)]]
        small = all(each is not None and 0 < each.size <= LARGEST for each in tensors)
        return moved if small else []

    def _follow(self, chain: _Chain) -> bool:
        """Counts places through a chain; whether the operators could be run on them."""
        count = 1
        for node in chain.nodes:
            moved = self._moved(node)
            for name in moved:
                if name not in chain.places:
                    tensor = self._fixed[name]
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

    def __init__(self, parts: SplitModel, fixed: dict[str, Fixed], chain: _Chain) -> None:
        self._parts, self._fixed, self._chain = parts, fixed, chain
        self._new: set[str] = set()
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
        order = self._constant(f"{names[0]}.order", np.concatenate(index).reshape(*ones, -1))
        self.gathered += sum(sizes)
        pieces = [
            name if places.shape == (*ones, size) else self._fresh(f"{name}.lying")
            for name, places, size in zip(names, wanted, sizes, strict=True)
        ]
        together = pieces[0] if len(pieces) == 1 else self._fresh(f"{names[0]}.together")
        made.append(_node("GatherElements", [row.name, order], [together], axis=len(ones)))
        if len(pieces) > 1:
            made.append(self._split(together, pieces, sizes, len(ones)))
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
            flat = [self._fresh(f"{source}.row") for source in own]
            for source, name in zip(own, flat, strict=True):
                made.append(self._reshaped(source, name, (*ones, -1)))
            own = flat
        if len(sources) > 1:
            if _ZERO in sources:
                zero = np.zeros((*ones, 1), self._fixed[sources[0]].dtype)
                own.append(self._constant(f"{sources[0]}.zero", zero))
            name = self._fresh(f"{sources[0]}.beside")
            made.append(_node("Concat", own, [name], axis=len(ones)))
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

    def _split(
        self, source: str, pieces: Sequence[str], sizes: Sequence[int], along: int
    ) -> NodeProto:
        if self._parts.opset < _SIZES_AS_INPUT:
            return _node("Split", [source], pieces, axis=along, split=sizes)
        given_sizes = self._constant(f"{source}.sizes", np.array(sizes, np.int64))
        return _node("Split", [source, given_sizes], pieces, axis=along)

    def _shaped(self, source: str, shape: tuple[int, ...], name: str) -> NodeProto:
        """A value of the same numbers in the same order."""
        target = self._chain.places[name].shape
        if shape == target:
            return _node("Identity", [source], [name])
        return self._reshaped(source, name, target)

    def _reshaped(self, source: str, name: str, shape: Sequence[int]) -> NodeProto:
        target = self._constant(f"{name}.shape", np.array(shape, np.int64))
        return _node("Reshape", [source, target], [name])

    def _constant(self, wish: str, value: NDArray[np.generic]) -> str:
        name = self._fresh(wish)
        self._parts.constants[name] = value
        return name

    def _fresh(self, wish: str) -> str:
        """A name that neither the graph has nor another new operator."""
        while (name := self._parts.fresh(wish)) in self._new:
            wish = f"{wish}.more"
        self._new.add(name)
        return name


def _lies(shape: Sequence[int]) -> bool:
    """Whether all numbers of a tensor are in its last dimension."""
    return len(shape) > 0 and all(size == 1 for size in shape[:-1])


def _node(operator: str, read: Sequence[str], made: Sequence[str], **options: Any) -> NodeProto:
    return helper.make_node(operator, read, made, name=made[0], **options)


def _without_filler(node: NodeProto) -> NodeProto:
    """A node as it moves places: what a Pad fills with is zero, of the type of values."""
    if node.op_type != "Pad" or not given(node, 2):
        return node
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.input[2] = ""
    return bare
