"""Rules for operators with graphs inside: If, Loop, Scan.

A branch of an If sees the values around it and its outputs are the If's, so axes pass through. A
Loop or Scan carries values from one run of its body to the next: axes end at its inputs and
outputs.
"""

from __future__ import annotations

from dataclasses import replace

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.layouts import Block, Dim, Layout, blocks_of
from isslim.compress.onnx.model.split_model import label
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.obstacles import COUNTS_UNITS
from isslim.compress.onnx.trace.types import Unfollowable

OTHER_RANKS = "its branches give different numbers of dimensions"
UNITS_IN_ONE_BRANCH = "one of its branches gives units, another gives none"


@rule("If", obstacles=(COUNTS_UNITS, OTHER_RANKS, UNITS_IN_ONE_BRANCH, PARTS_DIFFER))
def _branches(context: RuleContext) -> None:
    """The outputs of both branches are one value."""
    inner = subgraphs(context.node)
    # Branches see values around them by name: their nodes are walked where the If stands.
    for branch in inner:
        context.walk(branch)
    for index in range(len(context.node.output)):
        ends = [branch.output[index].name for branch in inner]
        try:
            layout = _either(context, index, ends)
        except Unfollowable as obstacle:
            # Other outputs of the If may still be followed, so only this one's units stay.
            for end in ends:
                context.pin(end, f"at If '{label(context.node)}': {obstacle}")
            layout = context.graph.default(context.node.output[index])
        context.set_layout(layout, index)


@rule("Loop", "Scan")
def _bodies(context: RuleContext) -> None:
    """Units in the body may shrink; those that enter or leave it are kept."""
    text = f"it passes into or out of the body of {context.node.op_type} '{label(context.node)}'"
    # What turns loops into recurrent operators has noted there why it left this one.
    if context.node.op_type == "Loop" and context.node.doc_string:
        text += f", which no recurrent operator replaces: {context.node.doc_string}"
    for name in set(filter(None, context.node.input)):
        context.pin(name, text)
    for body in subgraphs(context.node):
        context.walk(body)
        # What a run of the body carries to the next must be of the size with which it began.
        for port in body.output:
            context.pin(port.name, text)
    for index in range(len(context.node.output)):
        context.set_default_layout(index)


def _either(context: RuleContext, index: int, ends: list[str]) -> Layout | None:
    """The layout of an If's output.

    Args:
        context: unites the axes.
        index: of the output.
        ends: the values that it may be, one of each branch.
    """
    if any(context.counts_units(end) for end in ends):
        raise Unfollowable(COUNTS_UNITS)
    name = context.node.output[index]
    layouts = [context.layout_of(end) for end in ends]
    known = [layout for layout in layouts if layout is not None]
    # Without units in any branch nothing is to be agreed on.
    if not any(layout.axes() for layout in known):
        return context.graph.default(name)
    if len(known) < len(layouts) or len({layout.rank for layout in known}) > 1:
        raise Unfollowable(OTHER_RANKS)
    # A branch that joined the units of all indices has one axis; so must the other.
    if len({_arrangement(layout) for layout in known}) > 1:
        known = [context.axes.without_per_index_axes(layout) for layout in known]
    for other in known[1:]:
        _unite(context, known[0], other)
    dims = _sizes(name, known)
    zero_preserving = all(_zero_preserving(layout) for layout in known)
    # Which branch runs is not known: only what is zero in both is zero.
    return replace(known[0], dims=dims).marked(name, zero_preserving=zero_preserving)


def _arrangement(layout: Layout) -> tuple[int, int, int] | None:
    per_index = layout.per_index
    if per_index is None:
        return None
    return per_index.by, per_index.along, len(per_index.options)


def _unite(context: RuleContext, one: Layout, other: Layout) -> None:
    """The axes of two branches are one: the reader behind the If has one matrix for both."""
    if one.labelled() != other.labelled():
        raise Unfollowable(UNITS_IN_ONE_BRANCH)
    for position in one.labelled():
        here, there = one.dims[position], other.dims[position]
        context.axes.unite(blocks_of(here), blocks_of(there))
    if one.per_index and other.per_index:
        for first, second in zip(one.per_index.options, other.per_index.options, strict=True):
            context.axes.unite(first, second)


def _sizes(name: str, layouts: list[Layout]) -> tuple[Dim, ...]:
    """Dimensions of the output; a size that depends on the branch has a name of its own."""
    dims: list[Dim] = []
    for position, dim in enumerate(layouts[0].dims):
        same = all(layout.dims[position] == dim for layout in layouts)
        dims.append(dim if same or isinstance(dim, tuple) else f"?{name}:{position}")
    return tuple(dims)


def _zero_preserving(layout: Layout) -> bool:
    blocks: list[Block] = []
    for dim in layout.dims:
        blocks += blocks_of(dim)
    return all(block.zero_preserving for block in blocks)
