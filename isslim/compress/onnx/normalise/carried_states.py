"""States that the caller carries from call to call keep their size on the caller's side.

A graph's output that only shows states (Y_h, Y_c) whose beginning the caller also gives is the
state after the call. Of every such output, the operators between it and the recurrent layers are
doubled, and markers, Identity nodes, put where they leave the layers: behind a marker everything is
of full size, so that stacks and slices of states need no change. When units are removed a marker
puts zeros in their places. The same holds for what a Loop or Scan carries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onnx import GraphProto, NodeProto, helper

from isslim.compress.onnx.model.attributes import get_int, subgraphs
from isslim.compress.onnx.model.recurrent import C0, H0, view
from isslim.compress.onnx.model.split_model import SplitModel, given, graphs, replace

_INITIAL = {1: H0, 2: C0}
"""Per output of a layer that is a state after the last step, the input that begins it."""
MOVES = {
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
"""Operators that give values of their first input another shape, order or selection, none anew."""


@dataclass
class _Places:
    """Where every value of a model is made and how often it is read.

    Attributes:
        parts: the model.
        makers: per value the node that makes it, and the graph that holds that node.
        inputs: names of the inputs of all graphs: of a body, what it carries.
        reads: per value how often it is read, as a graph's output included.
    """

    parts: SplitModel
    makers: dict[str, tuple[GraphProto, NodeProto]]
    inputs: set[str]
    reads: dict[str, int]


def mark_states(parts: SplitModel) -> set[str]:
    """Marks the states of all graphs and bodies; in place.

    Returns:
        The outputs of the markers.
    """
    markers: set[str] = set()
    # Bodies first: replacing nodes copies what is nested in them.
    for graph, names in reversed(_carrying(parts)):
        for name in names:
            # Anew for each, since a marked output has new nodes before it.
            _mark(_places(parts), graph, name, markers)
    return markers


def state_outputs(parts: SplitModel) -> set[str]:
    """The model's outputs that only show states which the caller carries on.

    What they have of a removed unit is zero.
    """
    places, graph = _places(parts), parts.structure.graph
    return {port.name for port in graph.output if _is_state(places, graph, port.name)}


def carried_states(parts: SplitModel) -> dict[str, str]:
    """Of `state_outputs` those that one input of the graph begins, as it is.

    What comes out of one call at such an output goes into that input at the next.

    Returns:
        Per output the input.
    """
    places, graph = _places(parts), parts.structure.graph
    inputs = {port.name for port in graph.input}
    found: dict[str, str] = {}
    for name in [port.name for port in graph.output if _is_state(places, graph, port.name)]:
        begun = _beginnings(places, graph, name)
        if len(begun) == 1 and begun <= inputs:
            found[name] = begun.pop()
    return found


def _beginnings(places: _Places, graph: GraphProto, name: str) -> set[str]:
    """The callers' values that begin the states which a value shows."""
    made = places.makers.get(name)
    # Neither a constant nor a value of another graph is an initial state of the caller.
    if made is None or made[0] is not graph:
        return set()
    node = made[1]
    if view(node) is not None:
        begun = given(node, _INITIAL[list(node.output).index(name)])
        while begun not in places.inputs:  # it is only moved on its way: see `_from_caller`
            begun = places.makers[begun][1].input[0]
        return {begun}
    if node.op_type == "If":
        index = list(node.output).index(name)
        shown = [(branch, branch.output[index].name) for branch in subgraphs(node)]
    else:
        moved = node.input if node.op_type == "Concat" else node.input[:1]
        shown = [(graph, each) for each in moved]
    return set().union(*(_beginnings(places, inner, each) for inner, each in shown))


def _carrying(parts: SplitModel) -> list[tuple[GraphProto, list[str]]]:
    """Graphs whose outputs may be states, with the names of those outputs.

    Outer graphs come before those nested in them.
    """
    top = parts.structure.graph
    found = [(top, [port.name for port in top.output])]
    for graph in graphs(top):
        for node in graph.node:
            if node.op_type == "Loop":
                body = subgraphs(node)[0]
                # Inputs are a count, a condition and the states; outputs the condition, the states,
                # and stacks over all runs.
                carried = body.output[1 : len(node.input) - 1]
            elif node.op_type == "Scan":
                body = subgraphs(node)[0]
                carried = body.output[: len(node.input) - get_int(node, "num_scan_inputs", 0)]
            else:
                continue
            found.append((body, [port.name for port in carried]))
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
    """Marks one output of a graph if it is a state that is made there."""
    made = places.makers.get(name)
    if made is not None and made[0] is graph and _is_state(places, graph, name):
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
    # An input or constant, or a value from outside of a body: no state of this graph's layers.
    if made is None or made[0] is not graph:
        return 0
    node = made[1]
    seen = view(node)
    if seen is not None:
        initial = _INITIAL.get(list(node.output).index(name))
        begun = given(node, initial) if initial else ""
        return 1 if begun and _from_caller(places, begun) else None
    if node.op_type in MOVES:
        return _leaves(places, graph, node.input[0])
    # The outputs of an If change size inside its branches, so nobody else may read them.
    if node.op_type == "If" and places.reads[name] == 1:
        index = list(node.output).index(name)
        shown = [(branch, branch.output[index].name) for branch in subgraphs(node)]
    elif node.op_type == "Concat":
        shown = [(graph, each) for each in node.input]
    else:
        return 0
    counts = [_leaves(places, inner, each) for inner, each in shown]
    return None if None in counts else sum(filter(None, counts))


def _from_caller(places: _Places, name: str) -> bool:
    """Whether a value is a graph's input, or only moved on its way from one."""
    while name not in places.inputs:
        made = places.makers.get(name)
        # A computed value differs from the caller's.
        if made is None or (made[1].op_type not in MOVES and made[1].op_type != "Concat"):
            return False
        name = made[1].input[0]
    return True


class _Double:
    """The operators between an output and the states that it shows, once more.

    Other readers of a state inside the graph go on to read it at its layer's own size.
    """

    def __init__(self, places: _Places, graph: GraphProto, markers: set[str]) -> None:
        self._places, self._graph, self._markers = places, graph, markers
        self._added: list[NodeProto] = []
        self._names: dict[str, str] = {}

    def show(self, name: str) -> str:
        """The name of the doubled value; of one that shows no state, its own."""
        # Two outputs may show one state: it is doubled once.
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
        moved = len(node.input) if node.op_type == "Concat" else 1  # others: sizes, indices, axes
        shown = [self.show(each) for each in node.input[:moved]]
        replace(copy.input, [*shown, *node.input[moved:]])
        outputs = []
        for index, each in enumerate(node.output):  # of a Split the other outputs must be there
            other = new if each == name else self._places.parts.fresh(f"{new}.{index}")
            outputs.append(other)
        replace(copy.output, outputs)
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
                replace(node.input, _renamed(node.input, name, inner))
                if each is graph:
                    replace(node.output, _renamed(node.output, name, inner))
        for node in self._added:
            replace(node.input, _renamed(node.input, name, inner))
            replace(node.output, _renamed(node.output, new, name))
        # Without an operator between, the marker itself is what the graph gives.
        if new in self._markers:
            self._markers.remove(new)
            self._markers.add(name)
        replace(graph.node, [*graph.node, *self._added])


def _renamed(names: Iterable[str], old: str, new: str) -> list[object]:
    """Names with one of them replaced, wherever it stands."""
    return [new if name == old else name for name in names]
