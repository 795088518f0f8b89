"""The shape at which a model is timed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from isslim.types.manifest import PRIMARY_SHAPE
from isslim.types.recipe import Optimize

Which = Literal["median", "smallest", "largest"]
"""Which recorded run, by the number of entries of all inputs; the first is the default."""


class Shape(NamedTuple):
    """The requested shape of a timed run.

    Attributes:
        steps: tokens of each sequence; None for the task's usual number, or as recorded.
        batch: sequences in the batch; None for one, or as recorded.
        which: which of a graph's recorded runs.
    """

    steps: int | None = None
    batch: int | None = None
    which: Which = "median"


OPTIMIZED: Mapping[Optimize, Shape] = MappingProxyType(
    {
        "stream": Shape(1, 1),
        "sentence": Shape(*PRIMARY_SHAPE),
        "batch": Shape(30, 10),
        "size": Shape(*PRIMARY_SHAPE),
    }
)
"""The run whose time a recipe is about; one about size is timed as usual."""


def usual_size(shape: Shape) -> tuple[int, int]:
    """Steps and sequences of texts, the usual ones where none are requested."""
    return shape.steps or PRIMARY_SHAPE[0], shape.batch or PRIMARY_SHAPE[1]
