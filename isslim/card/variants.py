"""A bundle's variants side by side, in words: the same cells for card, terminal and page."""

from __future__ import annotations

from dataclasses import dataclass

from isslim.card.markdown import escaped, listed, table
from isslim.card.metric_section import metric_section
from isslim.types.kinds.registry import kind_named, metric_format_of, run_label
from isslim.types.manifest import LatencyRecord, Manifest, VariantRecord
from isslim.types.report import Report
from isslim.types.wording import NOT_EVALUATED, as_fast, as_fast_as_int8, file_size, is_narrow

AS_INT8, AS_ORIGINAL = "as fast as int8 alone (95 %)", "as fast as the original (95 %)"
"""Headings of the columns of ratios; int8 alone is the original in 8 bits, nothing removed."""


@dataclass(frozen=True)
class TimeCells:
    """The cells of one timed run.

    Attributes:
        run: its description.
        milliseconds: of one run.
        over_int8: how many times as fast as int8 alone; empty where that was not timed beside it.
        over_original: how many times as fast as the original.
    """

    run: str
    milliseconds: str
    over_int8: str
    over_original: str


@dataclass(frozen=True)
class VariantCells:
    """The cells of one variant.

    Attributes:
        name: of the variant.
        parameters: how many.
        sizes: of its prunable axes.
        value: of the metric.
        change: of the metric against the original.
        interval: of the change, with its sample; empty for the original, or if none can be given.
        times: of every timed run.
    """

    name: str
    parameters: str
    sizes: str
    value: str
    change: str
    interval: str
    times: tuple[TimeCells, ...]

    @property
    def quality(self) -> str:
        """Value and change together, such as `33.35 (+4.20%)`."""
        return self.value if self.value == self.change else f"{self.value} ({self.change})"


def variant_cells(
    record: VariantRecord, task: str, metric: str, *, is_evaluated: bool = True
) -> VariantCells:
    """The cells of one variant.

    Args:
        record: of the variant.
        task: name of the model's kind.
        metric: the metric of its loss.
        is_evaluated: whether figures of quality come from data that nothing was fitted to.
    """
    scale, shown = metric_format_of(metric), is_evaluated or record.name == "original"
    return VariantCells(
        record.name,
        f"{record.parameters:,}",
        _sizes(record),
        scale.value(record.metrics[metric]) if shown else NOT_EVALUATED,
        scale.change(record.loss) if shown else NOT_EVALUATED,
        scale.sample(record.estimate) if shown and record.estimate is not None else "",
        tuple(_time(task, each) for each in record.latency),
    )


def _sizes(record: VariantRecord) -> str:
    """Sizes of all axes; the ranks of narrow layers apart: `54, 225, 187; ranks 60, 90`."""
    units = [str(size) for axis, size in record.sizes.items() if not is_narrow(axis)]
    ranks = [str(size) for axis, size in record.sizes.items() if is_narrow(axis)]
    return ", ".join(units) + (f"; ranks {', '.join(ranks)}" if ranks else "")


def cells_of(manifest: Manifest) -> list[VariantCells]:
    """The cells of every variant, the original first."""
    is_evaluated = manifest.provenance.not_evaluated is None
    return [
        variant_cells(variant, manifest.task, manifest.metric, is_evaluated=is_evaluated)
        for variant in manifest.variants
    ]


def _time(task: str, record: LatencyRecord) -> TimeCells:
    return TimeCells(
        run_label(task, record.steps, record.batch, record.run),
        f"{record.milliseconds:.2f} ms",
        as_fast_as_int8(record),
        as_fast(record),
    )


def primary_run(manifest: Manifest) -> str:
    """The run to whose latency the verdict refers, in words."""
    record = manifest.variants[0].primary_latency
    return run_label(manifest.task, record.steps, record.batch, record.run)


def variants_section(manifest: Manifest, report: Report) -> str:
    """The card's table of variants, with an explanation of its figures.

    Args:
        manifest: of the bundle.
        report: of the bundle; it lists the variants that were not published.
    """
    kind, scale = kind_named(manifest.task), metric_format_of(manifest.metric)
    extra = {
        name: extra
        for name, extra in kind.extra_metrics.items()
        if name in manifest.variants[0].metrics
    }
    all_cells = cells_of(manifest)
    has_intervals = any(cells.interval for cells in all_cells)
    has_int8 = manifest.variant("original-int8") is not None
    rows = []
    for variant, cells in zip(manifest.variants, all_cells, strict=True):
        row = [f"`{cells.name}`", cells.parameters, f"{variant.size_bytes / 1e6:.2f} MB"]
        row += [each.value(variant.metrics[name]) for name, each in extra.items()]
        row += [cells.value, cells.change]
        row += [cells.interval.removeprefix("95 %: ")] if has_intervals else []
        record = variant.primary_latency
        time = f"{record.milliseconds:.2f} ms"
        rows.append([*row, time, *([as_fast_as_int8(record)] if has_int8 else []), as_fast(record)])
    head = ["variant", "parameters", "file", *(each.name for each in extra.values())]
    head += [scale.name, scale.change_name, *(["95 % interval, sample"] if has_intervals else [])]
    head += [primary_run(manifest), *([AS_INT8] if has_int8 else []), AS_ORIGINAL]
    text = f"## The variants\n\n{table(head, rows)}\n\n![{_alternative(manifest)}](variants.svg)"
    text += _eight_bit(manifest)
    if report.left_out:
        text += "\n\nNot published:\n\n" + "\n".join(f"- {line}" for line in report.left_out)
    text += f"\n\n{metric_section(manifest)}"
    return f"{text} {kind.interval_note}" if has_intervals else text


def _alternative(manifest: Manifest) -> str:
    """The picture in words, for those who do not see it."""
    shown = [
        f"{cells.name} {variant.primary_latency.milliseconds:.2f} ms, "
        f"{file_size(variant.size_bytes)}, {cells.quality}"
        for cells, variant in zip(cells_of(manifest), manifest.variants, strict=True)
    ]
    name = metric_format_of(manifest.metric).name
    text = f"{name} against time and file size of each variant: {'; '.join(shown)}"
    return escaped(text)


def _eight_bit(manifest: Manifest) -> str:
    """Which parts are stored in 8 bits, in which form; once, where all variants agree."""
    lines: dict[str, list[str]] = {}
    for variant in manifest.variants:
        if variant.eight_bit:
            form = f": {variant.int8_form.removeprefix('8 bits, ')}" if variant.int8_form else ""
            rest = f"; {listed(variant.float32)} stay float32" if variant.float32 else ""
            line = f"the weights of {listed(variant.eight_bit)} take 8 bits{rest}{form}"
            lines.setdefault(line, []).append(f"`{variant.name}`")
    return "".join(f"\n\nIn {listed(names)} {line}." for line, names in lines.items())
