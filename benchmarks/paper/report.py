"""The record of the paper's experiment as a page in Markdown, beside the paper's own table."""

from __future__ import annotations

from typing import Any

from benchmarks.paper.figures import (
    FIGURES,
    alternative_texts,
    control_of,
    finished,
    kind,
    label,
    removed,
    whole,
)
from benchmarks.ptb.published import PUBLISHED

PAPER = ("baseline", "ISS (373, 315)", "ISS (381, 535)", "direct design")
"""Rows of the paper's table 1."""
HEAD = (
    "| run | strength | units | test perplexity | of its control's | multiply-adds | less work "
    "| epochs | minutes | cut short |"
)


def markdown(record: dict[str, Any]) -> str:
    """The whole page.

    Args:
        record: see `benchmarks.paper.small`.
    """
    texts = alternative_texts(record)
    corpus, settings = record["corpus"], record["settings"]
    missing = [run["name"] for run in record["runs"] if not run["finished"]]
    lines = [
        f"# The paper's method at small size: {corpus['name']}",
        "",
        f"`{record['command']}`, {record['seconds'] / 60:.0f} minutes of training in all.",
        "",
        f"- corpus: {corpus['tokens']['train']:,} training tokens"
        + (f" (cut short: {corpus['left_out']:,} left out)" if corpus["left_out"] else "")
        + f", {corpus['tokens']['valid']:,} validation, {corpus['tokens']['test']:,} test, "
        f"vocabulary {corpus['vocabulary']:,}",
        f"- networks: two LSTM layers of {settings['units']} units, dropout "
        f"{settings['dropout']:g}, seed {settings['seed']}",
        "- training, the same for all: SGD, batch 20 x 35 steps, loss summed over the steps, "
        "learning rate 1 and a tenth of it after each third of the epochs, clip 10",
        "- group lasso: threshold 1e-4 on every weight after every step; units whose group is "
        "exactly zero are taken out at the end",
        "- the control of a run has the same start and length and no penalty: the baseline, or the "
        "baseline trained on",
        "",
        *(["Not run yet: " + ", ".join(missing) + ".", ""] if missing else []),
        *measured(record),
        "",
        *hints(record),
        "The paper (2 x 1500 units, 55 epochs, arXiv 1709.05027, table 1; single runs):",
        "",
        *published(),
        "",
    ]
    for name in FIGURES:
        lines += [f"![{texts[name]}]({name}.png)", ""]
    return "\n".join(lines)


def measured(record: dict[str, Any]) -> list[str]:
    """The table of the runs, a line each."""
    lines = [HEAD, "| --- " * 10 + "|"]
    epochs = {run["name"]: run["length"]["epochs"] for run in finished(record)}
    for run in record["runs"]:
        if run["finished"]:
            before = epochs.get("baseline") if run["start"] == "baseline" else None
            lines.append(_line(run, control_of(record, run), before))
    return lines


def hints(record: dict[str, Any]) -> list[str]:
    """What to try where a strength removed nothing, or nearly everything."""
    runs = [run for run in finished(record) if run["strength"] is not None]
    idle = [label(run) for run in runs if removed(run) == 0]
    drained = [label(run) for run in runs if removed(run) > 0.9 * whole(run)]
    lines = []
    if idle:
        lines += [f"Nothing was removed: {'; '.join(idle)}. A larger strength, or more epochs.", ""]
    if drained:
        lines += [f"Hardly a unit is left: {'; '.join(drained)}. A smaller strength.", ""]
    return lines


def published() -> list[str]:
    """The paper's rows in the same columns, as far as it gives them."""
    rows = {each.name: each for each in PUBLISHED}
    base = rows["baseline"]
    lines = [
        "| run | units | test perplexity | of the baseline's | multiply-adds | less work |",
        "| --- " * 6 + "|",
    ]
    for name in PAPER:
        each = rows[name]
        lines.append(
            f"| {name} | {', '.join(map(str, each.units))} | {each.test_perplexity:.2f} "
            f"| {each.test_perplexity / base.test_perplexity:.3f} | {each.mult_adds:,} "
            f"| {base.mult_adds / each.mult_adds:.2f}x |"
        )
    return lines


def _line(run: dict[str, Any], control: dict[str, Any] | None, before: float | None) -> str:
    quality, ratio, less = run["test_perplexity"], "", ""
    if quality is not None and control is not None:
        ratio = f"{quality / control['test_perplexity']:.3f}"
        less = f"{control['mult_adds'] / run['mult_adds']:.2f}x"
    length = run["length"]
    cells = (
        kind(run),
        "" if run["strength"] is None else f"{run['strength']:g}",
        ", ".join(map(str, run["units"])),
        "diverged" if quality is None else f"{quality:.2f}",
        ratio,
        f"{run['mult_adds']:,}",
        less,
        ("" if before is None else f"{before:g} + ") + f"{length['epochs']:g}",
        f"{run['seconds'] / 60:.1f}",
        length["truncated"] or "no",
    )
    return f"| {' | '.join(cells)} |"
