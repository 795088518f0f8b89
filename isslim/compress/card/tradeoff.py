"""The card's picture of the trade-off: quality lost against time, a dot for each variant.

It is the page's picture (`isslim/service/web/charts.js`), of the same figures: lines are 95 %
intervals, the area of a dot is the size of its file, the budget is a line, and int8 alone is marked
as the baseline to beat. Its background is transparent and its greys read on light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from isslim.types.kinds.registry import kind_named, run_label
from isslim.types.manifest import Manifest, VariantRecord
from isslim.types.quality import metric_format_of
from isslim.types.recommendation import recommended
from isslim.types.wording import NOT_STEADY, file_size

INK, ORIGINAL, COMPRESSED = "#767b85", "#7d828c", "#1f78b4"
_COLOURS = {
    "original": ORIGINAL,
    "original-int8": "#c8641b",
    "compressed": COMPRESSED,
    "compressed-int8": "#8ec3e6",
}
STYLE: Any = {
    "svg.hashsalt": "isslim",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Of all pictures; the same data give the same bytes."""
CARD: Any = {
    **STYLE,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **{f"{axis}tick.{part}": INK for axis in "xy" for part in ("color", "labelcolor")},
}
"""Of the card's: texts stay texts, and greys read on light and dark."""
BASELINE = "int8 alone, the baseline to beat"
_HEIGHT, _LETTER, _BESIDE, _NEAR = 26.0, 4.6, 24.0, 12.0
"""Points: the height of a label, the width of a letter, between a dot and its label, and around a
dot where no label stands."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in points.

    Attributes:
        left: its left side.
        bottom: its lower side.
        right: its right side.
        top: its upper side.
    """

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether they have a part in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies within it."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


@dataclass(frozen=True)
class Place:
    """A variant in the picture.

    Attributes:
        variant: which one.
        time: of the primary run, ms.
        early: the time by the upper end of its ratio to the original; None: not steady.
        late: by the lower end.
        height: its loss, or file size, in the unit of the axis.
        low: lower end of the loss's interval; None: there is none.
        high: upper end.
    """

    variant: VariantRecord
    time: float
    early: float | None
    late: float | None
    height: float
    low: float | None
    high: float | None


def places_of(manifest: Manifest) -> list[Place]:
    """What is drawn of each variant that was timed."""
    original, scale = manifest.variants[0], metric_format_of(manifest.metric)
    whole, found = original.primary_latency.milliseconds, []
    for variant in manifest.variants:
        latency = variant.primary_latency
        ratio = None if variant is original else latency.over_original
        height, own = scale.factor * variant.loss, variant.estimate
        if manifest.provenance.not_evaluated is not None:
            height, own = variant.size_bytes / 1e6, None
        found.append(
            Place(
                variant,
                latency.milliseconds,
                whole / ratio.high if ratio else None,
                whole / ratio.low if ratio else None,
                height,
                scale.factor * own.low if own else None,
                scale.factor * own.high if own else None,
            )
        )
    return found


def plot_tradeoff(manifest: Manifest, path: Path, verdict: str) -> None:
    """Quality lost against the time of one run, of every variant.

    Where quality was not evaluated, the size of the file stands in its place.

    Args:
        manifest: of the bundle.
        path: the SVG to write.
        verdict: a sentence for those who do not see it.
    """
    primary = manifest.variants[0].primary_latency
    run = run_label(manifest.task, primary.steps, primary.batch, primary.run)
    evaluated = manifest.provenance.not_evaluated is None
    places = places_of(manifest)
    with mpl.rc_context(CARD):
        figure = Figure(figsize=(7.6, 4.4), layout="constrained")
        figure.patch.set_alpha(0.0)
        axes = figure.subplots()
        axes.patch.set_alpha(0.0)
        axes.set_xscale("log")
        for place in places:
            _draw(axes, place, manifest)
        _limits(axes, places, limit := _limit(manifest) if evaluated else None)
        if limit is not None:
            axes.axhline(limit, color=_COLOURS["original-int8"], linestyle="--", linewidth=1)
            axes.annotate(
                f"the budget: {limit:g}",
                (1.0, limit),
                xycoords=("axes fraction", "data"),
                xytext=(0, 4),
                textcoords="offset points",
                ha="right",
            )
        axes.set_xlabel(f"milliseconds, {run} (log scale)")
        scale = metric_format_of(manifest.metric)
        axes.set_ylabel(scale.axis if evaluated else "file (MB); quality was not evaluated")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        figure.draw_without_rendering()
        _label(axes, places, manifest)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    describe(path, f"{manifest.name}: {axes.get_ylabel()} against time", verdict)


def _limit(manifest: Manifest) -> float | None:
    """The budget of quality in the unit of the axis; None: it is of something else."""
    budget = manifest.recipe.budget
    if not budget.limits:
        budget = kind_named(manifest.task).default_budget
    limit = budget.quality
    return None if limit is None else metric_format_of(manifest.metric).factor * limit


def _draw(axes: Axes, place: Place, manifest: Manifest) -> None:
    colour = _COLOURS[place.variant.name]
    if place.early is not None and place.late is not None:
        axes.hlines(place.height, place.early, place.late, color=colour, linewidth=1.5)
    if place.low is not None and place.high is not None:
        axes.vlines(place.time, place.low, place.high, color=colour, linewidth=1.5)
    largest = max(each.size_bytes for each in manifest.variants)
    size = 30 + 420 * place.variant.size_bytes / largest
    is_baseline = place.variant.name == "original-int8"
    face = "none" if is_baseline else colour
    axes.scatter(
        [place.time], [place.height], s=size, facecolors=face, edgecolors=colour, linewidths=1.5
    )
    if place.variant is recommended(manifest.variants):
        ring: Any = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.2}
        axes.scatter([place.time], [place.height], s=size + 150, **ring)


def _limits(axes: Axes, places: Sequence[Place], limit: float | None) -> None:
    """Room around all that is drawn, labels included."""
    times = [each for p in places for each in (p.time, p.early, p.late) if each is not None]
    heights = [each for p in places for each in (p.height, p.low, p.high) if each is not None]
    heights += [0.0, *([] if limit is None else [limit])]
    axes.set_xlim(min(times) / 1.4, max(times) * 1.4)
    span = max(heights) - min(heights) or 1.0
    axes.set_ylim(min(heights) - 0.14 * span, max(heights) + 0.14 * span)


def _label(axes: Axes, places: Sequence[Place], manifest: Manifest) -> None:
    """Name and figures beside each dot, where they cover neither each other nor another dot."""
    points = 72.0 / axes.figure.dpi
    box = axes.get_window_extent()
    inner = Box(*(points * each for each in (box.x0, box.y0, box.x1, box.y1)))
    dots = [
        (float(x), float(y))
        for x, y in (points * axes.transData.transform((p.time, p.height)) for p in places)
    ]
    lines = [
        Box(x - 2, points * low - 2, x + 2, points * high + 2)
        for place, (x, _) in zip(places, dots, strict=True)
        if place.low is not None and place.high is not None
        for low, high in [axes.transData.transform([(1.0, place.low), (1.0, place.high)])[:, 1]]
    ]
    texts = [_in_words(place, manifest) for place in places]
    widths = [_LETTER * max(map(len, each)) for each in texts]
    found = arranged(dots, widths, inner, lines)
    for place, text, (x, y), (left, middle) in zip(places, texts, dots, found, strict=True):
        axes.annotate(
            "\n".join(text),
            (place.time, place.height),
            xytext=(left - x, middle - y),
            textcoords="offset points",
            ha="left" if left > x else "right",
            va="center",
            fontsize=8.5,
        )


def arranged(
    dots: Sequence[tuple[float, float]],
    widths: Sequence[float],
    inner: Box,
    lines: Sequence[Box] = (),
) -> list[tuple[float, float]]:
    """Where each label begins, and its middle, in points: beside its dot, or as near as may be.

    Args:
        dots: their centres.
        widths: of the labels.
        inner: where labels may stand.
        lines: where none may stand.

    Returns:
        The label's end that is towards its dot, and its middle.
    """
    taken = [*lines, *(Box(x - _NEAR, y - _NEAR, x + _NEAR, y + _NEAR) for x, y in dots)]
    found = []
    for (x, y), width in zip(dots, widths, strict=True):
        steps = sorted(range(-9, 10), key=lambda step: (abs(step), -step))
        sides = (1, -1) if x + width < inner.right else (-1, 1)
        choices = [(side, y + _HEIGHT / 2 * step) for step in steps for side in sides]
        boxes = [_box(x, middle, side * width) for side, middle in choices]
        free = [
            at
            for at, each in enumerate(boxes)
            if inner.holds(each) and not any(each.meets(other) for other in taken)
        ]
        side, middle = choices[free[0] if free else 0]
        taken.append(boxes[free[0] if free else 0])
        found.append((x + side * _BESIDE, middle))
    return found


def _box(x: float, middle: float, width: float) -> Box:
    """The box of a label to the right of x, or to its left where its width is negative."""
    near = x + (_BESIDE if width > 0 else -_BESIDE)
    left, right = sorted((near, near + width))
    return Box(left, middle - _HEIGHT / 2, right, middle + _HEIGHT / 2)


def _in_words(place: Place, manifest: Manifest) -> list[str]:
    variant, original = place.variant, manifest.variants[0]
    if variant is original:
        return ["original", f"{place.time:.3g} ms, {file_size(variant.size_bytes)}"]
    ratio = variant.primary_latency.over_original
    smaller = original.size_bytes / variant.size_bytes
    figures = [
        f"time {NOT_STEADY}" if ratio is None else f"{ratio.median:.1f}x",
        f"{smaller:.1f}x smaller" if smaller >= 1 else f"{1 / smaller:.1f}x larger",
    ]
    if manifest.provenance.not_evaluated is None:
        figures.append(metric_format_of(manifest.metric).change(variant.loss))
    name = BASELINE if variant.name == "original-int8" else variant.name
    return [name, ", ".join(figures)]


def describe(path: Path, title: str, verdict: str) -> None:
    """Adds what readers of screens say of a picture.

    Args:
        path: the SVG.
        title: of the picture.
        verdict: what it shows, in words.
    """
    text = path.read_text(encoding="utf-8")
    start = text.index(">", text.index("<svg ")) + 1
    words = f"\n <title>{escape(title)}</title>\n <desc>{escape(verdict)}</desc>"
    path.write_text(text[:start] + words + text[start:], encoding="utf-8")
