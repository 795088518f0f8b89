"""What the benchmark of published models found, as a table."""

from __future__ import annotations

from rich.table import Table

from benchmarks.published.measuring import Row

COLUMNS = (
    "model",
    "units",
    "parameters",
    "variant",
    "file MB",
    "task",
    "change",
    "as a stream",
    "median ms",
    "speed-up",
    "over int8",
)


def table(rows: list[Row], change: float, sound: str) -> Table:
    """A section per model, a row per variant.

    Args:
        rows: of the models, as `measured` returns them.
        change: the change of outputs that was allowed.
        sound: what the models of sound were run on.
    """
    shown = Table(
        title=f"budget: that of the model's own metric, or a change of outputs of {change:.0%}; "
        f"evaluated on {sound}, words and texts that calibration did not see",
        caption="task: the metric under the table; change: of outputs, run by run, each from its "
        "recorded inputs; as a stream: each variant carries its own states. speed-up: median and "
        "95 % interval of the rounds' ratios, one run, one thread; below 1 is slower.",
    )
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("model", "variant") else "right")
    for row in rows:
        variants = row.get("variants")
        if not isinstance(variants, list):
            continue
        for index, each in enumerate(variants):
            shown.add_row(str(row["model"]) if index == 0 else "", *_cells(each))
        shown.add_section()
    return shown


def remarks(row: Row) -> list[str]:
    """What stands under the table about a model: task, verdict, unused data, why it was skipped."""
    if "skipped" in row:
        return [f"skipped {row['model']}: {row['skipped']}"]
    nested = f" [{row['nested']} of its layers lie in If, Loop or Scan]" if row["nested"] else ""
    lines = [
        f"{row['model']} {row['version']}{nested}: {row['verdict']}",
        f"  task: {row['metric']} ({row['better']} is better), compared with {row['truth']}",
    ]
    left_out = row["left_out"]
    if isinstance(left_out, list):
        lines += [f"  without {line}" for line in left_out]
    return lines


def _cells(variant: Row) -> list[str]:
    streamed, int8 = variant["streamed_change"], variant["over_int8"]
    speedup = f"{variant['speedup']:.2f}x" if variant["steady"] else "not steady:"
    return [
        str(variant["units"]),
        f"{variant['parameters']:,}",
        str(variant["variant"]),
        f"{variant['megabytes']:.2f}",
        f"{variant['score']:.2f}",
        f"{variant['change']:.2%}",
        "" if streamed is None else f"{streamed:.2%}",
        f"{variant['median_ms']:.3f}",
        f"{speedup} ({variant['speedup_low']:.2f}-{variant['speedup_high']:.2f})",
        "" if int8 is None else f"{int8:.2f}x",
    ]
