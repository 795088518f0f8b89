"""Names of axes: one of recurrent units is `units:<layer>`, which sets it apart from all others."""

from __future__ import annotations

UNITS = "units:"
"""Prefix of the axes of recurrent units."""


def units_of(layer: str) -> str:
    """The name of the axis of a recurrent layer's units."""
    return UNITS + layer


def is_units(axis: str) -> bool:
    """Whether an axis is one of recurrent units."""
    return axis.startswith(UNITS)


def layer_of(axis: str) -> str:
    """The layer whose units an axis is; the axis itself where it is of something else."""
    return axis.removeprefix(UNITS)
