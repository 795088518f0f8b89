"""Rules for operators with graphs inside: If, Loop, Scan.

A branch of an If sees the values around it and its outputs are the If's, so axes pass through. A
Loop or Scan carries values from one run of its body to the next: axes end at its inputs and
outputs.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.layouts import Dim, Layout
from isslim.compress.onnx.model.split_model import label
from isslim.compress.onnx.trace.tracing import Trace, walk
from isslim.compress.onnx.trace.types import Unfollowable


def branches(trace: Trace, node: NodeProto) -> None:
    """If: what both branches give is one value."""
    inner = subgraphs(node)
    for branch in inner:
        walk(trace, branch)
    for index, name in enumerate(node.output):
        ends = [branch.output[index].name for branch in inner]
        try:
            for end in ends:
                if any(entry.axes for entry in trace.shapes.get(end, ())):
                    raise Unfollowable("it computes with the number of units")
            trace.set_layout(node, _either(trace, name, [trace.layout(end) for end in ends]), index)
        except Unfollowable as obstacle:
            for end in ends:
                trace.pin(end, f"at If '{label(node)}': {obstacle}", node)
            trace.set_layout(node, trace.default(name), index)


def bodies(trace: Trace, node: NodeProto) -> None:
    """Loop and Scan."""
    text = f"it goes into {node.op_type} '{label(node)}', or comes out of its body"
    for name in set(filter(None, node.input)):
        trace.pin(name, text, node)
    for body in subgraphs(node):
        walk(trace, body)
        for port in body.output:
            trace.pin(port.name, text, node)
    for index, name in enumerate(node.output):
        trace.set_layout(node, trace.default(name), index)


def _either(trace: Trace, name: str, layouts: list[Layout | None]) -> Layout | None:
    """The layout of a value that is one of several."""
    if not any(layout and layout.axes() for layout in layouts):
        return trace.default(name)
    known = [layout for layout in layouts if layout is not None]
    if len(known) < len(layouts) or len({layout.rank for layout in known}) > 1:
        raise Unfollowable("its branches give different numbers of dimensions")
    shapes = [
        layout.per_index
        and (layout.per_index.by, layout.per_index.along, len(layout.per_index.options))
        for layout in known
    ]
    if len(set(shapes)) > 1:
        known = [trace.without_per_index_axes(layout) for layout in known]
    first, *others = known
    for other in others:
        if first.labelled() != other.labelled():
            raise Unfollowable("one of its branches gives units, another gives none")
        for position in first.labelled():
            trace.unite(first.dims[position], other.dims[position])  # type: ignore[arg-type]
        if first.per_index and other.per_index:
            for one, two in zip(first.per_index.options, other.per_index.options, strict=True):
                trace.unite(one, two)
    dims: list[Dim] = []
    for position, dim in enumerate(first.dims):
        same = all(isinstance(dim, tuple) or layout.dims[position] == dim for layout in known)
        dims.append(dim if same else f"?{name}:{position}")
    quiet = all(
        block.zero_preserving
        for each in known
        for blocks in each.dims
        if isinstance(blocks, tuple)
        for block in blocks
    )
    return replace(first, dims=tuple(dims)).marked(name, zero_preserving=quiet)
