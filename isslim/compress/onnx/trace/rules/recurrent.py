"""The rule of recurrent layers, where axes begin, and where those that come in end in weights.

    Y (T, D, B, H)    Y_h, Y_c (D, B, H)    initial states (D, B, H)

An initial state without units of its own, such as a graph's input, is let through in part; one that
another layer made (a decoder that starts from its encoder's state) is of the same axis.
"""

from __future__ import annotations

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.layouts import Block, Blocks, Dim, Layout
from isslim.compress.onnx.model.recurrent import C0, B, P, R, Recurrent, W, X, view
from isslim.compress.onnx.trace.pool import PinReason
from isslim.compress.onnx.trace.tracing import Trace
from isslim.compress.onnx.trace.types import CONTRADICTIONS, Layer, Unfollowable


def recurrent(trace: Trace, node: NodeProto) -> None:
    """LSTM, GRU and RNN."""
    seen = view(node)
    if seen is None:
        raise Unfollowable("it is not understood")
    axes = tuple(
        trace.pool.new(f"units:{seen.name}.{direction}", seen.units, recurrent=True)
        for direction in seen.directions
    )
    try:
        _layer(trace, seen, axes)
    except (Unfollowable, *CONTRADICTIONS) as obstacle:
        for axis in axes:
            trace.pool.pin(axis, PinReason(f"at {node.op_type} '{seen.name}': {obstacle}"))
        raise


def _layer(trace: Trace, seen: Recurrent, axes: tuple[int, ...]) -> None:
    node, layout = seen.node, trace.without_per_index_axes(trace.require_layout(seen.node, X))
    if get_int(node, "layout", 0):
        raise Unfollowable("its layout is not 0")
    if not all(trace.constant(name) for name in map(seen.given, (W, R, B, P)) if name):
        raise Unfollowable("its weights are not constants of the graph")
    if not _fits(trace, seen):
        raise Unfollowable("its weights are not of the shapes that its number of units asks for")
    if layout.rank != 3:
        raise Unfollowable("it reads a tensor that has not three dimensions")
    layout = trace.without_axes(
        layout, {0, 1}, f"it stands where '{seen.name}' has its steps or its sequences", node
    )
    read = layout.dims[2]
    width = trace.parts.constants[seen.given(W)].shape[2]
    inputs = read if isinstance(read, tuple) else (Block(None, width),)
    unsilent = seen.not_zero_preserving()
    if unsilent is not None:
        for axis in axes:
            trace.pool.pin(
                axis,
                PinReason(
                    f"{unsilent} of {node.op_type} '{seen.name}' gives more than zero at zero"
                ),
            )
    trace.layers.append(Layer(seen, axes, inputs))
    for index in seen.states:
        if seen.given(index):
            _initial(trace, seen, index, _blocks(seen, axes, cell=index == C0))
    steps, batch = layout.dims[:2]
    own, cells = _blocks(seen, axes), _blocks(seen, axes, cell=True)
    many: list[Dim] = [steps, len(axes), batch]
    if seen.units < 2:
        for output, known in enumerate(
            (Layout((*many, 1)), Layout((len(axes), batch, 1)), Layout((len(axes), batch, 1)))
        ):
            trace.set_layout(node, known, output)
        return
    trace.set_layout(node, trace.with_per_index_axes(Layout((*many, own[0])), 1, 3, own), 0)
    for output, options in ((1, own), (2, cells)):
        trace.set_layout(
            node,
            trace.with_per_index_axes(Layout((len(axes), batch, options[0])), 0, 2, options),
            output,
        )


def _fits(trace: Trace, seen: Recurrent) -> bool:
    """Whether W, R, B and P are of the shapes that the operator asks for."""
    count, rows, units = len(seen.directions), seen.gates * seen.units, seen.units
    shapes = {
        index: trace.parts.constants[seen.given(index)].shape
        for index in (W, R, B, P)
        if seen.given(index)
    }
    width = shapes[W][-1] if shapes[W] else 0
    expected = {
        W: (count, rows, width),
        R: (count, rows, units),
        B: (count, 2 * rows),
        P: (count, 3 * units),
    }
    return (
        units > 0 and width > 0 and all(shape == expected[index] for index, shape in shapes.items())
    )


def _blocks(seen: Recurrent, axes: tuple[int, ...], *, cell: bool = False) -> tuple[Blocks, ...]:
    """Per direction the dimension of its units."""
    return tuple(
        (Block(axis, seen.units, f"{seen.name}.{direction}{':cell' if cell else ''}", True),)
        for axis, direction in zip(axes, seen.directions, strict=True)
    )


def _initial(trace: Trace, seen: Recurrent, index: int, options: tuple[Blocks, ...]) -> None:
    """An initial state (D, B, H)."""
    if seen.units < 2:
        return
    layout = trace.require_layout(seen.node, index)
    if set(layout.labelled()) - {2}:
        raise Unfollowable("an initial state lies in a way that is not followed")
    dim = layout.dims[2]
    if layout.per_index and (layout.per_index.by, layout.per_index.along) == (0, 2):
        for one, other in zip(layout.per_index.options, options, strict=True):
            trace.unite(one, other)
    elif isinstance(dim, tuple):
        for option in options:
            trace.unite(dim, option)
    elif trace.constant(seen.given(index)) and len(options) == 1:
        trace.index_constant(seen.node, index, {2: options[0]})
    else:
        trace.gate_input(seen.node, index, 2, options, by=0)
