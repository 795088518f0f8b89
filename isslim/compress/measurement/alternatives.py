"""What would be worth it where pruning is not, by figures that were measured in the same job."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isslim.compress.measurement.evidence import Evidence
from isslim.compress.measurement.pace import WORTH, gains, paces, ratios
from isslim.types.manifest import CurvePoint, VariantRecord

LESS = 0.8
"""Share of the multiply-adds: with fewer, a model should take less time."""
_NOTHING = "Nothing that was measured here gains a tenth in speed or in size."


def instead(best: VariantRecord, rival: VariantRecord | None, found: Evidence) -> list[str]:
    """Sentences on what would be worth it; one that says so where nothing would be.

    Args:
        best: the compressed variant that is recommended, and not worth it.
        rival: int8 alone; None where it is no alternative.
        found: what was measured.
    """
    worth = [*int8_alone(rival, found), *_elsewhere(best, rival, found)]
    return [*_idle(best, found), *(worth or [_NOTHING]), *_bolder(best, found)]


def _idle(best: VariantRecord, found: Evidence) -> list[str]:
    """That a run of such a model has little to save, where fewer multiply-adds saved no time."""
    original, latency = found.variants[0], best.primary_latency
    over = ratios(latency, beside_int8=False)
    if over is None or gains(over) or best.mult_adds >= LESS * original.mult_adds:
        return []
    share = best.mult_adds / original.mult_adds
    return [
        f"{best.name} has {share:.2f} of the original's multiply-adds "
        f"({best.mult_adds:,} of {original.mult_adds:,}), which saves no tenth of the time: "
        f"{found.label(latency)} takes {_milliseconds(latency.milliseconds)}, the original "
        f"{_milliseconds(original.primary_latency.milliseconds)}."
    ]


def int8_alone(rival: VariantRecord | None, found: Evidence) -> list[str]:
    """What int8 alone gains over the original, with nothing removed.

    Args:
        rival: int8 alone; None where it is no alternative.
        found: what was measured.
    """
    if rival is None:
        return []
    original, latency = found.variants[0], rival.primary_latency
    clauses, over = [], ratios(latency, beside_int8=False)
    if over is not None and gains(over):
        clauses.append(f"{paces(over)}, for {found.label(latency)},")
    if original.size_bytes >= WORTH * rival.size_bytes:
        clauses.append(f"has a file {original.size_bytes / rival.size_bytes:.1f}x smaller")
    if not clauses:
        return []
    loss = found.scale.with_interval(rival.loss, rival.estimate)
    quality = f" ({found.scale.change_name}: {loss})" if found.evaluated else ""
    gained = " and ".join(clauses).removesuffix(",")
    return [f"Int8 alone {gained}, with nothing removed{quality}: take original-int8."]


def _elsewhere(best: VariantRecord, rival: VariantRecord | None, found: Evidence) -> Iterator[str]:
    """Other latencies at which a compressed variant is faster than both by enough."""
    compressed = [each for each in found.variants if each.name.startswith("compressed")]
    for index, latency in enumerate(best.latency):
        if latency is best.primary_latency:
            continue
        for variant in sorted(compressed, key=lambda each: each is not best):
            record = variant.latency[index]
            over = ratios(record, beside_int8=rival is not None)
            if over is not None and gains(over):
                run = found.label(record)
                yield f"For {run} it is worth it: {variant.name} {paces(over)}."
                break


def _bolder(best: VariantRecord, found: Evidence) -> list[str]:
    """The mildest candidate of the search with much less work than what was published."""
    original = found.variants[0]
    less = [each for each in found.curve if _is_bolder(each, best)]
    if not less or not found.evaluated:
        return []
    point = min(less, key=lambda each: each.loss)
    sure = "" if point.estimate is None else f" ({found.scale.sample(point.estimate)})"
    return [
        f"The search also tried {point.mult_adds / original.mult_adds:.2f} of the original's "
        f"multiply-adds, where {best.name} has {best.mult_adds / original.mult_adds:.2f}, "
        f"{found.scale.in_sentence(point.loss)}{sure} by its quick estimate: a budget that allows "
        "it may be worth it."
    ]


def _is_bolder(point: CurvePoint, best: VariantRecord) -> bool:
    return (
        not point.chosen and math.isfinite(point.loss) and point.mult_adds < LESS * best.mult_adds
    )


def _milliseconds(time: float) -> str:
    return f"{time:.{2 if time >= 1 else 3}f} ms"
