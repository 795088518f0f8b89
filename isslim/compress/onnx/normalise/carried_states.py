"""States that the caller carries from call to call keep their size on his side.

A graph's output that only shows states (Y_h, Y_c) whose beginning the caller also gives is the
state after the call. Of every such output, the operators between it and the recurrent layers are
doubled, and markers, Identity nodes, put where they leave the layers: behind a marker everything is
of full size, so that stacks and slices of states need no change. When units are removed a marker
puts zeros in their places. The same holds for what a Loop or Scan carries.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import GraphProto, NodeProto, helper

from isslim.compress.onnx.model.attributes import get_int, subgraphs
from isslim.compress.onnx.model.recurrent import C0, H0, view
from isslim.compress.onnx.model.split_model import SplitModel, given, graphs, replace

_MOVES = {
    "Identity",
    "Cast",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Flatten",
    "Transpose",
    "Slice",
    "Split",
    "Gather",
}


@dataclass
class _Places:
    """Where every value of a model is made and how often it is read."""

    parts: SplitModel
    makers: dict[str, tuple[GraphProto, NodeProto]]
    inputs: set[str]
    reads: dict[str, int]


def mark_states(parts: SplitModel) -> set[str]:
    """Marks the states of all graphs and bodies in place.

    Returns:
        The outputs of the markers.
    """
    markers: set[str] = set()
    for graph, names in reversed(
        _carrying(parts)
    ):  # bodies first: replacing nodes copies what is nested in them
        for name in names:
            _mark(_places(parts), graph, name, markers)
    return markers


def state_outputs(parts: SplitModel) -> set[str]:
    """The model's outputs that only show states which the caller carries on: what they have of a removed unit is zero."""
    places, graph = _places(parts), parts.structure.graph
    return {port.name for port in graph.output if _is_state(places, graph, port.name)}


def carried_states(parts: SplitModel) -> dict[str, str]:
    """Of `state_outputs` those that one input of the graph begins, as it is: what comes out of one call goes into the next.

    Returns:
        Per output the input.
    """
    places, graph = _places(parts), parts.structure.graph
    inputs, found = {port.name for port in graph.input}, {}
    for port in graph.output:
        begun = (
            _beginnings(places, graph, port.name) if _is_state(places, graph, port.name) else set()
        )
        if len(begun) == 1 and begun <= inputs:
            found[port.name] = begun.pop()
    return found


def _beginnings(places: _Places, graph: GraphProto, name: str) -> set[str]:
    """The callers' values that begin the states which a value shows."""
    made = places.makers.get(name)
    if made is None or made[0] is not graph:
        return set()
    node = made[1]
    if view(node) is not None:
        begun = given(node, {1: H0, 2: C0}[list(node.output).index(name)])
        while begun not in places.inputs:
            begun = places.makers[begun][1].input[0]
        return {begun}
    if node.op_type == "If":
        index = list(node.output).index(name)
        return {
            each
            for branch in subgraphs(node)
            for each in _beginnings(places, branch, branch.output[index].name)
        }
    several = node.input if node.op_type == "Concat" else node.input[:1]
    return {begun for each in several for begun in _beginnings(places, graph, each)}


def _carrying(parts: SplitModel) -> list[tuple[GraphProto, list[str]]]:
    """Graphs whose outputs may be states, with the names of those outputs."""
    top = parts.structure.graph
    found = [(top, [port.name for port in top.output])]
    for graph in graphs(top):
        for node in graph.node:
            if node.op_type == "Loop":
                body = subgraphs(node)[0]
                found.append((body, [port.name for port in body.output[1 : len(node.input) - 1]]))
            elif node.op_type == "Scan":
                body, count = (
                    subgraphs(node)[0],
                    len(node.input) - get_int(node, "num_scan_inputs", 0),
                )
                found.append((body, [port.name for port in body.output[:count]]))
    return found


def _places(parts: SplitModel) -> _Places:
    places = _Places(parts, {}, set(), {})
    for graph in graphs(parts.structure.graph):
        places.inputs |= {port.name for port in graph.input}
        for port in graph.output:
            places.reads[port.name] = places.reads.get(port.name, 0) + 1
        for node in graph.node:
            places.makers |= {name: (graph, node) for name in node.output if name}
            for name in node.input:
                places.reads[name] = places.reads.get(name, 0) + 1
    return places


def _mark(places: _Places, graph: GraphProto, name: str, markers: set[str]) -> None:
    """Marks one output of a graph if it is a state."""
    if (
        name not in places.makers
        or places.makers[name][0] is not graph
        or not _is_state(places, graph, name)
    ):
        return
    double = _Double(places, graph, markers)
    double.show(name)
    double.finish(name)


def _is_state(places: _Places, graph: GraphProto, name: str) -> bool:
    """Whether a value only shows states that the caller begins, at least one."""
    found = _leaves(places, graph, name)
    return found is not None and found > 0


def _leaves(places: _Places, graph: GraphProto, name: str) -> int | None:
    """How many carried states a value shows; None when it also shows what no caller carries."""
    made = places.makers.get(name)
    if made is None or made[0] is not graph:
        return 0
    node = made[1]
    seen = view(node)
    if seen is not None:
        index = list(node.output).index(name)
        begun = {1: H0, 2: C0}.get(index)
        return (
            1 if begun and given(node, begun) and _from_caller(places, given(node, begun)) else None
        )
    if node.op_type == "If" and places.reads[name] == 1:
        index = list(node.output).index(name)
        counts = [_leaves(places, branch, branch.output[index].name) for branch in subgraphs(node)]
        return None if None in counts else sum(filter(None, counts))
    if node.op_type == "Concat":
        counts = [_leaves(places, graph, each) for each in node.input]
        return None if None in counts else sum(filter(None, counts))
    return _leaves(places, graph, node.input[0]) if node.op_type in _MOVES else 0


def _from_caller(places: _Places, name: str) -> bool:
    """Whether a value is a graph's input, or only moved on its way from one."""
    while name not in places.inputs:
        made = places.makers.get(name)
        if made is None or (made[1].op_type not in _MOVES and made[1].op_type != "Concat"):
            return False
        name = made[1].input[0]
    return True


class _Double:
    """The operators between an output and the states that it shows, once more."""

    def __init__(self, places: _Places, graph: GraphProto, markers: set[str]) -> None:
        self._places, self._graph, self._markers = places, graph, markers
        self._added: list[NodeProto] = []
        self._names: dict[str, str] = {}

    def show(self, name: str) -> str:
        """The name of the doubled value; of one that shows no state, its own."""
        if name in self._names:
            return self._names[name]
        if not _is_state(self._places, self._graph, name):
            return name
        node = self._places.makers[name][1]
        if node.op_type == "If":
            index = list(node.output).index(name)
            for branch in subgraphs(node):
                _mark(self._places, branch, branch.output[index].name, self._markers)
            return name
        new = self._names[name] = self._places.parts.fresh(f"{name}.whole")
        self._places.makers[new] = (self._graph, node)
        if view(node) is not None:
            self._added.append(helper.make_node("Identity", [name], [new], name=new))
            self._markers.add(new)
            return new
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = new
        several = node.op_type == "Concat"
        replace(
            copy.input,
            [self.show(each) if several or i == 0 else each for i, each in enumerate(node.input)],
        )
        replace(copy.output, [new if each == name else "" for each in node.output])
        if len(copy.output) > 1:  # a Split: the other outputs must be there
            others = [
                each or self._places.parts.fresh(f"{new}.{i}") for i, each in enumerate(copy.output)
            ]
            replace(copy.output, others)
        self._added.append(copy)
        return new

    def finish(self, name: str) -> None:
        """The doubled value is what the graph gives; what read the old one still does."""
        new = self._names.get(name)
        if new is None:
            return
        graph = self._graph
        inner = self._places.parts.fresh(f"{name}.inner")
        for each in graphs(graph):
            for node in each.node:
                replace(node.input, [inner if old == name else old for old in node.input])
                if each is graph:
                    replace(node.output, [inner if old == name else old for old in node.output])
        for node in self._added:
            replace(node.input, [inner if old == name else old for old in node.input])
            replace(node.output, [name if old == new else old for old in node.output])
        if new in self._markers:
            self._markers.remove(new)
            self._markers.add(name)
        replace(graph.node, [*graph.node, *self._added])
