"""Names of axes: `units:<layer>` of recurrent units, `channels:<operator>` of what matrices give.

The rank of a narrow layer is `rank:<reader>`.
"""

from __future__ import annotations

UNITS = "units:"
"""Prefix of the axes of recurrent units."""
CHANNELS = "channels:"
"""Prefix of the axes of what the matrices and convolutions of a graph give."""
RANK = "rank:"
"""Prefix of the axes of narrow layers' widths."""
OPERATOR = f"{RANK}input of "
"""Prefix of those before the operators of an ONNX graph, whose names follow."""
_RECURRENT = ".recurrent"


def units_of(layer: str) -> str:
    """The name of the axis of a recurrent layer's units."""
    return UNITS + layer


def is_units(axis: str) -> bool:
    """Whether an axis is one of recurrent units."""
    return axis.startswith(UNITS)


def channels_of(operator: str) -> str:
    """The name of the axis of what a matrix or convolution of a graph gives."""
    return CHANNELS + operator


def operator_of(axis: str) -> str:
    """The matrix or convolution whose channels an axis indexes."""
    return axis.removeprefix(CHANNELS)


def is_channels(axis: str) -> bool:
    """Whether an axis is one of what a matrix or convolution of a graph gives."""
    return axis.startswith(CHANNELS)


def components_of(axis: str) -> str:
    """What the components of an axis of a graph are called: units or channels."""
    return "channels" if is_channels(axis) else "units"


def layer_of(axis: str) -> str:
    """The layer whose units an axis indexes; for any other axis, its own name."""
    return axis.removeprefix(UNITS)


def rank_of_input(layer: str) -> str:
    """The name of the axis of the narrow layer before a recurrent layer's input."""
    return f"{RANK}{layer}.input"


def rank_of_operator(name: str) -> str:
    """The name of the axis of the narrow layer before the input of a graph's operator."""
    return f"{OPERATOR}{name}"


def rank_of_recurrence(layer: str) -> str:
    """The name of the axis of the narrow layer before a recurrent layer's own read-back."""
    return f"{RANK}{layer}{_RECURRENT}"


def units_of_recurrence(axis: str) -> str | None:
    """The axis of the units whose recurrence an axis is the rank of; None for any other axis."""
    layer = axis.removeprefix(RANK).removesuffix(_RECURRENT)
    return units_of(layer) if axis == rank_of_recurrence(layer) else None


def rank_of_block(block: int) -> str:
    """The name of the axis of the narrow layer before a block of the softmax, counted from 0."""
    return f"{RANK}softmax{block}"


def is_rank(axis: str) -> bool:
    """Whether an axis is the width of a narrow layer."""
    return axis.startswith(RANK)
