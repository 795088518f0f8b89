"""Axis inference: walks a graph in the order of its data flow and finds the axes of every tensor.

Every operator has a rule (`registry`). A rule lays out the node's outputs and notes what would have
to change if the axes shrank (`edits`). One that cannot go on raises `Unfollowable`: then every axis
that comes in is left alone, with the path that led there. Axes begin at recurrent layers, and at
other matrices ("made"): one that meets units, such as in a skip connection, goes with them, and
where both come to an obstacle, it is left alone first.

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
from isslim.compress.onnx.trace.knowledge import Knowledge
from isslim.compress.onnx.trace.registry import RULES
from isslim.compress.onnx.trace.rule import Rule
from isslim.compress.onnx.trace.rules.shapes import follow_numbers, refuse_counts
from isslim.compress.onnx.trace.types import CONTRADICTIONS, Unfollowable, unknown_operator

OTHER_OUTPUT = "another of its outputs is not followed"


def walk(known: Knowledge, graph: GraphProto) -> None:
    """Applies the rules to the nodes of one graph, in its order; nested graphs with their node.

    Args:
        known: takes what the rules find.
        graph: of the model that it is about.
    """
    for node in graph.node:
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        try:
            if rule is None:
                raise unknown_operator(node.op_type)
            _apply(known, node, rule)
        except (Unfollowable, *CONTRADICTIONS) as obstacle:
            _stop(known, node, str(obstacle))


def _stop(known: Knowledge, node: NodeProto, obstacle: str) -> None:
    """Leaves every axis that comes into a node alone, and lays out what it gives without any."""
    text = f"at {node.op_type} '{label(node)}': {obstacle}"
    for name in {name for name in node.input if name}:
        known.pin(name, text, node)
    for name in filter(None, node.output):
        layout = known.graph.default(name) or _requested_layout(known, node)
        if layout is not None:
            known.set_layout(node, name, layout)


def _requested_layout(known: Knowledge, node: NodeProto) -> Layout | None:
    """What a Reshape asks for, where inference does not know what it gives.

    Its reader wants the rank at least: a recurrent layer behind it can still be followed.
    """
    entries = known.entries(given(node, 1)) if node.op_type == "Reshape" else None
    if entries is None:
        return None
    dims = []
    for index, entry in enumerate(entries):
        is_size = isinstance(entry.token, str) or entry.token > 0
        dims.append(entry.token if is_size else f"?{node.output[0]}:{index}")
    return Layout(tuple(dims))


def _apply(known: Knowledge, node: NodeProto, rule: Rule) -> None:
    """Applies a rule; an axis of no recurrent layer that it cannot go on with is left alone first.

    Such an axis begins at a matrix, and is worth less than the units beside it in the same tensors,
    which are what the whole inference is for.

    Raises:
        Unfollowable: when units are what it cannot go on with.
    """
    context = RuleContext(known, node)
    mark = known.findings.mark()
    try:
        _follow(context, rule)
    except (Unfollowable, *CONTRADICTIONS) as obstacle:
        # A nested graph was walked in part, a recurrent layer has begun its axes: neither may be
        # done twice.
        once = bool(subgraphs(node)) or view(node) is not None
        if once or not _forget_made(known, node, str(obstacle)):
            raise
        known.findings.rollback(mark)
        _follow(context, rule)


def _follow(context: RuleContext, rule: Rule) -> None:
    """Applies a rule, or follows the numbers where the node works on those of a shape."""
    if follow_numbers(context):
        return
    refuse_counts(context)
    rule.apply(context)
    # The places of a MaxPool's largest numbers, or statistics of a normalisation, are of the units
    # too and would shrink unseen. Outputs of nested graphs are laid out each by itself.
    if not subgraphs(context.node) and context.has_units() and context.has_unknown_output():
        raise Unfollowable(OTHER_OUTPUT)


def _forget_made(known: Knowledge, node: NodeProto, obstacle: str) -> bool:
    """Leaves the axes of a node's inputs alone that no recurrent layer began.

    Returns:
        Whether there were such axes, and units too.
    """
    layouts: dict[str, Layout] = {}
    for name in node.input:
        layout = known.layout(name)
        if name in known.findings.layouts and layout is not None:
            layouts[name] = layout
    if not any(_recurrent_axes(known, layout) for layout in layouts.values()):
        return False
    text = f"at {node.op_type} '{label(node)}': {obstacle}"
    forgotten = False
    for name, layout in layouts.items():
        made = _made_dimensions(known, layout)
        known.findings.layouts[name] = known.without_axes(node, layout, made, text)
        forgotten = forgotten or bool(made)
    return forgotten


def _made_dimensions(known: Knowledge, layout: Layout) -> set[int]:
    """Dimensions whose axes began at matrices only."""
    found = set()
    for position in layout.labelled():
        # Which axes stand along per-index axes changes with the index: those are units throughout.
        if layout.per_index and position == layout.per_index.along:
            continue
        if not _recurrent_axes(known, Layout((layout.dims[position],))):
            found.add(position)
    return found


def _recurrent_axes(known: Knowledge, layout: Layout) -> list[int]:
    return [axis for axis in layout.axes() if known.pool.is_recurrent(axis)]
