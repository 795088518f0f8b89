"""Folds sizes that are known from shapes, and removes branches that can never run.

Exporters write `x.squeeze(0)` or `x.dim() == 2` as an `If` over the shape of x. Where shapes are
known the condition is. Where the branches differ in the number of dimensions, one of them often
leads to an input that no recurrent layer takes (it wants three dimensions): a graph with that
branch in the If's place would fail whenever it runs, so the other one is it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace as changed_copy

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper

from isslim.compress.onnx.model.attributes import get_graph, get_int, subgraphs
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.recurrent import X, view
from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import (
    Constant,
    SplitModel,
    given,
    graphs,
    inner_first,
    nodes,
    replace,
)

Dims = tuple[object, ...]
"""Sizes of dimensions: numbers where they are known, else names or blocks."""
_TRIALS = 24
"""How many Ifs are tried at a time: each trial folds the whole model twice."""


def fold_shapes(parts: SplitModel) -> bool:
    """Makes constants of sizes that are known; in place.

    Those of a Shape, of what is picked out of one, and of its length.

    Returns:
        Whether there were any.
    """
    shapes = [node for node in nodes(parts.structure.graph) if node.op_type == "Shape"]
    if not shapes:
        return False
    layouts = inferred_shapes(parts)
    dims = {node.output[0]: _dims(node, layouts.get(node.input[0])) for node in shapes}
    found: dict[str, Constant] = {}
    for node in nodes(parts.structure.graph):
        known = _known_sizes(parts, node, dims)
        # A part of a shape may be known where the whole is not.
        if known is not None and _all_known(known):
            found[node.output[0]] = np.array(known, np.int64)
    parts.constants |= found
    for graph in inner_first(parts.structure.graph):
        left = [node for node in graph.node if not (node.output and node.output[0] in found)]
        replace(graph.node, left)
    return bool(found)


def _known_sizes(parts: SplitModel, node: NodeProto, dims: Mapping[str, Dims | None]) -> object:
    """What a node makes of shapes: sizes, numbers or names; None where it does something else.

    Args:
        parts: the model.
        node: any node.
        dims: the outputs of all Shapes.
    """
    if node.op_type == "Shape" and dims[node.output[0]] is not None:
        return dims[node.output[0]]
    known = dims.get(given(node, 0))
    if known is None:
        return None
    return len(known) if node.op_type == "Size" else _picked(parts, node, known)


def inline_constant_branches(parts: SplitModel) -> bool:
    """Puts the branches of Ifs whose condition is a constant in their places; in place.

    Returns:
        Whether there were any.
    """
    decided = False
    # One at a time: a branch that is put in place may hold the next.
    while _decide_one(parts):
        decided = True
    return decided


def drop_impossible_branches(parts: SplitModel, fold: Callable[[SplitModel], None]) -> bool:
    """Takes the only possible branch of one If, if there is such an If; in place.

    Args:
        parts: the model.
        fold: works out what follows when a branch stands in the If's place.

    Returns:
        Whether there was one.
    """
    layouts = inferred_shapes(parts)
    choices = [node for node in nodes(parts.structure.graph) if node.op_type == "If"]
    candidates = [node for node in choices if _differ(node, layouts)]
    for node in candidates[:_TRIALS]:
        possible = []
        for name in ("then_branch", "else_branch"):
            # Each branch is tried in a copy: only what follows from it shows whether it can be.
            trial = _assumed(parts, node.output[0], name)
            fold(trial)
            if not _impossible(trial):
                possible.append(trial)
        # Where both are possible it is decided at run time; where none is, the cause is elsewhere.
        if len(possible) == 1:
            parts.structure.CopyFrom(possible[0].structure)
            parts.constants.clear()
            parts.constants |= possible[0].constants
            return True
    return False


def _dims(node: NodeProto, layout: Layout | None) -> Dims | None:
    """The output of a Shape, as far as it is known: since version 15 it may be a part."""
    if layout is None:
        return None
    return layout.dims[get_int(node, "start", 0) : get_int(node, "end", layout.rank)]


def _picked(parts: SplitModel, node: NodeProto, known: Dims) -> object:
    """The sizes that a Gather or a Slice selects from a shape."""
    if node.op_type == "Gather" and given(node, 1) in parts.constants:
        index = parts.constants[node.input[1]]
        places = [int(each) for each in index.reshape(-1)]
        # An index out of range is left to the runtime to refuse.
        if not all(-len(known) <= place < len(known) for place in places):
            return None
        values = [known[place] for place in places]
        return values[0] if index.ndim == 0 else values
    if node.op_type == "Slice":
        return _sliced(parts, node, known)
    return None


def _sliced(parts: SplitModel, node: NodeProto, known: Dims) -> object:
    """What a Slice takes of a shape; its other inputs are starts, ends, axes and steps."""
    bounds = [parts.constants.get(name) for name in node.input[1:]]
    numbers = [
        int(bound.reshape(-1)[0]) for bound in bounds if bound is not None and bound.size == 1
    ]
    if len(numbers) < 2 or len(numbers) < len(bounds):  # computed, or before version 10 attributes
        return None
    step = numbers[3] if len(numbers) > 3 else 1
    return list(known[numbers[0] : numbers[1] : step])


def _all_known(picked: object) -> bool:
    """Whether sizes, or the one size, are all numbers."""
    several = picked if isinstance(picked, list | tuple) else [picked]
    return all(isinstance(each, int) for each in several)


def _decide_one(parts: SplitModel) -> bool:
    """Puts the branch of one decided If in its place; whether there was one."""
    for graph in graphs(parts.structure.graph):
        for node in graph.node:
            condition = parts.constants.get(node.input[0]) if node.op_type == "If" else None
            if condition is not None and condition.size == 1:
                holds = bool(condition.reshape(-1)[0])
                _inline(graph, node, "then_branch" if holds else "else_branch")
                return True
    return False


def _inline(graph: GraphProto, node: NodeProto, wanted: str) -> None:
    """Puts the nodes of a branch in the place of its If."""
    branch = get_graph(node, wanted)
    # The branch's own names stay, since every value of the model has a name that no other has.
    ends = [
        helper.make_node("Identity", [port.name], [name])
        for port, name in zip(branch.output, node.output, strict=True)
        if name
    ]
    place = next(index for index, each in enumerate(graph.node) if each.output == node.output)
    replace(graph.node, [*graph.node[:place], *branch.node, *ends, *graph.node[place + 1 :]])


def _differ(node: NodeProto, layouts: dict[str, Layout]) -> bool:
    """Whether the branches of an If give different numbers of dimensions."""
    for ports in zip(*(branch.output for branch in subgraphs(node)), strict=True):
        known = [layouts[port.name] for port in ports if port.name in layouts]
        if len({layout.rank for layout in known}) > 1:
            return True
    return False


def _assumed(parts: SplitModel, output: str, wanted: str) -> SplitModel:
    """The model with one branch in its If's place."""
    structure = ModelProto()
    structure.CopyFrom(parts.structure)
    for graph in inner_first(structure.graph):
        for node in graph.node:
            if node.op_type == "If" and node.output[0] == output:
                _inline(graph, node, wanted)
                return changed_copy(parts, structure=structure, constants=dict(parts.constants))
    return parts


def _impossible(parts: SplitModel) -> bool:
    """Whether a recurrent layer has an input that is not of three dimensions."""
    layouts = inferred_shapes(parts)
    for node in nodes(parts.structure.graph):
        # ONNX wants X (T, B, I) of every recurrent layer.
        layout = layouts.get(given(node, X)) if view(node) else None
        if layout is not None and layout.rank != 3:
            return True
    return False
