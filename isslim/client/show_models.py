"""One model in a terminal: its variants, files, report and latency."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from isslim.client.plain import visible
from isslim.client.show import comparison_table, tried_table
from isslim.types.kinds.registry import metric_format_of, run_label, title_of
from isslim.types.manifest import FileRecord, LatencyRecord, Manifest
from isslim.types.report import Report
from isslim.types.schemas.models import LatencyResponse, ModelDetail
from isslim.types.wording import as_fast, as_fast_as_int8

NARROW = 100
"""Below so many columns a table leaves out what can be asked for in another way."""


def detail(found: ModelDetail) -> Group:
    """A model's head, what is missing to serve it, and its variants side by side."""
    manifest = found.manifest
    made = f"{title_of(manifest.task)}, {manifest.created_at:%Y-%m-%d %H:%M} UTC"
    head = f"[bold]{escape(manifest.name)}[/] ({found.id}): {escape(made)}"
    missing = [Text(visible(found.unserved))] if found.unserved else []
    return Group(head, *missing, comparison_table(manifest))


def files_list(found: Sequence[FileRecord], width: int) -> Table:
    """Files with their sizes and hashes, for people and for `awk`: no lines, nothing cut.

    Args:
        found: the files.
        width: columns there are; where they are few, hashes are left to --json.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for each in found:
        hashed = [each.sha256] if width >= NARROW else []
        table.add_row(escape(each.path), f"{each.size_bytes:,}", *hashed)
    return table


def report(found: Report, manifest: Manifest) -> Group:
    """The verdict, the candidates that were tried, and what is to be known about them.

    Args:
        found: the report.
        manifest: of the same model.
    """
    told = found.conclusions
    verdict = [found.verdict] if told is None else [told.advice, *(f"- {x}" for x in told.lines)]
    parts: list[RenderableType] = [Text(visible(line)) for line in verdict]
    if found.curve:
        parts.append(tried_table(found.curve, metric_format_of(manifest.metric)))
    for title, lines in (
        ("not published", found.left_out),
        ("could not shrink", found.notes),
        ("to keep in mind", found.cautions),
    ):
        parts += [Text(visible(f"{title}: {line}")) for line in lines]
    return Group(*parts)


def latency_table(found: LatencyResponse, task: str) -> Group:
    """The variants' times, a table for each device.

    Args:
        found: the comparison.
        task: kind of model.
    """
    first = found.results[found.baseline]
    when = "measured before" if found.cached else "measured now"
    return Group(
        *(
            _device_table(found, index, f"{_run(record, task)}, {record.device}, {when}")
            for index, record in enumerate(first)
        )
    )


def _run(record: LatencyRecord, task: str) -> str:
    threads = "one thread" if record.threads == 1 else f"{record.threads} threads"
    return f"{run_label(task, record.steps, record.batch, record.run)}, {threads}"


def _device_table(found: LatencyResponse, index: int, title: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column("variant", no_wrap=True)
    for column in ("median", "9 of 10 below"):
        table.add_column(column, justify="right")
    rivals = ("int8 alone", f"the {found.baseline}")
    for rival in rivals:
        table.add_column(f"as fast as {rival} (95 %)", justify="right", overflow="fold")
    for variant, records in found.results.items():
        for record in records[index : index + 1]:
            times = (f"{record.median_ms:.3f} ms", f"{record.p90_ms:.3f} ms")
            table.add_row(variant, *times, as_fast_as_int8(record), as_fast(record))
    return table
