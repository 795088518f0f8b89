"""Reservations about a verdict: sentences on what the figures do not show."""

from __future__ import annotations

from collections.abc import Sequence

from isslim.compress.contract import Origin
from isslim.types.quality import MetricFormat
from isslim.types.states import StatesRecord
from isslim.types.wording import QUALITY_UNKNOWN

SHOWN = 3
"""Of what was left out."""


def reservations(
    origin: Origin,
    scale: MetricFormat,
    states: StatesRecord | None,
    *,
    evaluated: bool,
    limit: float | None = None,
) -> list[str]:
    """Clauses to append to a verdict, the most serious first.

    Args:
        origin: of the data.
        scale: of the losses.
        states: of the recommended variant; None: it gives none back, or there is no such variant.
        evaluated: whether the operator's evaluation command measured the quality.
        limit: of a budget of quality.
    """
    found = []
    if origin.not_evaluated is not None:
        found.append(f"{QUALITY_UNKNOWN}: {origin.not_evaluated}")
    if origin.random:
        found.append(
            "calibrated and timed on random inputs"
            if evaluated
            else "calibrated, evaluated and timed on random inputs"
        )
    found += origin.warnings
    if states is not None:
        found += describe_states(states, scale, limit)
    if origin.left_out:
        count, lines = len(origin.left_out), "; ".join(origin.left_out[:SHOWN])
        found.append(f"not used: {lines}{f' and {count - SHOWN} more' if count > SHOWN else ''}")
    return found


def describe_states(
    states: StatesRecord, scale: MetricFormat, limit: float | None = None
) -> list[str]:
    """What a caller should know about the states that a compressed graph returns.

    Args:
        states: how they compare with the original's.
        scale: of the losses.
        limit: of a budget of quality, which a stream of states is compared with.
    """
    found = []
    if states.returned:
        offs = ", ".join(f"{name} by {change:.1%}" for name, change in states.returned.items())
        one = len(states.returned) == 1
        description, them = ("the state {} is", "it") if one else ("the states {} are", "them")
        found.append(
            f"{description.format(_listed(list(states.returned)))} returned with the removed "
            f"units at zero (off: {offs}): a caller that "
            f"does more with {them} than pass {them} back gets other numbers"
        )
    if states.stream is not None:
        stream = states.stream
        beyond = limit is not None and max(stream.loss, stream.end_loss) > limit
        found.append(
            f"over a stream of {stream.runs} runs that continue from their own states, the "
            f"{scale.loss_name} is "
            f"{scale.loss(stream.loss).removeprefix('+')}, and "
            f"{scale.loss(stream.end_loss).removeprefix('+')} over its last runs"
            f"{', which is more than the budget allows' if beyond else ''}"
        )
    return found


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
