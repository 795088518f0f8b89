"""The card's sections on what was tried and what was learned on the way, and its tables."""

from __future__ import annotations

from store.manifest import CurvePoint, Manifest, Report


def curve_section(manifest: Manifest, report: Report) -> str:
    """What was tried on the way, the chosen point in bold."""
    timed = any(point.speedup is not None for point in report.curve)
    original = manifest.variants[0]
    rows = [_tried(point, timed) for point in report.curve]
    if report.curve:
        estimate = report.curve[0].perplexity / (1 + report.curve[0].perplexity_rise)
        sizes = [f"{original.embedding}", ", ".join(map(str, original.units)), f"{original.breakdown.parameters:,}"]
        rows.insert(0, ["0% (original)", *sizes, f"{original.breakdown.mult_adds:,}", f"{estimate:.2f}", "", ""])
        rows[0] += ["1.00x"] if timed else []
    head = ["removed", "embedding", "units", "parameters", "multiply-adds", "perplexity", "rise", "within budget"]
    text = f"## The trade-off\n\n![trade-off curve](curve.svg)\n\n{table(head + ['speed-up'] * timed, rows)}\n\n"
    return text + _reading(manifest, report)


def _tried(point: CurvePoint, timed: bool) -> list[str]:
    """A row of the trade-off, in bold for the chosen point."""
    row = [
        f"{point.removed_share:.0%}" + (" (chosen)" if point.chosen else ""),
        f"{point.embedding}",
        ", ".join(map(str, point.units)),
        f"{point.parameters:,}",
        f"{point.mult_adds:,}",
        f"{point.perplexity:.2f}",
        f"{point.perplexity_rise:+.1%}",
        "yes" if point.within_budget else "no",
    ]
    if timed:
        row.append("" if point.speedup is None else f"{point.speedup:.2f}x")
    return [f"**{cell}**" for cell in row] if point.chosen else row


def _reading(manifest: Manifest, report: Report) -> str:
    """How the trade-off is to be read, and why its perplexities are not those of the variants."""
    budget, tuned = manifest.recipe.budget, manifest.provenance.finetune is not None
    counted = "parameters and multiply-adds, each by its share"
    if budget.perplexity_rise is None:
        counted = "parameters" if budget.size_ratio is not None else "multiply-adds"
    text = (
        f"*Removed* is the share of what removing every removable unit would save, in {counted}, each unit counted in the "
        "full-size model. These perplexities are the search's quick estimate: the text cut into ten streams, each begun "
        "without what stands before it, and before any fine-tuning. Those of the variants are the runtime's, over the "
        "whole text as one stream"
    )
    chosen = next((point for point in report.curve if point.chosen), None)
    compressed = manifest.variant("compressed")
    if chosen is not None and compressed is not None:
        text += (
            f"; so the chosen model has {chosen.perplexity:.2f} here and {compressed.perplexity:.2f} there"
            f"{', after the fine-tune' if tuned else ''}"
        )
        if not chosen.within_budget:
            text += ". It lies outside the budget here: the search was allowed more, because fine-tuning wins some back"
    if budget.speedup is not None:
        text += ". Of those that surely reach the budget (by the lower end of the interval) the largest was chosen"
    return text + "."


def learning_sections(report: Report) -> list[str]:
    """Epoch by epoch, what training cost beside how much was left; nothing where nothing was learned."""
    if not report.epochs:
        return []
    rows = [
        [
            f"{each.round}",
            ", ".join(f"{layer_name(axis) if axis.startswith('units:') else axis} {size}" for axis, size in each.units.items()),
            f"{each.steps:,}",
            f"{each.seconds:.1f}",
            f"{1000 * each.seconds / each.steps:.0f}",
            f"{each.training_perplexity:.2f}",
            f"{each.valid_perplexity:.2f}",
        ]
        for each in report.epochs
    ]  # fmt: skip
    head = ["round", "units", "steps", "seconds", "ms a step", "training perplexity", "held-out perplexity"]
    return [
        f"## The learning\n\n{table(head, rows)}\n\nThe network shrinks while it learns: a step costs less as units go. "
        "Training perplexity is under dropout, held-out perplexity the quick estimate."
    ]


def layer_name(axis: str) -> str:
    """`units:lstm0` -> LSTM layer 1."""
    kind = axis.removeprefix("units:").rstrip("0123456789")
    number = axis.removeprefix("units:").removeprefix(kind)
    return f"{kind.upper()} layer {int(number) + 1}" if number else f"{kind.upper()} layer"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
