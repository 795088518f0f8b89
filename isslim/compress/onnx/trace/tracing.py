"""Axis inference: walks a graph in the order of its data flow and finds the axes of every tensor.

Every operator has a rule (`registry`). A rule lays out the node's outputs and notes what would have
to change if the axes shrank (`edits`). One that cannot go on raises `Unfollowable`: then every axis
that comes in is left alone, with the path that led there. Axes begin at recurrent layers; those
that begin at other matrices ("made") matter only where they meet a recurrent one, such as in a skip
connection.

The sizes of shapes that are computed at run time are followed too: an entry of a shape knows which
axes it counts.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.recurrent import view
from isslim.compress.onnx.model.split_model import given, label
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.registry import RULES
from isslim.compress.onnx.trace.rule import Rule
from isslim.compress.onnx.trace.rules.shapes import follow_numbers, refuse_counts
from isslim.compress.onnx.trace.types import CONTRADICTIONS, Unfollowable, unknown_operator


def walk(context: RuleContext, graph: GraphProto) -> None:
    """Applies the rules to the nodes of one graph, in its order; nested graphs with their node.

    Args:
        context: takes what the rules find.
        graph: of the context's model.
    """
    for node in graph.node:
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        try:
            if rule is None:
                raise unknown_operator(node.op_type)
            _apply(context, node, rule)
        except (Unfollowable, *CONTRADICTIONS) as obstacle:
            _stop(context, node, str(obstacle))


def _stop(context: RuleContext, node: NodeProto, obstacle: str) -> None:
    """Leaves every axis that comes into a node alone, and lays out what it gives without any."""
    for name in {name for name in node.input if name}:
        context.pin(name, f"at {node.op_type} '{label(node)}': {obstacle}", node)
    for index, name in enumerate(node.output):
        context.findings.shapes.pop(name, None)
        layout = context.graph.default(name) or _requested_layout(context, node)
        context.set_layout(node, layout, index)


def _requested_layout(context: RuleContext, node: NodeProto) -> Layout | None:
    """What a Reshape asks for, where inference does not know what it gives.

    Its reader wants the rank at least: a recurrent layer behind it can still be followed.
    """
    entries = context.entries(given(node, 1)) if node.op_type == "Reshape" else None
    if entries is None:
        return None
    dims = []
    for index, entry in enumerate(entries):
        known = isinstance(entry.token, str) or entry.token > 0
        dims.append(entry.token if known else f"?{node.output[0]}:{index}")
    return Layout(tuple(dims))


def _apply(context: RuleContext, node: NodeProto, rule: Rule) -> None:
    """Applies a rule; an axis of no recurrent layer that it cannot go on with is left alone first.

    Such an axis begins at a matrix and would be worth nothing by itself, while the units beside it
    in the same tensors are what the whole inference is for.

    Raises:
        Unfollowable: when units are what it cannot go on with.
    """
    mark = context.findings.mark()
    try:
        _follow(context, node, rule)
    except (Unfollowable, *CONTRADICTIONS) as obstacle:
        # A nested graph was walked in part, a recurrent layer has begun its axes: neither may be
        # done twice.
        once = bool(subgraphs(node)) or view(node) is not None
        if once or not _forget_made(context, node, str(obstacle)):
            raise
        context.findings.rollback(mark)
        _follow(context, node, rule)


def _follow(context: RuleContext, node: NodeProto, rule: Rule) -> None:
    """Applies a rule, or follows the numbers where the node works on those of a shape."""
    if not follow_numbers(context, node):
        refuse_counts(context, node)
        rule.apply(context, node)


def _forget_made(context: RuleContext, node: NodeProto, text: str) -> bool:
    """Leaves the axes of a node's inputs alone that no recurrent layer began.

    Returns:
        Whether there were such axes, and units too.
    """
    layouts: dict[str, Layout] = {}
    for name in node.input:
        layout = context.layout(name)
        if name in context.findings.layouts and layout is not None:
            layouts[name] = layout
    if not any(_recurrent_axes(context, layout) for layout in layouts.values()):
        return False
    forgotten = False
    for name, layout in layouts.items():
        made = _made_dimensions(context, layout)
        reason = f"at {node.op_type} '{label(node)}': {text}"
        context.findings.layouts[name] = context.without_axes(layout, made, reason, node)
        forgotten = forgotten or bool(made)
    return forgotten


def _made_dimensions(context: RuleContext, layout: Layout) -> set[int]:
    """Dimensions whose axes began at matrices only."""
    found = set()
    for position in layout.labelled():
        # Which axes stand along per-index axes changes with the index: those are units throughout.
        if layout.per_index and position == layout.per_index.along:
            continue
        if not _recurrent_axes(context, Layout((layout.dims[position],))):
            found.add(position)
    return found


def _recurrent_axes(context: RuleContext, layout: Layout) -> list[int]:
    return [axis for axis in layout.axes() if context.pool.is_recurrent(axis)]
