"""The card's sections on the candidates tried and on learning, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isslim.card.markdown import escaped, table
from isslim.types.estimates import Estimate, counted
from isslim.types.kinds.metric_format import MetricFormat
from isslim.types.kinds.registry import kind_named, metric_format_of
from isslim.types.manifest import CurvePoint, Manifest, Sized
from isslim.types.report import Report
from isslim.types.wording import axis_name, directions_read

_SURELY = (
    "Of those that surely reach the budget (by the lower end of the interval) the largest was "
    "chosen"
)


@dataclass(frozen=True)
class CurveCells:
    """The cells of one model on the trade-off curve, in card and terminal.

    Attributes:
        removed: removed share of what is prunable.
        parameters: how many are left.
        mult_adds: how many are left.
        value: of the metric.
        change: of the metric against the original.
        interval: of the change; empty if none can be given.
    """

    removed: str
    parameters: str
    mult_adds: str
    value: str
    change: str
    interval: str


def curve_cells(point: CurvePoint, scale: MetricFormat | None) -> CurveCells:
    """The cells of one model.

    Args:
        point: on the curve.
        scale: of the metric of its loss; None if it is not known, and figures have no unit.
    """
    if scale is None:
        return CurveCells(
            f"{point.removed_share:.0%}",
            f"{point.parameters:,}",
            f"{point.mult_adds:,}",
            f"{point.value:.4g}",
            plain_change(point.loss, point.estimate),
            "",
        )
    return CurveCells(
        f"{point.removed_share:.0%}",
        f"{point.parameters:,}",
        f"{point.mult_adds:,}",
        scale.value(point.value),
        scale.change(point.loss),
        "" if point.estimate is None else scale.interval(point.estimate),
    )


def plain_change(loss: float, estimate: Estimate | None) -> str:
    """A loss in an unknown metric, in that metric's own unit: a share, or points of F1.

    Args:
        loss: against the original.
        estimate: its interval; None if none can be given.
    """
    change = f"{abs(loss):.3g} {'better' if loss < 0 else 'worse'}"
    if estimate is None:
        return change
    return f"{change} (95 %: {estimate.low:+.3g} to {estimate.high:+.3g}, {counted(estimate)})"


def curve_section(manifest: Manifest, report: Report) -> str:
    """The candidates tried, the chosen point in bold.

    Args:
        manifest: of the bundle.
        report: with the curve.
    """
    cautions = [f"{each[0].upper()}{each[1:]}." for each in report.cautions]
    paragraphs = "\n\n".join(
        [*_allocation(manifest, report), _reading(manifest, report), *cautions]
    )
    curve = _curve_table(manifest, report)
    picture = f"![{_alternative(manifest, report)}](curve.svg)"
    return f"## The trade-off\n\n{picture}\n\n{curve}\n\n{paragraphs}"


def _allocation(manifest: Manifest, report: Report) -> list[str]:
    """How the sizes were chosen, and what each axis was found to lose alone; empty if not noted."""
    found = report.allocation
    if found is None:
        return []
    losses: dict[str, list[str]] = {}
    for probe in found.probes:
        losses.setdefault(axis_name(probe.axis), []).append(f"{probe.size:,}: {probe.loss:+.4f}")
    text = f"{found.reason[0].upper()}{found.reason[1:].removesuffix('.')}."
    if not losses:
        return [text]
    rows = [[name, "; ".join(cells)] for name, cells in losses.items()]
    probes = table(["cut alone", f"size: {kind_named(manifest.task).probed}"], rows)
    return [text, probes]


def _alternative(manifest: Manifest, report: Report) -> str:
    """The picture in words, for those who do not see it."""
    scale = metric_format_of(manifest.metric)
    shown = [
        f"{point.removed_share:.0%} removed {scale.change(point.loss)}"
        f"{' (chosen)' if point.chosen else ''}"
        for point in report.curve
    ]
    return escaped(f"Curve of {scale.change_name} over parameters: {'; '.join(shown)}")


def _curve_table(manifest: Manifest, report: Report) -> str:
    scale, original = metric_format_of(manifest.metric), manifest.variants[0]
    timed = any(point.speedup is not None for point in report.curve)
    # A narrow layer is an axis that only some of the candidates have.
    axes = list(dict.fromkeys(axis for each in (original, *report.curve) for axis in each.sizes))
    sampled = next((point.estimate for point in report.curve if point.estimate is not None), None)
    rows = [_tried(point, axes, scale, timed, sampled is not None) for point in report.curve]
    if report.curve:
        # Where there was no narrow layer, all directions were read.
        read = {axis: directions_read(axis, original.sizes) or "-" for axis in axes}
        sizes = [str(original.sizes.get(axis, read[axis])) for axis in axes]
        sizes += [f"{original.parameters:,}", f"{original.mult_adds:,}"]
        rows.insert(0, ["0% (original)", *sizes, scale.value(report.original_value), ""])
        rows[0] += ["", *([""] if sampled else []), *(["1.00x"] if timed else [])]
    head = ["removed", *map(axis_name, axes), "parameters", "multiply-adds", scale.name]
    head += [scale.change_name, *([f"95 % interval, {counted(sampled)}"] if sampled else [])]
    return table([*head, "within budget", *(["speed-up"] if timed else [])], rows)


def _sizes(model: Sized, axes: Sequence[str]) -> list[str]:
    return [str(model.sizes.get(axis, "-")) for axis in axes]


def _tried(
    point: CurvePoint, axes: Sequence[str], scale: MetricFormat, timed: bool, sampled: bool
) -> list[str]:
    """A row of the trade-off, in bold for the chosen point."""
    cells = curve_cells(point, scale)
    row = [cells.removed + (" (chosen)" if point.chosen else ""), *_sizes(point, axes)]
    row += [cells.parameters, cells.mult_adds, cells.value, cells.change]
    row += [cells.interval] if sampled else []
    row.append("yes" if point.within_budget else "no")
    if timed:
        row.append("" if point.speedup is None else f"{point.speedup:.2f}x")
    return [f"**{cell}**" for cell in row] if point.chosen else row


def _reading(manifest: Manifest, report: Report) -> str:
    """How to read the trade-off, and why its figures are not those of the variants."""
    budget, note = manifest.recipe.budget, kind_named(manifest.task).estimate_note
    text = f"{_removed(manifest, report)} "
    if note is None:
        return text + _measured(manifest, report)
    text += _estimated(manifest, report, note)
    return f"{text}. {_SURELY}." if budget.speedup is not None else f"{text}."


def _removed(manifest: Manifest, report: Report) -> str:
    """What the share of what is removed is a share of."""
    budget, found = manifest.recipe.budget, report.allocation
    if manifest.recipe.mode == "learn":
        return "*Removed* is the mean of the shares of parameters and multiply-adds that are gone."
    text = "*Removed* is the share of the possible saving, which is that of removing "
    if found is not None:
        what = _SAVED[found.basis]
        return f"{text}as much as possible of every layer. What is saved is {what}."
    shares = "parameters and multiply-adds, each relative to the original's"
    if budget.quality is None:
        shares = "parameters" if budget.size_ratio is not None else "multiply-adds"
    return (
        f"{text}every removable unit. A unit saves what it costs in the full-size model, in "
        f"{shares}."
    )


_SAVED = {
    "time": "time by the latency curve and, at a tenth of the weight, parameters",
    "multiply-adds": "multiply-adds and, at a tenth of the weight, parameters",
    "parameters": "parameters",
}
"""By what sizes were chosen by."""


def _estimated(manifest: Manifest, report: Report, note: str) -> str:
    """How the search's quick estimate relates to the published figures."""
    scale = metric_format_of(manifest.metric)
    when = "after its round of learning" if _learned(manifest) else "before any distillation"
    text = f"The {scale.name} here is the search's quick estimate, {when}{note}"
    return text + _of_chosen(manifest, report)


def _learned(manifest: Manifest) -> bool:
    return manifest.recipe.mode == "learn"


def _of_chosen(manifest: Manifest, report: Report) -> str:
    """The chosen model's value here and there, and whether it is within the budget here."""
    tuned = manifest.provenance.finetune is not None
    scale, compressed = metric_format_of(manifest.metric), manifest.variant("compressed")
    chosen = next((point for point in report.curve if point.chosen), None)
    if chosen is None or compressed is None:
        return ""
    text = (
        f"; so the chosen model has {scale.value(chosen.value)} here and "
        f"{scale.value(compressed.metrics[manifest.metric])} there"
        f"{', after distillation' if tuned else ''}"
    )
    if chosen.within_budget:
        return text
    if tuned or _learned(manifest):
        return (
            f"{text}. It lies outside the budget here: the search was allowed more, because "
            "distillation wins some back"
        )
    return (
        f"{text}. It lies outside the budget here and inside it there, and what is measured there "
        "counts"
    )


def _measured(manifest: Manifest, report: Report) -> str:
    """For candidates that are measured as the variants are, so that there is no estimate."""
    budget, scale = manifest.recipe.budget, metric_format_of(manifest.metric)
    text = f"The {scale.name} is measured as that of the variants is"
    if manifest.provenance.evaluation is not None and budget.quality is None:
        text += (
            "; the evaluation was asked of none but the chosen candidate, since the budget is not "
            "about quality"
        )
    if manifest.provenance.finetune is not None:
        text += f", before any distillation{_of_chosen(manifest, report)}"
    return f"{text}. {_SURELY}." if budget.speedup is not None else f"{text}."


def learning_sections(manifest: Manifest, report: Report) -> list[str]:
    """Cost and remaining components of every epoch; nothing where nothing was trained.

    Args:
        manifest: of the bundle.
        report: with the epochs.
    """
    if not report.epochs:
        return []
    rows = [
        [
            f"{each.round}",
            ", ".join(f"{axis_name(axis)} {size}" for axis, size in each.units.items()),
            f"{each.steps:,}",
            f"{each.seconds:.1f}",
            f"{1000 * each.seconds / each.steps:.0f}",
            f"{each.training_value:.2f}",
            f"{each.held_out_value:.2f}",
        ]
        for each in report.epochs
    ]  # fmt: skip
    trained = kind_named(manifest.task).training_value
    held_out = metric_format_of(manifest.metric).name
    head = [
        "round",
        "units",
        "steps",
        "seconds",
        "ms a step",
        f"training {trained}",
        f"held-out {held_out}",
    ]
    return [
        f"## The learning\n\n{table(head, rows)}\n\nThe network shrinks while it learns: a step "
        f"costs less as units go. Training {trained} is under dropout, held-out {held_out} the "
        "quick estimate."
    ]
