"""Which variant to use: the fastest compressed one, as far as its measurements can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from isslim.types.manifest import VariantRecord

Record = TypeVar("Record", bound=VariantRecord)


def recommended(variants: Sequence[Record]) -> Record | None:
    """The smallest file among the compressed variants that no other one is surely faster than.

    These are the ones whose interval, at the primary shape, overlaps that of the fastest. Where one
    of the variants was not measured steadily, none is surely faster than another. Of files of one
    size it is the last.

    Args:
        variants: of one bundle.

    Returns:
        None where no compressed variant is among them.
    """
    pruned = [variant for variant in variants if variant.name.startswith("compressed")]
    if not pruned:
        return None
    speeds = [(each, each.primary_latency.over_original) for each in pruned if each.latency]
    steady = [(each, speed) for each, speed in speeds if speed is not None]
    if len(steady) == len(pruned):
        fastest = max((speed for _, speed in steady), key=lambda speed: speed.median)
        pruned = [each for each, speed in steady if speed.high >= fastest.low]
    return min(reversed(pruned), key=lambda variant: variant.size_bytes)
