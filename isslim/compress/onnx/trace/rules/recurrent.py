"""The rule of recurrent layers, where axes begin, and where those that come in end in weights.

    Y (T, D, B, H)    Y_h, Y_c (D, B, H)    initial states (D, B, H)

An initial state without units of its own, such as a graph's input, is let through in part; one that
another layer made (a decoder that starts from its encoder's state) is of the same axis.

Legend: T steps, D directions, B batch, H units, I inputs.
"""

from __future__ import annotations

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Block, Blocks, Dim, Layout, PerIndexAxes
from isslim.compress.onnx.model.recurrent import B, P, R, Recurrent, W, X, view
from isslim.compress.onnx.trace.alignment import PARTS_DIFFER
from isslim.compress.onnx.trace.context import OTHER_SIZE, RuleContext
from isslim.compress.onnx.trace.pool import PinReason
from isslim.compress.onnx.trace.rule import rule
from isslim.compress.onnx.trace.types import CONTRADICTIONS, Layer, Unfollowable, unknown_operator
from isslim.types.axis_names import units_of

BATCH_FIRST = "its layout is not 0"
WEIGHTS_NOT_CONSTANT = "its weights are not constants of the graph"
WEIGHTS_DO_NOT_FIT = "the shapes of its weights do not match its number of units"
INPUT_RANK = "it reads a tensor that has not three dimensions"
STATE_LIES_OTHERWISE = "an initial state lies in a way that is not followed"


@rule(
    *("LSTM", "GRU", "RNN"),
    obstacles=(
        BATCH_FIRST,
        WEIGHTS_NOT_CONSTANT,
        WEIGHTS_DO_NOT_FIT,
        INPUT_RANK,
        STATE_LIES_OTHERWISE,
        PARTS_DIFFER,
        OTHER_SIZE,
    ),
)
def _recurrent(context: RuleContext) -> None:
    """An axis of units begins for each direction; units that come in end in the input weights."""
    seen = view(context.node)
    if seen is None:
        raise unknown_operator(context.node.op_type)
    axes = []
    for direction in seen.directions:
        name = units_of(f"{seen.name}.{direction}")
        axes.append(context.pool.new(name, seen.units, recurrent=True))
    try:
        layout = _required_input(context, seen)
        _note_layer(context, seen, tuple(axes), layout)
        _lay_out(context, seen, tuple(axes), layout)
    except (Unfollowable, *CONTRADICTIONS) as obstacle:
        # The walk leaves alone what comes in; these axes have come out of nothing yet.
        reason = PinReason(f"at {context.node.op_type} '{seen.name}': {obstacle}")
        for axis in axes:
            context.pool.pin(axis, reason)
        raise


def _required_input(context: RuleContext, seen: Recurrent) -> Layout:
    """The layout (T, B, I) of what a layer reads.

    Raises:
        Unfollowable: where the layer is of a form that is not understood.
    """
    # The input weights read all indices, so there is one axis for them.
    layout = context.plain_layout(X)
    if get_int(seen.node, "layout", 0):
        raise Unfollowable(BATCH_FIRST)
    weights = [index for index in (W, R, B, P) if context.input(index)]
    if not all(map(context.is_constant, weights)):
        raise Unfollowable(WEIGHTS_NOT_CONSTANT)
    if not _weights_fit(context, seen):
        raise Unfollowable(WEIGHTS_DO_NOT_FIT)
    if layout.rank != 3:
        raise Unfollowable(INPUT_RANK)
    # Units as steps or sequences could be removed only with the answers for them.
    text = f"it meets the dimension of steps or sequences of '{seen.name}'"
    return context.without_axes(layout, {0, 1}, text)


def _weights_fit(context: RuleContext, seen: Recurrent) -> bool:
    """Whether W, R, B and P are of the shapes that the operator asks for."""
    count, rows, units = len(seen.directions), seen.gates * seen.units, seen.units
    # I is whatever W has; a W without dimensions fits nothing.
    width = context.constant(W).shape[-1:] or (0,)
    expected: dict[int, tuple[int, ...]] = {
        W: (count, rows, *width),
        R: (count, rows, units),
        B: (count, 2 * rows),
        P: (count, 3 * units),
    }
    for index, shape in expected.items():
        name = seen.given(index)
        if name and context.constant(index).shape != shape:
            return False
    return units > 0 and width[0] > 0


def _note_layer(
    context: RuleContext, seen: Recurrent, axes: tuple[int, ...], layout: Layout
) -> None:
    """Notes a layer's weights and initial states.

    Args:
        context: takes the notes.
        seen: the layer.
        axes: per direction.
        layout: of its input.
    """
    nonzero = seen.not_zero_preserving()
    if nonzero is not None:
        # A unit whose weights are zero is not zero then, and no graph without it equals that.
        kind = f"{nonzero} of {seen.node.op_type} '{seen.name}'"
        for axis in axes:
            context.pool.pin(axis, PinReason(f"{kind} gives more than zero at zero"))
    read = layout.dims[2]
    width = context.constant(W).shape[2]
    inputs = read if isinstance(read, tuple) else (Block(None, width),)
    context.note_layer(Layer(seen, axes, inputs))
    # A single unit is no axis in tensors: its dimension is a plain 1.
    if seen.units < 2:
        return
    for index in seen.states:
        if seen.given(index):
            _initial_state(context, seen, index, _units(seen, axes))


def _lay_out(context: RuleContext, seen: Recurrent, axes: tuple[int, ...], layout: Layout) -> None:
    """Lays out Y, Y_h and Y_c.

    Args:
        context: takes the layouts.
        seen: the layer.
        axes: per direction.
        layout: of its input.
    """
    steps, batch = layout.dims[:2]
    directions: Dim = len(axes)
    outputs, cells = _units(seen, axes), _units(seen, axes, cell=True)
    lead: list[Dim]
    for index, lead, options in (
        (0, [steps, directions, batch], outputs),
        (1, [directions, batch], outputs),
        (2, [directions, batch], cells),
    ):
        made = Layout((*lead, 1))
        if seen.units > 1:
            # Forward and backward units lie side by side, each direction with units of its own.
            per_index = PerIndexAxes(len(lead) - 2, len(lead), options)
            made = context.axes.with_per_index_axes(made, per_index)
        context.set_layout(made, index)


def _units(seen: Recurrent, axes: tuple[int, ...], *, cell: bool = False) -> tuple[Blocks, ...]:
    """Per direction the dimension of its units.

    Args:
        seen: the layer.
        axes: per direction.
        cell: whether of the cells, whose values are others than those of the outputs.
    """
    found = []
    for axis, direction in zip(axes, seen.directions, strict=True):
        source = f"{seen.name}.{direction}{':cell' if cell else ''}"
        found.append((Block(axis, seen.units, source, True),))
    return tuple(found)


def _initial_state(
    context: RuleContext, seen: Recurrent, index: int, options: tuple[Blocks, ...]
) -> None:
    """An initial state (D, B, H) is of the layer's own axes.

    Args:
        context: takes the edits.
        seen: the layer.
        index: of the input.
        options: per direction the blocks of its units.
    """
    layout = context.require_layout(index)
    if set(layout.labelled()) - {2}:
        raise Unfollowable(STATE_LIES_OTHERWISE)
    dim, per_index = layout.dims[2], layout.per_index
    # Forward units begin with forward units' states, backward ones with theirs.
    if per_index and (per_index.by, per_index.along) == (0, 2):
        for one, other in zip(per_index.options, options, strict=True):
            context.axes.unite(one, other)
    elif isinstance(dim, tuple):
        # One state for both directions: its axis is that of both.
        for option in options:
            context.axes.unite(dim, option)
    elif context.is_constant(index) and len(options) == 1:
        context.index_constant(index, {2: options[0]})
    else:
        # A constant for two directions is gated too: its dimension has other units at each index.
        context.gate_input(index, 2, options, by=0)
