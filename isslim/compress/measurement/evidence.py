"""What a verdict is concluded from: the published variants, and what the search tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from isslim.types.manifest import CurvePoint, LatencyRecord, VariantRecord
from isslim.types.quality import MetricFormat


@dataclass(frozen=True)
class Evidence:
    """What a verdict is concluded from.

    Attributes:
        variants: all that is published; the original among them.
        scale: of the losses.
        label: describes the run of a latency, such as `one text of 30 tokens`.
        breaks: whether a variant breaks the budget of quality, asked of int8 alone.
        evaluated: whether losses were measured on held-out data; otherwise none is reported.
        curve: the candidates of the search.
        sizes: how the sizes were chosen, a clause; empty: by the closed form's own costs.
        reservations: what the figures do not show, the most serious first.
    """

    variants: Sequence[VariantRecord]
    scale: MetricFormat
    label: Callable[[LatencyRecord], str]
    breaks: Callable[[VariantRecord], bool] = lambda _: False
    evaluated: bool = True
    curve: Sequence[CurvePoint] = ()
    sizes: str = ""
    reservations: Sequence[str] = ()
