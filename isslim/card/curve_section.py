"""The card's sections on what was tried and what was learned on the way, and its tables."""

from __future__ import annotations

from collections.abc import Sequence

from isslim.card.markdown import table
from isslim.types.manifest import CurvePoint, Manifest, Sized, Task
from isslim.types.quality import MetricFormat, counted, metric_format_of
from isslim.types.report import Report
from isslim.types.wording import axis_name

_ESTIMATES: dict[Task, str] = {
    "language-model": ": over pieces spread over the held-out text, each begun after a few tokens that only set its "
    "state. That of the variants is the runtime's, over the whole text",
    "question-answering": ": PyTorch's, every context in one piece. That of the variants is the runtime's, which reads long "
    "contexts in windows",
}
_TRAINED: dict[Task, str] = {"question-answering": "loss in nats"}
"""What training tells where that is no perplexity."""
_SURELY = "Of those that surely reach the budget (by the lower end of the interval) the largest was chosen"


def curve_section(manifest: Manifest, report: Report) -> str:
    """What was tried on the way, the chosen point in bold."""
    scale, timed = (
        metric_format_of(manifest.metric),
        any(point.speedup is not None for point in report.curve),
    )
    original = manifest.variants[0]
    # A bottleneck is an axis that only some of the candidates have.
    sized = list(dict.fromkeys(axis for each in (original, *report.curve) for axis in each.sizes))
    sampled = next((point.estimate for point in report.curve if point.estimate is not None), None)
    rows = [_tried(point, sized, scale, timed, sampled is not None) for point in report.curve]
    if report.curve:
        sizes = [*_sizes(original, sized), f"{original.parameters:,}", f"{original.mult_adds:,}"]
        rows.insert(0, ["0% (original)", *sizes, scale.value(report.original_value), ""])
        rows[0] += ["", *([""] if sampled else [])]
        rows[0] += ["1.00x"] if timed else []
    head = ["removed", *(axis_name(axis) for axis in sized), "parameters", "multiply-adds"]
    head += [
        scale.name,
        scale.change_name,
        *([f"95 % interval, {counted(sampled)}"] if sampled else []),
    ]
    head += ["within budget", *(["speed-up"] * timed)]
    return (
        f"## The trade-off\n\n![trade-off curve](curve.svg)\n\n{table(head, rows)}\n\n"
        + "\n\n".join(
            [
                _reading(manifest, report),
                *(f"{each[0].upper()}{each[1:]}." for each in report.cautions),
            ]
        )
    )


def _sizes(model: Sized, axes: Sequence[str]) -> list[str]:
    return [str(model.sizes.get(axis, "-")) for axis in axes]


def _tried(
    point: CurvePoint, axes: Sequence[str], scale: MetricFormat, timed: bool, sampled: bool
) -> list[str]:
    """A row of the trade-off, in bold for the chosen point."""
    row = [
        f"{point.removed_share:.0%}" + (" (chosen)" if point.chosen else ""),
        *_sizes(point, axes),
        f"{point.parameters:,}",
        f"{point.mult_adds:,}",
        scale.value(point.value),
        scale.change(point.loss),
        *(["" if point.estimate is None else scale.interval(point.estimate)] if sampled else []),
        "yes" if point.within_budget else "no",
    ]
    if timed:
        row.append("" if point.speedup is None else f"{point.speedup:.2f}x")
    return [f"**{cell}**" for cell in row] if point.chosen else row


def _reading(manifest: Manifest, report: Report) -> str:
    """How the trade-off is to be read, and why its perplexities are not those of the variants."""
    budget, tuned = manifest.recipe.budget, manifest.provenance.finetune is not None
    scale = metric_format_of(manifest.metric)
    when = (
        "after its round of learning"
        if manifest.recipe.mode == "learn"
        else "before any fine-tuning"
    )
    counted = "parameters and multiply-adds, each by its share"
    if budget.quality is None:
        counted = "parameters" if budget.size_ratio is not None else "multiply-adds"
    text = (
        f"*Removed* is the share of what removing every removable unit would save, in {counted}, each unit counted in the "
        "full-size model. "
    )
    if manifest.task == "graph":
        return text + _measured(manifest, scale)
    text += (
        f"The {scale.name} here is the search's quick estimate, {when}{_ESTIMATES[manifest.task]}"
    )
    chosen = next((point for point in report.curve if point.chosen), None)
    compressed = manifest.variant("compressed")
    if chosen is not None and compressed is not None:
        published = scale.value(compressed.metrics[manifest.metric])
        text += (
            f"; so the chosen model has {scale.value(chosen.value)} here and {published} there"
            f"{', after the fine-tune' if tuned else ''}"
        )
        if not chosen.within_budget and (tuned or manifest.recipe.mode == "learn"):
            text += ". It lies outside the budget here: the search was allowed more, because fine-tuning wins some back"
        elif not chosen.within_budget:
            text += ". It lies outside the budget here and inside it there, and what is measured there counts"
    if budget.speedup is not None:
        text += f". {_SURELY}"
    return text + "."


def _measured(manifest: Manifest, scale: MetricFormat) -> str:
    """How the candidates of a graph were judged: as its variants are, so that there is no estimate to speak of."""
    budget = manifest.recipe.budget
    text = f"The {scale.name} is measured as that of the variants is"
    if manifest.provenance.evaluation is not None and budget.quality is None:
        text += "; the evaluation was asked of none but the chosen candidate, since the budget is not about quality"
    return f"{text}. {_SURELY}." if budget.speedup is not None else f"{text}."


def learning_sections(manifest: Manifest, report: Report) -> list[str]:
    """Epoch by epoch, what training cost beside how much was left; nothing where nothing was learned."""
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
    trained, held_out = (
        _TRAINED.get(manifest.task, "perplexity"),
        metric_format_of(manifest.metric).name,
    )
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
        f"## The learning\n\n{table(head, rows)}\n\nThe network shrinks while it learns: a step costs less as units go. "
        f"Training {trained} is under dropout, held-out {held_out} the quick estimate."
    ]
