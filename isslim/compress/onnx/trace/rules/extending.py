"""Rules for operators that repeat, stretch, turn or pad dimensions: Tile, Resize, Pad, ..."""

from __future__ import annotations

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int, get_ints, get_string
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, size
from isslim.compress.onnx.model.split_model import given
from isslim.compress.onnx.model.symbols import multiplied
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.edits import Target, key
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.rules.shapes import counted
from isslim.compress.onnx.trace.types import Entry, Unfollowable

STRETCH_NOT_FOLLOWED = "which part of a tensor it stretches is not followed"
STRETCHES_UNITS = "it stretches the units"
REPEATS_BY_DATA = "how often it repeats depends on the data"
REPEATS_BY_UNITS = "how often it repeats depends on the data, or on the number of units"
TURNS_UNITS = "it turns the units around"
MARGINS_BY_DATA = "the margins that it adds depend on the data"
MARGIN_ON_UNITS = "it adds a margin to the units"


@rule("Resize", obstacles=(STRETCH_NOT_FOLLOWED, STRETCHES_UNITS))
def resize(context: RuleContext, node: NodeProto) -> None:
    """Other dimensions than those of units made longer or shorter, by interpolation."""
    layout = context.plain_layout(node, 0)
    mode = get_string(node, "coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize" or get_ints(node, "axes"):
        raise Unfollowable(STRETCH_NOT_FOLLOWED)
    scales = context.graph.value(given(node, 1 if context.graph.opset < 11 else 2))
    by_scale = scales is not None and len(scales) == layout.rank
    sizes = context.entries(given(node, 3))
    found: list[tuple[int, Blocks]] = []
    for position in layout.labelled():
        dim = layout.dims[position]
        if by_scale and scales is not None:
            still = bool(scales[position] == 1)
        else:
            still = sizes is not None and sizes[position].token == size(dim)
            # Sizes are given for all dimensions, so the units' must become the cut graph's.
            if isinstance(dim, tuple):
                found.append((position, dim))
        if not still:
            raise Unfollowable(STRETCHES_UNITS)
    if found:
        context.findings.edits.append(Target(key(node), 3, tuple(found)))
    made = _with_inferred_sizes(context, node, layout)
    context.set_layout(node, made.marked(node.output[0], zero_preserving=True))


def _with_inferred_sizes(context: RuleContext, node: NodeProto, layout: Layout) -> Layout:
    """The layout with the sizes of a node's output where no units are."""
    known = context.graph.default(node.output[0])
    dims: list[Dim] = []
    for position, dim in enumerate(layout.dims):
        made = known.dims[position] if known else f"?{node.output[0]}:{position}"
        dims.append(dim if isinstance(dim, tuple) else made)
    return Layout(tuple(dims))


@rule("Tile", obstacles=(REPEATS_BY_DATA, REPEATS_BY_UNITS))
def tile(context: RuleContext, node: NodeProto) -> None:
    """Dimensions repeated, some of them as often as a shape says that is computed at run time."""
    layout, repeats = context.require_layout(node, 0), context.entries(given(node, 1))
    if repeats is None:
        if layout.axes():
            raise Unfollowable(REPEATS_BY_DATA)
        context.set_default_layout(node)
        return
    per_index = layout.per_index
    if per_index and (repeats[per_index.by].token, repeats[per_index.along].token) != (1, 1):
        layout = context.axes.without_per_index_axes(layout)
    value = context.graph.value(node.input[0])
    zero = value is not None and not value.any()
    for position, entry in enumerate(repeats):
        if entry.token == 1:
            continue
        if layout.dims[position] == 1:
            # As often as there are units: then it is a dimension of units itself.
            layout = layout.with_dim(position, counted(entry, zero, node.output[0]))
        else:
            layout = layout.with_dim(position, _repeated(layout.dims[position], entry))
    context.set_layout(node, layout)


def _repeated(dim: Dim, entry: Entry) -> Dim:
    """A dimension several times over."""
    times = entry.token
    if entry.axes:
        raise Unfollowable(REPEATS_BY_UNITS)
    if not isinstance(dim, tuple):
        return multiplied([dim, times])
    if not isinstance(times, int):
        raise Unfollowable(REPEATS_BY_UNITS)
    return dim * times


@rule("ReverseSequence", obstacles=(TURNS_UNITS,))
def reverse_sequence(context: RuleContext, node: NodeProto) -> None:
    """The first steps of every sequence in the opposite order: units stay where they are."""
    layout = context.require_layout(node, 0)
    turned = {get_int(node, "batch_axis", 1), get_int(node, "time_axis", 0)}
    # What stands at an index of a turned dimension afterwards depends on the lengths.
    if layout.per_index and layout.per_index.by in turned:
        layout = context.axes.without_per_index_axes(layout)
    if turned & set(layout.labelled()):
        raise Unfollowable(TURNS_UNITS)
    context.set_layout(node, layout)


@rule("Pad", obstacles=(MARGINS_BY_DATA, MARGIN_ON_UNITS))
def pad(context: RuleContext, node: NodeProto) -> None:
    """Margins on dimensions without axes."""
    layout = context.require_layout(node, 0)
    as_input = context.graph.opset >= 11
    pads = context.graph.integers(node, 1) if as_input else get_ints(node, "pads")
    if pads is None or given(node, 3):
        raise Unfollowable(MARGINS_BY_DATA)
    for position, dim in enumerate(layout.dims):
        margin = pads[position] + pads[position + layout.rank]
        if not margin:
            continue
        by_index = layout.per_index is not None and layout.per_index.by == position
        if isinstance(dim, tuple) or by_index:
            raise Unfollowable(MARGIN_ON_UNITS)
        grown = dim + margin if isinstance(dim, int) else f"?{node.output[0]}:{position}"
        layout = layout.with_dim(position, grown)
    # The margin is of one value for all units, removed ones too, and need not be zero.
    context.set_layout(node, layout.marked(node.output[0], zero_preserving=False))
