"""Shows jobs, models and scores in a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from isslim.card.curve_section import curve_cells, plain_change
from isslim.card.variants import TimeCells, VariantCells, cells_of, primary_run, variant_cells
from isslim.card.warnings import warning_lines
from isslim.client.api import Client
from isslim.client.plain import PlainConsole, visible
from isslim.types.inspection import Inspection
from isslim.types.jobs import Job, JobState, Sweep
from isslim.types.kinds.metric_format import MetricFormat
from isslim.types.kinds.registry import metric_format_of
from isslim.types.manifest import CurvePoint, Manifest
from isslim.types.schemas.models import ModelSummary
from isslim.types.schemas.scores import ScoreResponse
from isslim.types.wording import NOT_EVALUATED, NOT_STEADY, as_fast, as_fast_as_int8, file_size

LONGEST_TEXT = 200
"""Characters of a sent text that a table repeats."""
TIMES = "time; as fast as int8 alone, as the original"
"""Heading of a column of `shown_time`."""


def terminal() -> Console:
    """The terminal; output to a file is wide enough for the tables."""
    return (
        PlainConsole()
        if sys.stdout.isatty() or "COLUMNS" in os.environ
        else PlainConsole(width=140)
    )


def follow(
    client: Client,
    job_id: str,
    console: Console,
    inspected: Callable[[Inspection, Console], None] | None = None,
) -> Job:
    """Shows a job's progress until it has ended.

    Args:
        client: to ask.
        job_id: which job.
        console: to show it on.
        inspected: called once, as soon as the job has inspected its upload.
    """
    seen: list[Inspection] = []
    columns = (
        TextColumn("{task.fields[stage]:>10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
    )
    # A long message continues on further lines: it is never cut off.
    description = TextColumn("{task.description}", table_column=Column(ratio=1, overflow="fold"))
    with Progress(
        *columns, TimeElapsedColumn(), description, console=console, expand=True
    ) as progress:
        bar = progress.add_task("waiting for a worker", total=1.0, stage="queued")

        def changed(job: Job) -> None:
            if inspected is not None and job.inspection is not None and not seen:
                seen.append(job.inspection)
                inspected(job.inspection, console)
            # `outcome` says how it ended, below the bar.
            message = "done" if job.state is JobState.SUCCEEDED else escape(visible(job.message))
            progress.update(
                bar,
                completed=job.progress,
                stage=job.stage or job.state,
                description="; ".join(filter(None, (prospect(job), message))),
            )

        return client.wait(job_id, changed)


def prospect(job: Job) -> str:
    """How many jobs are before one, or how long it is likely to go on; empty: not known."""
    if job.queue_position is not None:
        return f"number {job.queue_position} in the queue"
    if job.seconds_left is None:
        return ""
    minutes = round(job.seconds_left / 60)
    if minutes < 2:
        return f"about {max(1.0, job.seconds_left):.0f} s left"
    hours, rest = divmod(minutes, 60)
    return f"about {hours} h {rest} min left" if hours else f"about {minutes} min left"


def outcome(job: Job, console: Console) -> None:
    """Prints how a job ended.

    Args:
        job: that ended.
        console: to print on.
    """
    console.print(ending(job))


def ending(job: Job) -> Group:
    """How a job ended: its verdict, or why there is no model and what was tried."""
    if job.state is JobState.SUCCEEDED:
        made = f"[green]done:[/] model [bold]{escape(job.name)}[/] ({job.model_id})"
        return Group(made, Text(visible(job.message)))
    parts: list[RenderableType] = [f"the job is {job.state}"]
    if job.problem is not None:
        parts = [f"[red]{escape(job.problem.title)}:[/] {escape(job.problem.detail)}"]
        further = (each for each in job.problem.issues if each not in job.problem.detail)
        parts += [Text(visible(f"  - {issue}")) for issue in further]
    return Group(*parts, *([curve_table(job)] if job.curve else []))


def curve_table(job: Job) -> Table:
    """The trade-off curve of a job whose budget could not be met."""
    metric = None if job.inspection is None else job.inspection.metric
    return tried_table(job.curve, None if metric is None else metric_format_of(metric))


def tried_table(curve: Sequence[CurvePoint], scale: MetricFormat | None) -> Table:
    """The candidates of a search, the published one marked.

    Args:
        curve: the candidates.
        scale: of the metric of their losses; None if it is not known, and figures have no unit.
    """
    table = Table(title="what was tried")
    for column in ("removed", "parameters", "value", "against the original"):
        table.add_column(column, justify="right")
    for point in curve:
        cells = curve_cells(point, scale)
        against = f"{cells.change} (95 %: {cells.interval})" if cells.interval else cells.change
        removed = f"{cells.removed} (chosen)" if point.chosen else cells.removed
        table.add_row(removed, cells.parameters, cells.value, against)
    return table


def front_table(sweep: Sweep) -> Table:
    """The models of a sweep that no other beats in both work and perplexity."""
    names = {job.id: job.name for job in sweep.jobs}
    table = Table(title=f"{sweep.name}: what no other model of the sweep beats")
    for column in (
        "found by",
        "published as",
        "parameters",
        "multiply-adds",
        "against the original",
    ):
        is_name = column in ("found by", "published as")
        table.add_column(
            column,
            justify="left" if is_name else "right",
            no_wrap=column == "published as",
            overflow="fold",
        )
    for point in sweep.front:
        table.add_row(
            names[point.job_id],
            point.model_id or "",
            f"{point.parameters:,}",
            f"{point.mult_adds:,}",
            plain_change(point.loss, point.estimate),
        )
    return table


def sweeps_table(sweeps: Sequence[Sweep]) -> Table:
    """One row per sweep, with its whole id in 80 columns."""
    table = Table(show_lines=True)
    table.add_column("sweep", no_wrap=True)
    table.add_column("name", overflow="fold")
    for column in ("state", "jobs", "models"):
        table.add_column(column)
    for sweep in sweeps:
        done = sum(job.state.ended for job in sweep.jobs)
        made = sum(job.model_id is not None for job in sweep.jobs)
        jobs = f"{done} of {len(sweep.jobs)} ended"
        table.add_row(sweep.id, escape(sweep.name), sweep.state, jobs, str(made))
    return table


def sweep_detail(sweep: Sweep) -> Group:
    """A sweep's jobs, and the models that no other beats."""
    head = f"sweep {sweep.id}: [bold]{escape(sweep.name)}[/], {sweep.state}"
    return Group(head, jobs_table(sweep.jobs), front_table(sweep))


def jobs_table(jobs: list[Job]) -> Table:
    """One row per job, with its whole id and message in 80 columns."""
    table = Table(show_lines=True)
    for column, width in (("job", 20), ("state", 12), ("message", None)):
        table.add_column(column, overflow="fold", width=width)
    for job in jobs:
        state = f"{job.state}\n{job.stage} {job.progress:.0%}" if job.stage else job.state
        message = "; ".join(filter(None, (prospect(job), job.message)))
        table.add_row(f"{job.id}\n{escape(job.name)}", state, escape(message))
    return table


def models_table(models: Sequence[ModelSummary]) -> Table:
    """One row per variant of each model, with whole ids and variant names in 80 columns."""
    table = Table()
    table.add_column("model", overflow="fold", width=16)
    table.add_column("variant", no_wrap=True)
    for column in ("size", "quality"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column(TIMES, overflow="fold")
    for model in models:
        named = f"{escape(model.name)}\n{model.id}"
        table.add_section()
        if model.task is None or model.metric is None or model.issues:
            table.add_row(named, "", "", f"[red]damaged:[/] {escape('; '.join(model.issues))}", "")
            continue
        for index, record in enumerate(model.variants):
            is_evaluated = not model.not_evaluated
            cells = variant_cells(record, model.task, model.metric, is_evaluated=is_evaluated)
            time = "not timed"
            if record.latency:
                time = shown_time(cells.times[record.latency.index(record.primary_latency)])
            name = metric_format_of(model.metric).name
            table.add_row(
                named if index == 0 else "",
                cells.name,
                f"{cells.parameters}\n{file_size(record.size_bytes)}",
                _quality(cells) if cells.value == NOT_EVALUATED else f"{name} {_quality(cells)}",
                time,
            )
    return table


def comparison_table(manifest: Manifest) -> Table:
    """The variants of one model side by side."""
    caption = "\n".join(f"[bold red]{escape(line)}[/]" for line in warning_lines(manifest)) or None
    table = Table(title=f"{manifest.name}: the original and what became of it", caption=caption)
    table.add_column("variant", no_wrap=True)
    for column in ("parameters, file, units", metric_format_of(manifest.metric).name):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column(TIMES, overflow="fold")
    for variant, cells in zip(manifest.variants, cells_of(manifest), strict=True):
        table.add_section()
        table.add_row(
            cells.name,
            f"{cells.parameters}\n{file_size(variant.size_bytes)}\n{cells.sizes}",
            _quality(cells),
            "\n".join(map(shown_time, cells.times)),
        )
    return table


def shown_time(cells: TimeCells) -> str:
    """A timed run, and how many times as fast as int8 alone and as the original it is."""
    lines = [f"{cells.run}: {cells.milliseconds}"]
    if cells.over_original == NOT_STEADY:
        return "\n".join([*lines, f"  {NOT_STEADY}"])
    lines += [f"  {cells.over_int8} int8 alone"] if cells.over_int8 else []
    return "\n".join([*lines, f"  {cells.over_original} original"])


def _quality(cells: VariantCells) -> str:
    """A variant's value and change, and below them the interval of the change."""
    return f"{cells.quality}\n[dim]{cells.interval}[/]" if cells.interval else cells.quality


def score_table(answer: ScoreResponse, texts: list[str], manifest: Manifest) -> Table:
    """Texts by variants, and below them the speed that was measured when the model was made.

    Args:
        answer: of `POST /score`.
        texts: that were sent.
        manifest: of the model.
    """
    table = Table(title=f"{answer.model} on {answer.device}")
    table.add_column("text", overflow="fold")
    for variant in answer.variants:
        name = variant.variant
        table.add_column(f"{name}\nperplexity", justify="right", min_width=len(name))
    for index, text in enumerate(texts):
        values = [variant.texts[index].perplexity for variant in answer.variants]
        table.add_row(
            escape(shortened(text.replace("\n", " "))),
            *(f"{v:.2f}" if v else "-" for v in values),
        )
    runs = [f"{variant.timing.run_ms:.2f} ms" for variant in answer.variants]
    table.add_section()
    table.add_row("run time, this once", *runs)
    shown = [manifest.variant(variant.variant) for variant in answer.variants]
    if answer.device == "cpu" and all(each is not None and each.latency for each in shown):
        timed = [each.primary_latency for each in shown if each is not None]
        table.add_section()
        for rival, ratio in (("int8 alone", as_fast_as_int8), ("the original", as_fast)):
            ratios = [ratio(each) for each in timed]
            if all(ratios):
                table.add_row(f"measured, as fast as {rival}", *ratios)
        table.caption = f"measured with {primary_run(manifest)}, when the model was made"
    return table


def shortened(text: str) -> str:
    """The beginning of a long text, which is there to tell it from others."""
    left = len(text) - LONGEST_TEXT
    return text if left <= 0 else f"{text[:LONGEST_TEXT]}... ({left:,} characters more)"
