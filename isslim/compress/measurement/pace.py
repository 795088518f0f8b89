"""How fast a variant is beside another one, in words that its interval bears out."""

from __future__ import annotations

from isslim.types.manifest import LatencyRecord, Ratio

WORTH = 1.1
"""A gain of less is not worth another model."""
SURELY = 0.005
"""Ends of intervals nearer to 1 are printed as 1, so they are treated as 1."""
ALONE = "int8 alone"
ORIGINAL = "the original"
_ROUNDED = 3.0
"""Ratio from which one decimal is printed."""


def ratios(latency: LatencyRecord, *, beside_int8: bool) -> dict[str, Ratio] | None:
    """How many times as fast as each rival, by the rival's name; the original is the last.

    Args:
        latency: of the variant.
        beside_int8: whether int8 alone is a rival.

    Returns:
        None where that was not measured steadily.
    """
    whole, alone = latency.over_original, latency.over_int8
    if whole is None:
        return None
    return {**({ALONE: alone} if beside_int8 and alone is not None else {}), ORIGINAL: whole}


def paces(over: dict[str, Ratio]) -> str:
    """How fast a variant is beside each rival, as one clause."""
    return " and ".join(pace(ratio, rival) for rival, ratio in over.items())


def gains(over: dict[str, Ratio]) -> bool:
    """Whether a variant is surely faster than every rival, and by enough to be worth it."""
    return all(each.low > 1 + SURELY and each.median >= WORTH for each in over.values())


def pace(ratio: Ratio, rival: str) -> str:
    """How fast a variant is beside a rival; no figure above 1 where it is not surely faster.

    Args:
        ratio: the rival's time / its own.
        rival: whose.
    """
    if ratio.low > 1 + SURELY:
        return f"is {_times(ratio.median)}x ({_within(ratio)}) as fast as {rival}"
    if ratio.high < 1 - SURELY:
        longer = f"{_times(1 / ratio.high)} to {_times(1 / ratio.low)}"
        return (
            f"is slower than {rival}: it takes {_times(1 / ratio.median)} times as long ({longer})"
        )
    if ratio.low > 1 / WORTH and ratio.high < WORTH:
        return f"is about as fast as {rival} ({_within(ratio)} times)"
    return f"is not surely faster than {rival} (between {_within(ratio)} times as fast)"


def _within(ratio: Ratio) -> str:
    """An interval with as many digits as its median."""
    digits = 1 if ratio.median >= _ROUNDED else 2
    return f"{ratio.low:.{digits}f} to {ratio.high:.{digits}f}"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= _ROUNDED else f"{ratio:.2f}"
