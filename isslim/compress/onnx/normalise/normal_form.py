"""Rewrites a graph into an equal one that is simpler to follow.

- A recurrent layer with `layout=1` becomes one with `layout=0` between Transposes; ONNX Runtime
  runs no other.
- An initial state that is all zeros is left out: it is the default, and the constants that build it
  hide sizes.
- One part of a Concat that is taken out again (the last layer's state of a stack of all) is read
  directly, for what is stacked must be of one size.
- States that the caller carries end in markers (`states`).
- What nothing reads is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from isslim.compress.onnx.model import split_model as taken
from isslim.compress.onnx.model.attributes import get_int, get_tensor, remove_attribute, subgraphs
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.recurrent import C0, H0, X, view
from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import (
    SplitModel,
    given,
    graphs,
    inner_first,
    nodes,
    set_input,
)
from isslim.compress.onnx.normalise.carried_states import mark_states


@dataclass(frozen=True)
class NormalForm:
    """A simpler equal of a model.

    Attributes:
        parts: the model.
        markers: outputs of the Identity nodes behind which a state is of the caller's size.
    """

    parts: SplitModel
    markers: frozenset[str]


def normal_form(parts: SplitModel) -> NormalForm:
    """See the module; `parts` stay as they are."""
    model = ModelProto()
    model.CopyFrom(parts.structure)
    own = replace(parts, structure=model, constants=dict(parts.constants))
    steps_first(own)
    _drop_zeros(own)
    _read_directly(own)
    drop_unread(own)
    markers = mark_states(own)
    drop_unread(own)
    return NormalForm(own, frozenset(markers))


def drop_unread(parts: SplitModel) -> None:
    """Removes nodes and constants that nothing reads, and outputs of recurrent nodes likewise."""
    while True:
        read = {port.name for graph in graphs(parts.structure.graph) for port in graph.output}
        read |= {name for node in nodes(parts.structure.graph) for name in node.input}
        changed = False
        for graph in inner_first(parts.structure.graph):
            alive = [
                node for node in graph.node if any(name and name in read for name in node.output)
            ]
            if len(alive) < len(graph.node):
                taken.replace(graph.node, list(alive))
                changed = True
        if not changed:
            break
    for node in nodes(parts.structure.graph):
        if view(node):
            taken.replace(node.output, [name if name in read else "" for name in node.output])
            while node.output and not node.output[-1]:
                node.output.pop()
    parts.constants = {name: value for name, value in parts.constants.items() if name in read}


def steps_first(parts: SplitModel) -> bool:
    """Puts Transposes around layers whose tensors begin with the batch (`layout=1`); in place. Whether there were any."""
    found = any(view(node) and get_int(node, "layout", 0) for node in nodes(parts.structure.graph))
    for graph in inner_first(parts.structure.graph) if found else []:
        _steps_first(graph, parts)
    return found


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
        for index, (name, order) in enumerate(
            zip(node.output, ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2]), strict=False)
        ):
            if name:
                node.output[index] = parts.fresh(f"{name}.steps_first")
                behind.append(
                    helper.make_node("Transpose", [node.output[index]], [name], perm=order)
                )
        remove_attribute(node, "layout")
        rewritten += [node, *behind]
    taken.replace(graph.node, list(rewritten))


def _drop_zeros(parts: SplitModel) -> None:
    """Leaves out initial states that are zero, and sums with a zero that changes no shape."""
    zeros = _zeros(parts)
    shapes = inferred_shapes(parts)
    for node in nodes(parts.structure.graph):
        if view(node):
            for index in (H0, C0):
                if given(node, index) in zeros:
                    node.input[index] = ""
            while node.input and not node.input[-1]:
                node.input.pop()
        elif node.op_type == "Add":
            known = [shapes.get(name) for name in node.input]
            for zero, other in ((0, 1), (1, 0)):
                single = node.input[zero] in zeros and known[zero] == Layout(())
                if single and node.op_type == "Add":
                    node.op_type = "Identity"
                    taken.replace(node.input, [node.input[other]])


_MOVES = (
    *(
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
        "Expand",
    ),
    *("Tile", "Dropout", "GatherElements"),
)


def _zeros(parts: SplitModel) -> set[str]:
    """Values that are zero everywhere, whatever the inputs."""
    zeros = {
        name
        for name, value in parts.constants.items()
        if value.dtype.kind == "f" and not value.any()
    }
    for node in nodes(parts.structure.graph):
        operator = node.op_type
        if operator == "ConstantOfShape":
            filled = get_tensor(node, "value")
            known = filled is None or not np.any(numpy_helper.to_array(filled))
        elif operator in _MOVES:
            known = node.input[0] in zeros
        elif operator == "Mul":
            # Of whole numbers only: an infinite number times zero is not zero.
            factors = [parts.constants[name] for name in node.input if name in parts.constants]
            known = any(value.dtype.kind == "i" and not value.any() for value in factors)
        elif operator == "Concat":
            known = all(name in zeros for name in node.input)
        else:
            known = False
        if known:
            zeros.update(filter(None, node.output))
    return zeros


def _read_directly(parts: SplitModel) -> None:
    """Replaces Gather of one entry of a Concat by the part that it lies in, where each part is one entry long."""
    producers = {
        name: node for node in nodes(parts.structure.graph) for name in node.output if name
    }
    for node in nodes(parts.structure.graph):
        source = producers.get(given(node, 0))
        if (
            node.op_type != "Gather"
            or source is None
            or source.op_type != "Concat"
            or subgraphs(node)
        ):
            continue
        chosen, axis = parts.constants.get(node.input[1]), get_int(node, "axis", 0)
        if chosen is None or chosen.size != 1 or axis != get_int(source, "axis", 0):
            continue
        made = [producers.get(name) for name in source.input]
        # A state is (D, B, H): with one direction it is one entry of the stack.
        single = all(
            each is not None
            and (seen := view(each)) is not None
            and len(seen.directions) == 1
            and name in each.output[1:]
            for each, name in zip(made, source.input, strict=True)
        )
        index = int(chosen.reshape(-1)[0])
        if single and axis == 0 and -len(made) <= index < len(made):
            node.input[0] = source.input[index]
            zero = parts.fresh(f"{node.input[1]}.first")
            parts.constants[zero] = np.zeros_like(chosen)
            node.input[1] = zero
