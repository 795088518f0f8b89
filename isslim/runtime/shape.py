"""At which shape a model is timed."""

from __future__ import annotations

from typing import Literal, NamedTuple

from isslim.types.manifest import PRIMARY_SHAPE

Which = Literal["median", "smallest", "largest"]
"""Of the recorded runs, by the number of entries of all inputs; the first is what is spoken of."""


class Shape(NamedTuple):
    """What one timed run is to be.

    Attributes:
        steps: tokens of each sequence; None: the task's usual number, or as recorded.
        batch: sequences side by side; None: one, or as recorded.
        which: of a graph's recorded runs.
    """

    steps: int | None = None
    batch: int | None = None
    which: Which = "median"


def usual_size(shape: Shape) -> tuple[int, int]:
    """Steps and sequences of texts, the usual ones where none are asked for."""
    return shape.steps or PRIMARY_SHAPE[0], shape.batch or PRIMARY_SHAPE[1]
