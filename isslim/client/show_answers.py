"""Answers to questions, texts and runs of graphs in a terminal."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from isslim.client.forms import GraphRun
from isslim.types.quality import output_change
from isslim.types.schemas.generation import GenerateResponse
from isslim.types.schemas.questions import QuestionResponse


def answer_table(answer: QuestionResponse, question: str) -> Table:
    """Answers to one question, the best of each variant first.

    Args:
        answer: of `POST /qa`.
        question: that was sent.
    """
    table = Table(title=f"{escape(question[:100])}\n{answer.model} on {answer.device}")
    table.add_column("variant", no_wrap=True)
    table.add_column("", justify="right")
    table.add_column("answer", overflow="fold")
    table.add_column("where", overflow="fold")
    for variant in answer.variants:
        table.add_section()
        for index, span in enumerate(variant.answers[0].top_k):
            text = span.answer.replace("\n", " ")
            place = f"{span.score:.3f}, characters {span.start} to {span.end}"
            name = variant.variant if index == 0 else ""
            table.add_row(name, str(index + 1), escape(text), place)
        times = variant.timing
        table.add_row(
            "", "", f"[dim]run time {times.run_ms:.2f} ms, search {times.search_ms:.2f} ms[/]"
        )
    return table


def text_table(answer: GenerateResponse, prompt: str) -> Table:
    """Texts that the variants added to one prompt, with the time of a token.

    Args:
        answer: of `POST /generate`.
        prompt: that was sent.
    """
    table = Table(title=f"{answer.model} on {answer.device}, seed {answer.seed}")
    table.add_column("variant", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_column("a token", justify="right")
    for each in answer.variants:
        table.add_section()
        time = "-" if each.timing.token_ms is None else f"{each.timing.token_ms:.2f} ms"
        if each.speedup is not None:
            time += f"\n{each.speedup:.1f}x as fast"
        table.add_row(each.variant, f"[dim]{escape(prompt)}[/]{escape(each.text)}", time)
    return table


def runs_table(model: str, runs: dict[str, GraphRun]) -> Table:
    """Outputs of one run by variants: shape and range, and the change against the first.

    Args:
        model: id or name.
        runs: by variant.
    """
    table = Table(title=f"{escape(model)}: one run")
    table.add_column("output")
    for variant in runs:
        table.add_column(variant, justify="right", min_width=len(variant))
    first = next(iter(runs.values()))
    for name, wanted in first.outputs.items():
        cells = [
            _output(wanted),
            *(_compared(each.outputs[name], wanted) for each in list(runs.values())[1:]),
        ]
        table.add_row(escape(name), *cells)
    table.add_section()
    times = [
        f"{each.run_ms:.2f} ms ({first.run_ms / max(each.run_ms, 1e-3):.1f}x)"
        for each in runs.values()
    ]
    table.add_row("run time, this once", *times)
    return table


def _output(array: NDArray[Any]) -> str:
    description = f"{array.dtype} {list(array.shape)}"
    if array.dtype.kind not in "iuf" or not array.size:
        return description
    return f"{description}\n[dim]{array.min():.4g} to {array.max():.4g}[/]"


def _compared(found: NDArray[Any], first: NDArray[Any]) -> str:
    """An output compared with that of the first variant."""
    description = _output(found)
    if found.shape != first.shape or found.dtype.kind not in "biuf":
        return description
    return f"{description}\n{output_change([(found, first)]):.2%} changed"
