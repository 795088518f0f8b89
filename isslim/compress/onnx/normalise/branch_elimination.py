"""What the declared shapes of a graph decide: sizes that are known, and branches that can never run.

Exporters write `x.squeeze(0)` or `x.dim() == 2` as an `If` over the shape of x. Where shapes are
known the condition is. Where the branches differ in the number of dimensions, one of them often
leads to an input that no recurrent layer takes (it wants three dimensions): a graph with that
branch in the If's place would fail whenever it runs, so the other one is it.
"""

from __future__ import annotations

from collections.abc import Callable
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

_TRIALS = 24


def fold_shapes(parts: SplitModel) -> bool:
    """Makes constants of known sizes: of Shape, of what is picked out of one, and of its length; in place."""
    shapes = {
        node.output[0]: node for node in nodes(parts.structure.graph) if node.op_type == "Shape"
    }
    if not shapes:
        return False
    layouts = inferred_shapes(parts)
    dims = {name: _dims(node, layouts.get(node.input[0])) for name, node in shapes.items()}
    found: dict[str, Constant] = {}
    for node in nodes(parts.structure.graph):
        known = dims.get(given(node, 0))
        if node.op_type == "Shape" and dims[node.output[0]] is not None:
            picked: object = dims[node.output[0]]
        elif known is None:
            continue
        elif node.op_type == "Size":
            picked = len(known)
        else:
            picked = _picked(parts, node, known)
        if picked is not None and _all_known(picked):
            found[node.output[0]] = np.array(picked, np.int64)
    parts.constants |= found
    for graph in inner_first(parts.structure.graph):
        replace(
            graph.node,
            [node for node in graph.node if not (node.output and node.output[0] in found)],
        )
    return bool(found)


def inline_constant_branches(parts: SplitModel) -> bool:
    """Puts the branches of Ifs whose condition is a constant in their places; in place."""
    decided = False
    while _decide_one(parts):
        decided = True
    return decided


def drop_impossible_branches(parts: SplitModel, fold: Callable[[SplitModel], None]) -> bool:
    """Takes the only possible branch of one If, if there is such an If; in place.

    Args:
        parts: the model.
        fold: works out what follows when a branch stands in the If's place.
    """
    layouts = inferred_shapes(parts)
    candidates = [
        node
        for node in nodes(parts.structure.graph)
        if node.op_type == "If" and _differ(node, layouts)
    ]
    for node in candidates[:_TRIALS]:
        possible = []
        for name in ("then_branch", "else_branch"):
            trial = _assumed(parts, node.output[0], name)
            fold(trial)
            if not _impossible(trial):
                possible.append(trial)
        if len(possible) == 1:
            parts.structure.CopyFrom(possible[0].structure)
            parts.constants.clear()
            parts.constants |= possible[0].constants
            return True
    return False


def _dims(node: NodeProto, layout: Layout | None) -> tuple[object, ...] | None:
    """What a Shape says, as far as it is known."""
    if layout is None:
        return None
    return layout.dims[get_int(node, "start", 0) : get_int(node, "end", layout.rank)]


def _picked(parts: SplitModel, node: NodeProto, known: tuple[object, ...]) -> object:
    """What a Gather or a Slice takes of a shape."""
    if node.op_type == "Gather" and given(node, 1) in parts.constants:
        index = parts.constants[node.input[1]]
        if not all(-len(known) <= int(each) < len(known) for each in index.reshape(-1)):
            return None
        values = [known[int(each)] for each in index.reshape(-1)]
        return values[0] if index.ndim == 0 else values
    bounds = [parts.constants.get(name) for name in node.input[1:]]
    if (
        node.op_type == "Slice"
        and len(bounds) >= 2
        and all(bound is not None and bound.size == 1 for bound in bounds)
    ):
        numbers = [int(bound.reshape(-1)[0]) for bound in bounds if bound is not None]
        return list(known[numbers[0] : numbers[1] : numbers[3] if len(numbers) > 3 else 1])
    return None


def _all_known(picked: object) -> bool:
    return all(
        isinstance(each, int) for each in (picked if isinstance(picked, list | tuple) else [picked])
    )


def _decide_one(parts: SplitModel) -> bool:
    for graph in graphs(parts.structure.graph):
        for node in graph.node:
            condition = parts.constants.get(node.input[0]) if node.op_type == "If" else None
            if condition is not None and condition.size == 1:
                _inline(
                    graph, node, "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
                )
                return True
    return False


def _inline(graph: GraphProto, node: NodeProto, wanted: str) -> None:
    """Puts the nodes of a branch in the place of its If."""
    branch = get_graph(node, wanted)
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
        ranks = {layout.rank for port in ports if (layout := layouts.get(port.name))}
        if len(ranks) > 1:
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
        layout = layouts.get(given(node, X)) if view(node) else None
        if layout is not None and layout.rank != 3:
            return True
    return False
