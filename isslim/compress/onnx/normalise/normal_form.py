"""Rewrites a graph into an equal one that is simpler to follow.

- A recurrent layer with `layout=1` becomes one with `layout=0` between Transposes; ONNX Runtime
  runs no other.
- An initial state that is all zeros is left out: it is the default, and the constants that build it
  hide sizes.
- One part of a Concat that is taken out again (the last layer's state of a stack of all) is read
  directly, for what is stacked must be of one size.
- States that the caller carries end in markers (`carried_states`).
- Unused nodes are removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from isslim.compress.onnx.model import split_model as taken
from isslim.compress.onnx.model.attributes import (
    get_int,
    get_tensor,
    remove_attribute,
    subgraphs,
)
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.recurrent import C0, H0, X, view
from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import (
    SplitModel,
    given,
    inner_first,
    nodes,
    set_input,
)
from isslim.compress.onnx.normalise.carried_states import MOVES, mark_states


@dataclass(frozen=True)
class NormalForm:
    """A simpler equivalent of a model.

    Attributes:
        parts: the model.
        markers: outputs of the Identity nodes behind which a state is of the caller's size.
    """

    parts: SplitModel
    markers: frozenset[str]


def normal_form(parts: SplitModel) -> NormalForm:
    """Rewrites a model to a simpler equivalent (see the module), leaving the original unchanged."""
    model = ModelProto()
    model.CopyFrom(parts.structure)
    own = replace(parts, structure=model, constants=dict(parts.constants))
    steps_first(own)
    _drop_zeros(own)
    _read_directly(own)
    # Unused nodes must be removed before states are marked: they would count as readers.
    drop_unread(own)
    markers = mark_states(own)
    drop_unread(own)
    return NormalForm(own, frozenset(markers))


def drop_unread(parts: SplitModel) -> None:
    """Removes unused nodes and constants; in place.

    So are outputs of recurrent nodes: one that is written and not read would count as a reader of
    its units.
    """
    read = _read(parts)
    for graph in inner_first(parts.structure.graph):
        _keep_read(graph, read)
    for node in nodes(parts.structure.graph):
        if view(node):
            taken.replace(node.output, [name if name in read else "" for name in node.output])
            # Empty names at the end are outputs left out, which is written by leaving them out.
            while node.output and not node.output[-1]:
                node.output.pop()
    parts.constants = {name: value for name, value in parts.constants.items() if name in read}


def _read(parts: SplitModel) -> set[str]:
    """All values that the graph's outputs depend on, or nested graphs that they depend on."""
    makers: dict[str, list[int]] = {}
    needs: list[list[str]] = []
    for index, node in enumerate(nodes(parts.structure.graph)):
        inner = [port.name for graph in subgraphs(node) for port in graph.output]
        needs.append([*node.input, *inner])
        for name in filter(None, node.output):
            makers.setdefault(name, []).append(index)
    read: set[str] = set()
    waiting = [port.name for port in parts.structure.graph.output]
    while waiting:
        name = waiting.pop()
        if name not in read:
            read.add(name)
            for index in makers.pop(name, ()):
                waiting += needs[index]
    return read


def _keep_read(graph: GraphProto, read: set[str]) -> None:
    """Removes the unused nodes of one graph."""
    alive = [node for node in graph.node if read.intersection(filter(None, node.output))]
    if len(alive) < len(graph.node):
        taken.replace(graph.node, list(alive))


def steps_first(parts: SplitModel) -> None:
    """Puts Transposes around layers whose tensors begin with the batch (`layout=1`); in place."""
    # Without one, nothing is replaced: copies of large graphs take time.
    if any(view(node) and get_int(node, "layout", 0) for node in nodes(parts.structure.graph)):
        for graph in inner_first(parts.structure.graph):
            _steps_first(graph, parts)


_BATCH_FIRST = ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2])
"""How Y (T, D, B, H), Y_h and Y_c (D, B, H) become (B, T, D, H) and (B, D, H)."""


def _steps_first(graph: GraphProto, parts: SplitModel) -> None:
    """Puts Transposes around layers whose tensors begin with the batch."""
    rewritten: list[NodeProto] = []
    for node in graph.node:
        if view(node) is None or not get_int(node, "layout", 0):
            rewritten.append(node)
            continue
        for index in (X, H0, C0):
            name = given(node, index)
            if name:
                turned = parts.fresh(f"{name}.steps_first")
                rewritten.append(helper.make_node("Transpose", [name], [turned], perm=[1, 0, 2]))
                set_input(node, index, turned)
        behind = []
        for index, name in enumerate(node.output):
            if name:
                made = node.output[index] = parts.fresh(f"{name}.steps_first")
                order = _BATCH_FIRST[index]
                behind.append(helper.make_node("Transpose", [made], [name], perm=order))
        remove_attribute(node, "layout")
        rewritten += [node, *behind]
    taken.replace(graph.node, list(rewritten))


def _drop_zeros(parts: SplitModel) -> None:
    """Removes initial states that are zero, and additions of a zero that does not broadcast."""
    zeros = zero_values(parts)
    shapes = inferred_shapes(parts)
    for node in nodes(parts.structure.graph):
        if view(node):
            for index in (H0, C0):
                if given(node, index) in zeros:
                    node.input[index] = ""
            # Empty names at the end are inputs left out, which is written by leaving them out.
            while node.input and not node.input[-1]:
                node.input.pop()
        elif node.op_type == "Add":
            known = [shapes.get(name) for name in node.input]
            for zero, other in ((0, 1), (1, 0)):
                # A zero of some shape may stretch the other operand; a single number cannot.
                if node.input[zero] in zeros and known[zero] == Layout(()):
                    node.op_type = "Identity"
                    taken.replace(node.input, [node.input[other]])
                    break


_MOVES = {*MOVES, "Expand", "Tile", "Dropout", "GatherElements"}


def zero_values(parts: SplitModel) -> set[str]:
    """Values that are zero everywhere for any inputs."""
    zeros: set[str] = set()
    for name, value in parts.constants.items():
        if value.dtype.kind == "f" and not value.any():
            zeros.add(name)
    for node in nodes(parts.structure.graph):
        if _makes_zeros(parts, node, zeros):
            zeros.update(filter(None, node.output))
    return zeros


def _makes_zeros(parts: SplitModel, node: NodeProto, zeros: set[str]) -> bool:
    """Whether all that a node makes is zero, of values that are known to be."""
    if node.op_type == "ConstantOfShape":
        filled = get_tensor(node, "value")
        return filled is None or not np.any(numpy_helper.to_array(filled))
    if node.op_type == "Mul":
        # Of whole numbers only: an infinite number times zero is not zero.
        factors = [parts.constants[name] for name in node.input if name in parts.constants]
        return any(value.dtype.kind == "i" and not value.any() for value in factors)
    if node.op_type == "Concat":
        return all(name in zeros for name in node.input)
    return node.op_type in _MOVES and node.input[0] in zeros


def _read_directly(parts: SplitModel) -> None:
    """Replaces a Gather of one entry of a stack of states by the state that is chosen; in place."""
    producers: dict[str, NodeProto] = {}
    for node in nodes(parts.structure.graph):
        producers.update(dict.fromkeys(filter(None, node.output), node))
    for node in nodes(parts.structure.graph):
        stack = producers.get(given(node, 0))
        if node.op_type != "Gather" or stack is None or stack.op_type != "Concat":
            continue
        if get_int(node, "axis", 0) != 0 or get_int(stack, "axis", 0) != 0:
            continue
        chosen = parts.constants.get(node.input[1])
        if chosen is None or chosen.size != 1:
            continue
        index, count = int(chosen.reshape(-1)[0]), len(stack.input)
        states = all(_is_single_state(producers.get(name), name) for name in stack.input)
        if states and -count <= index < count:
            node.input[0] = stack.input[index]
            # A copy, for others may read the index; of its shape, which decides that of the result.
            first = parts.fresh(f"{node.input[1]}.first")
            parts.constants[first] = np.zeros_like(chosen)
            node.input[1] = first


def _is_single_state(made_by: NodeProto | None, name: str) -> bool:
    """Whether a value is a state of a layer of one direction: (1, B, H), one entry of a stack."""
    seen = view(made_by) if made_by is not None else None
    return seen is not None and len(seen.directions) == 1 and name in seen.node.output[1:]
