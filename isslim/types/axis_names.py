"""Names of axes: recurrent units are `units:<layer>`, which no other axis is."""

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
    """The layer whose units an axis indexes; for any other axis, its own name."""
    return axis.removeprefix(UNITS)
