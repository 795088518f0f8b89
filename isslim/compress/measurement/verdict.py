"""The verdict on a compression: whether it is worth using, and a sentence on each figure.

Pruning has two alternatives: the unchanged original, and int8 alone, which costs only its loss of
quality; int8 alone does not count where it exceeds the budget. A gain is one over both. Nothing is
called faster unless the lower end of the interval says so, and every figure of speed and of quality
stands with its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isslim.types.manifest import Ratio, VariantRecord
from isslim.types.quality import MetricFormat
from isslim.types.report import Conclusions
from isslim.types.wording import file_size

WORTH = 1.1
"""A gain of less is not worth another model."""
SURELY = 0.005
"""Ends of intervals nearer to 1 are printed as 1, so they are treated as 1."""

_ALONE = "int8 alone"
_ORIGINAL = "the original"


def conclude(  # noqa: PLR0913 - the figures, and how they are to be put
    best: VariantRecord | None,
    variants: Sequence[VariantRecord],
    scale: MetricFormat,
    run: str,
    *,
    breaks: Callable[[VariantRecord], bool] = lambda _: False,
    evaluated: bool = True,
    reservations: Sequence[str] = (),
) -> Conclusions:
    """The conclusions from the measured variants.

    Args:
        best: the compressed variant that is recommended; None where none keeps to the budget.
        variants: all that is published; the original among them.
        scale: of the losses.
        run: the run of the primary latency, in words.
        breaks: whether a variant breaks the budget of quality, asked of int8 alone.
        evaluated: whether losses were measured on held-out data; otherwise none is reported.
        reservations: what the figures do not show, the most serious first.
    """
    by_name = {variant.name: variant for variant in variants}
    original, alone = by_name["original"], by_name.get("original-int8")
    if best is None:
        return Conclusions(
            worth=False,
            advice="Not worth pruning: no compressed variant keeps to the budget.",
            reservations=list(map(_sentence, reservations)),
        )
    broken = _broken(alone, scale) if alone is not None and breaks(alone) else ""
    rival = None if broken else alone
    faster, size = (
        _faster(best, rival),
        min([original, *([rival] if rival else [])], key=lambda each: each.size_bytes),
    )
    smaller = size.size_bytes >= WORTH * best.size_bytes
    found = best.primary_latency
    much = faster is True and min(found.speedup, _against(best, rival).median) >= WORTH
    return Conclusions(
        variant=best.name,
        worth=much or smaller,
        faster=faster,
        smaller=smaller,
        advice=_advice(
            _ORIGINAL if rival is None else _ALONE,
            _slower(best, rival),
            much,
            smaller,
            steady=found.steady,
            beside=(
                f"{'no' if best.size_bytes >= size.size_bytes else 'barely'} smaller than that of "
                f"{_ORIGINAL if size is original else _ALONE}"
            ),
        ),
        speed=_speed(best, rival, run) + broken,
        size=_size(best, original, rival),
        quality=_quality(best, rival, scale) if evaluated else _NOT_EVALUATED,
        reservations=list(map(_sentence, reservations)),
    )


_NOT_EVALUATED = (
    "No figure of quality is given, since calibration needed all the data that was sent."
)


def _against(best: VariantRecord, rival: VariantRecord | None) -> Ratio:
    """How many times as fast as int8 alone, or as the original where int8 alone is no rival."""
    found = best.primary_latency
    if rival is None or found.against_int8 is None:
        return Ratio(median=found.speedup, low=found.speedup_low, high=found.speedup_high)
    return found.against_int8


def _faster(best: VariantRecord, rival: VariantRecord | None) -> bool | None:
    """Whether it is surely faster than every rival; None where that was not measured steadily."""
    found = best.primary_latency
    if not found.steady:
        return None
    return min(found.speedup_low, _against(best, rival).low) > 1 + SURELY


def _slower(best: VariantRecord, rival: VariantRecord | None) -> bool:
    """Whether it is surely slower than a rival."""
    found = best.primary_latency
    return found.steady and min(found.speedup_high, _against(best, rival).high) < 1 - SURELY


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
    beyond = "" if rival == _ORIGINAL else f" beyond {_ALONE}"
    if not steady:
        return (
            f"Not known to be worth pruning{beyond}: its file is {beside}, and its speed "
            "could not be measured."
        )
    if slower:
        return f"Not worth pruning{beyond}, because it is slower, and its file is {beside}."
    over = "" if rival == _ORIGINAL else f" over the better of that and {_ORIGINAL}"
    return (
        f"Not worth pruning{beyond}, because it gains less than a tenth in speed and in size{over}."
    )


def _speed(best: VariantRecord, rival: VariantRecord | None, run: str) -> str:
    found = best.primary_latency
    on = f"for {run} on {'one thread' if found.threads == 1 else f'{found.threads} threads'}"
    if not found.steady:
        return (
            f"The speed of {best.name} was not measured steadily ({on}): the host was busy with "
            "other work, so no figure is "
            "given. Measure it again on a quiet host."
        )
    clock = ", by CPU time, because the host was busy" if found.basis == "cpu" else ""
    whole = Ratio(median=found.speedup, low=found.speedup_low, high=found.speedup_high)
    description = (
        []
        if rival is None or found.against_int8 is None
        else [_pace(found.against_int8, _ALONE, share=True)]
    )
    description.append(_pace(whole, _ORIGINAL))
    return f"{best.name} {' and '.join(description)}, {on}{clock}."


def _pace(ratio: Ratio, rival: str, *, share: bool = False) -> str:
    """How fast it is beside a rival; no figure above 1 where it is not surely faster.

    Args:
        ratio: the rival's time / its own.
        rival: whose.
        share: also as a share of the rival's time.
    """
    if ratio.low > 1 + SURELY and share:
        times = (
            f"{_share(1 / ratio.high)} to {_share(1 / ratio.low)}; {_times(ratio.median)}x as fast"
        )
        return f"takes {_share(1 / ratio.median)} of {rival}'s time ({times})"
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


_ROUNDED = 3.0
"""Ratio from which one decimal is printed."""


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= _ROUNDED else f"{ratio:.2f}"


def _share(share: float) -> str:
    return f"{share:.2f}" if share >= 0.1 else f"{share:.2g}"


def _size(best: VariantRecord, original: VariantRecord, rival: VariantRecord | None) -> str:
    description = [_smaller(best, original, _ORIGINAL)]
    description += [] if rival is None else [_smaller(best, rival, _ALONE)]
    size = best.size_bytes
    written = file_size(size)
    return f"Its file is {written}: {', '.join(description)}."


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
        description += f"; {_ALONE}: {scale.with_interval(rival.loss, rival.estimate)}"
    return f"{description[0].upper()}{description[1:]}."


def _broken(alone: VariantRecord, scale: MetricFormat) -> str:
    return (
        f" {_ALONE[0].upper()}{_ALONE[1:]} breaks the budget ({scale.change(alone.loss)}), so "
        "it is no alternative."
    )


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:].rstrip('.')}."
