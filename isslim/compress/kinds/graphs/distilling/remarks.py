"""What the report says of a distillation: what was won, and whether recordings were lacking."""

from __future__ import annotations

import math

from isslim.compress.pruning.moments import ENOUGH_ROWS, ActivationStatistics

CLEARLY = 1.15
"""How many times as much of the change is left on recordings that were held back, where it is told
that more recordings would help."""


def recordings_needed(observed: ActivationStatistics, recordings: int) -> str | None:
    """A line on how many recordings would do for a graph's units.

    Args:
        observed: the moments of what every site reads, over all recordings that are not held out.
        recordings: their number.

    Returns:
        None where there are enough.
    """
    wanted = max(
        (ENOUGH_ROWS * len(each.mean) / max(each.count, 1) for each in observed.moments.values()),
        default=0.0,
    )
    if wanted <= 1:
        return None
    return (
        f"the recordings are too few for the graph's units: {math.ceil(wanted * recordings):,} "
        f"like the {recordings:,} that are fitted to would do, beside those that are held out"
    )


def remark(before: tuple[float, float], after: tuple[float, float], recordings: str) -> str | None:
    """A line on what was learnt.

    Args:
        before: the change of outputs in closed form, on recordings that were learnt from and on
            those that were held back.
        after: the same after distillation.
        recordings: number of those that were learnt from, in words.

    Returns:
        None where nothing was won.
    """
    if not (0 < after[1] < before[1] and before[0] > 0):
        return None
    won = (
        f"distillation brought the change of outputs from {before[1]:.1%} to {after[1]:.1%} on "
        f"recordings that were held back, and from {before[0]:.1%} to {after[0]:.1%} on those that "
        f"it learnt from ({recordings})"
    )
    left, left_known = after[1] / before[1], after[0] / before[0]
    if left <= CLEARLY * left_known:
        return f"{won}: more recordings would give little"
    return (
        f"{won}: recordings are what is lacking. With many more the change may come near what it "
        f"is on those that it learnt from, about {before[1] * left_known:.1%}"
    )
