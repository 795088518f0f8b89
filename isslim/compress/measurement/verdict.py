"""The verdict on a compression: whether it is worth using, and a sentence on each figure.

Pruning has two alternatives: the unchanged original, and int8 alone, which costs only its loss of
quality; int8 alone does not count where it exceeds the budget. A gain is one over both. Nothing is
called faster unless the lower end of the interval says so, and every figure of speed and of quality
stands with its interval. What was not measured steadily is given no figure.
"""

from __future__ import annotations

from isslim.compress.measurement import alternatives
from isslim.compress.measurement.evidence import Evidence
from isslim.compress.measurement.pace import (
    ALONE,
    ORIGINAL,
    SURELY,
    WORTH,
    gains,
    pace,
    paces,
    ratios,
)
from isslim.types.manifest import LatencyRecord, VariantRecord
from isslim.types.quality import MetricFormat
from isslim.types.report import Conclusions
from isslim.types.wording import file_size


def conclude(best: VariantRecord | None, found: Evidence) -> Conclusions:
    """The conclusions from the measured variants.

    Args:
        best: the compressed variant that is recommended; None where none keeps to the budget.
        found: what was measured.
    """
    by_name = {variant.name: variant for variant in found.variants}
    original, alone = by_name["original"], by_name.get("original-int8")
    reservations = list(map(_sentence, found.reservations))
    broken = alone is not None and found.breaks(alone)
    rival = None if broken else alone
    if best is None:
        return Conclusions(
            worth=False,
            advice="Not worth pruning: no compressed variant keeps to the budget.",
            instead=alternatives.int8_alone(rival, found),
            reservations=reservations,
        )
    size = min([original, *([rival] if rival else [])], key=lambda each: each.size_bytes)
    smaller = size.size_bytes >= WORTH * best.size_bytes
    over = ratios(best.primary_latency, beside_int8=rival is not None)
    much = over is not None and gains(over)
    worth = much or smaller
    counts = ORIGINAL if rival is None else ALONE
    return Conclusions(
        variant=best.name,
        worth=worth,
        rival="original" if rival is None or _is_slower(rival) else "original-int8",
        faster=None if over is None else min(each.low for each in over.values()) > 1 + SURELY,
        smaller=smaller,
        advice=_advice(
            counts,
            over is not None and min(each.high for each in over.values()) < 1 - SURELY,
            much,
            smaller,
            steady=over is not None,
            beside=(
                f"{'no' if best.size_bytes >= size.size_bytes else 'barely'} smaller than that of "
                f"{ORIGINAL if size is original else ALONE}"
            ),
        ),
        speed=_speed(best, rival, found) + _no_rival(alone, found),
        further=_further(best, rival, found),
        size=_size(best, original, rival),
        quality=_quality(best, rival, found.scale) if found.evaluated else _NOT_EVALUATED,
        sizes=_sentence(found.sizes) if found.sizes else "",
        instead=[] if worth else alternatives.instead(best, rival, found),
        reservations=reservations,
    )


_NOT_EVALUATED = (
    "No figure of quality is given, since calibration needed all the data that was sent."
)


def _is_slower(rival: VariantRecord) -> bool:
    """Whether int8 alone is surely slower than the original, which is then the one to beat."""
    over = rival.primary_latency.over_original
    return over is not None and over.high < 1 - SURELY


def _no_rival(alone: VariantRecord | None, found: Evidence) -> str:
    """Why not int8 alone but the original is the one to beat; empty where int8 alone is."""
    if alone is None:
        return " There is no int8 form of the original, so the original is the one to beat."
    if found.breaks(alone):
        return (
            f" Int8 alone breaks the budget ({found.scale.change(alone.loss)}), so it is no "
            "alternative."
        )
    over = alone.primary_latency.over_original
    if over is None or not _is_slower(alone):
        return ""
    return f" Int8 alone {pace(over, ORIGINAL)}, so the original is the one to beat."


def _advice(
    rival: str, slower: bool, faster: bool, smaller: bool, *, steady: bool, beside: str
) -> str:
    """Whether to use it, in a sentence that the figures bear out.

    Args:
        rival: what it is compared with beside the original.
        slower: surely than one of both.
        faster: by enough.
        smaller: by enough.
        steady: whether its speed is known.
        beside: how large its file is beside the smallest other one.
    """
    if faster:
        return (
            f"Worth pruning, for speed and for size: it gains both over {rival}."
            if smaller
            else f"Worth pruning for speed, not for size: its file is {beside}."
        )
    if smaller and not steady:
        return "Worth pruning for size; whether it is faster could not be measured."
    if smaller:
        return (
            "Worth pruning for size, not for speed: it is "
            f"{'slower' if slower else 'not much faster'}."
        )
    beyond = "" if rival == ORIGINAL else f" beyond {ALONE}"
    if not steady:
        return (
            f"Not known to be worth pruning{beyond}: its file is {beside}, and its speed "
            "could not be measured."
        )
    if slower:
        return f"Not worth pruning{beyond}, because it is slower, and its file is {beside}."
    over = "" if rival == ORIGINAL else f" over the better of that and {ORIGINAL}"
    return (
        f"Not worth pruning{beyond}, because it gains less than a tenth in speed and in size{over}."
    )


def _speed(best: VariantRecord, rival: VariantRecord | None, found: Evidence) -> str:
    latency = best.primary_latency
    threads = "one thread" if latency.threads == 1 else f"{latency.threads} threads"
    on = f"for {found.label(latency)} on {threads}"
    over = ratios(latency, beside_int8=rival is not None)
    if over is None:
        return (
            f"The speed of {best.name} was not measured steadily ({on}): the host was busy with "
            "other work, so no figure is "
            "given. Measure it again on a quiet host."
        )
    return f"{best.name} {paces(over)}, {on}{_clock(latency)}."


def _further(best: VariantRecord, rival: VariantRecord | None, found: Evidence) -> list[str]:
    """A sentence for each latency but the primary one."""
    sentences = []
    for latency in best.latency:
        if latency is best.primary_latency:
            continue
        over = ratios(latency, beside_int8=rival is not None)
        description = (
            "its speed was not measured steadily"
            if over is None
            else f"it {paces(over)}{_clock(latency)}"
        )
        sentences.append(f"For {found.label(latency)} {description}.")
    return sentences


def _clock(latency: LatencyRecord) -> str:
    return ", by CPU time, because the host was busy" if latency.basis == "cpu" else ""


def _size(best: VariantRecord, original: VariantRecord, rival: VariantRecord | None) -> str:
    description = [_smaller(best, original, ORIGINAL)]
    description += [] if rival is None else [_smaller(best, rival, ALONE)]
    return f"Its file is {file_size(best.size_bytes)}: {', '.join(description)}."


def _smaller(best: VariantRecord, other: VariantRecord, name: str) -> str:
    ratio = other.size_bytes / best.size_bytes
    if ratio >= WORTH:
        return f"{ratio:.1f}x smaller than {name}"
    if ratio <= 1 / WORTH:
        return f"{1 / ratio:.1f}x larger than {name}"
    percent = round(100 * abs(1 - 1 / ratio))
    return (
        f"{percent} % {'smaller' if ratio > 1 else 'larger'} than {name}"
        if percent
        else f"as large as {name}"
    )


def _quality(best: VariantRecord, rival: VariantRecord | None, scale: MetricFormat) -> str:
    description = scale.verdict(best.loss)
    if best.estimate is not None:
        description += f" ({scale.sample(best.estimate)} that nothing was fitted to)"
    if rival is not None:
        description += f"; {ALONE}: {scale.with_interval(rival.loss, rival.estimate)}"
    return f"{description[0].upper()}{description[1:]}."


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:].rstrip('.')}."
