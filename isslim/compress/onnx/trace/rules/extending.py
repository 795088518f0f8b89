"""Rules for operators that repeat, stretch, turn or pad dimensions: Tile, Resize, Pad, ..."""

from __future__ import annotations

from isslim.compress.onnx.model.attributes import get_int, get_ints, get_string
from isslim.compress.onnx.model.layouts import Blocks, Dim, Layout, size
from isslim.compress.onnx.model.symbols import multiplied
from isslim.compress.onnx.trace.context import RuleContext
from isslim.compress.onnx.trace.edits import Target
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
def _resize(context: RuleContext) -> None:
    """Resizes dimensions other than those of units, by interpolation."""
    layout = context.plain_layout(0)
    mode = get_string(context.node, "coordinate_transformation_mode", "half_pixel")
    # A region of the units could be cut out, and sizes could be of some dimensions only.
    if mode == "tf_crop_and_resize" or get_ints(context.node, "axes"):
        raise Unfollowable(STRETCH_NOT_FOLLOWED)
    scales = context.value(1 if context.opset < 11 else 2)
    # An empty list of scales stands where sizes are given.
    by_scale = scales is not None and len(scales) == layout.rank
    sizes = context.entries(3)
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
        context.note_edit(Target(context.key, 3, tuple(found)))
    made = _with_inferred_sizes(context, layout)
    context.set_layout(made.marked(context.output, zero_preserving=True))


def _with_inferred_sizes(context: RuleContext, layout: Layout) -> Layout:
    """The layout with the sizes of a node's output where no units are."""
    dims: list[Dim] = []
    for position, dim in enumerate(layout.dims):
        dims.append(dim if isinstance(dim, tuple) else context.inferred_size(position))
    return Layout(tuple(dims))


@rule("Tile", obstacles=(REPEATS_BY_DATA, REPEATS_BY_UNITS))
def _tile(context: RuleContext) -> None:
    """Dimensions repeated, some of them as often as a shape says that is computed at run time."""
    layout, repeats = context.require_layout(0), context.entries(1)
    if repeats is None:
        if layout.axes():
            raise Unfollowable(REPEATS_BY_DATA)
        context.set_default_layout()
        return
    per_index = layout.per_index
    # Repeated indices would be more than there are axes for.
    if per_index and any(repeats[at].token != 1 for at in (per_index.by, per_index.along)):
        layout = context.axes.without_per_index_axes(layout)
    # Only zeros are zero at units that they are repeated for.
    value = context.value(0)
    zero = value is not None and not value.any()
    for position, entry in enumerate(repeats):
        if entry.token == 1:
            continue
        if layout.dims[position] == 1:
            # As often as there are units: then it is a dimension of units itself.
            layout = layout.with_dim(position, counted(entry, zero, context.output))
        else:
            layout = layout.with_dim(position, _repeated(layout.dims[position], entry))
    context.set_layout(layout)


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
def _reverse_sequence(context: RuleContext) -> None:
    """The first steps of every sequence in reverse order: units stay where they are."""
    layout = context.require_layout(0)
    steps = get_int(context.node, "time_axis", 0)
    turned = {steps, get_int(context.node, "batch_axis", 1)}
    # What stands at an index of a turned dimension afterwards depends on the lengths.
    if layout.per_index and layout.per_index.by in turned:
        layout = context.axes.without_per_index_axes(layout)
    if turned & set(layout.labelled()):
        raise Unfollowable(TURNS_UNITS)
    context.set_layout(layout)


@rule("Pad", obstacles=(MARGINS_BY_DATA, MARGIN_ON_UNITS))
def _pad(context: RuleContext) -> None:
    """Margins on dimensions without axes."""
    layout = context.require_layout(0)
    as_input = context.opset >= 11
    pads = context.integers(1) if as_input else get_ints(context.node, "pads")
    # With axes of its own (input 3) the margins would have to be sorted first: no exporter does.
    if pads is None or context.input(3):
        raise Unfollowable(MARGINS_BY_DATA)
    for position, dim in enumerate(layout.dims):
        before, behind = pads[position], pads[position + layout.rank]
        margin = before + behind
        if not margin:
            continue
        by_index = layout.per_index is not None and layout.per_index.by == position
        if isinstance(dim, tuple) or by_index:
            raise Unfollowable(MARGIN_ON_UNITS)
        grown = dim + margin if isinstance(dim, int) else context.unknown(position)
        layout = layout.with_dim(position, grown)
    # The margin is of one value for all units, removed ones too, and need not be zero.
    context.set_layout(layout.marked(context.output, zero_preserving=False))
