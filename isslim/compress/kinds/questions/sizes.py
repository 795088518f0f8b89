"""Parameters and multiply-adds of BiDAF by part, from the characters to the heads."""

from __future__ import annotations

import numpy as np

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.types.axis_names import units_of
from isslim.types.manifest import PartRecord

PARTS = (
    ("characters", ("characters.", "convolution.")),
    ("highways", ("highways.",)),
    ("contextual LSTM", ("contextual.",)),
    ("attention", ("attention.",)),
    ("modelling LSTM 1", ("modelling0.",)),
    ("modelling LSTM 2", ("modelling1.",)),
    ("output LSTM", ("output.",)),
    ("heads", ("start.", "end.")),
)
"""Name of each part, and prefixes of its arrays. Word vectors are not part of the network."""


def parts(declaration: NetworkAxes) -> list[PartRecord]:
    """Every part, in the order of the data flow. The width of the characters is the filters."""
    return [_part(declaration, name, prefixes) for name, prefixes in PARTS]


def _part(declaration: NetworkAxes, name: str, prefixes: tuple[str, ...]) -> PartRecord:
    own = [array for array in declaration.dimensions if array.startswith(prefixes)]
    read = {reader.parameter for site in declaration.sites for reader in site.readers}
    counted = {array: int(np.prod(axes.shape(declaration, array))) for array in own}
    directions = [
        size for axis, size in declaration.axes.items() if axis.startswith(units_of(prefixes[0]))
    ]
    rows = axes.shape(declaration, own[-1])[0]
    # Without units of its own a part is as wide as its outputs; the one score of attention or heads
    # is no width.
    width = sum(directions) if directions else rows if rows > 1 else 0
    return PartRecord(
        name=name,
        width=width,
        directions=directions,
        parameters=sum(counted.values()),
        mult_adds=sum(entries for array, entries in counted.items() if array in read),
    )
