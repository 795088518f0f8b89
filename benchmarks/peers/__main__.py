"""What a user would take instead of isslim, on the same trained model.

    python -m benchmarks.peers [--json] [--corpus pydoc] [--units 256] [--epochs 4]
        [--tokens 20000] [--seconds 10]

Writes a table, or one JSON object, to standard output; progress goes to standard error.

Trains (or loads the cached) dense model and measures: int8 by ONNX Runtime, by OpenVINO with NNCF
and by PyTorch; the LSTM pruner of torch.ao, trained on for as long as isslim took; a smaller dense
network of the same multiply-adds, trained as long as the original; and isslim with default options.
What is left as a network runs in ONNX Runtime, in float32 and in the int8 of its
`quantize_dynamic`. Each tool has a virtual environment of its own below the cache folder
(`$ISS_HOME/benchmarks/environments`), with pinned versions from pip; torch is shared with the
environment that runs this. A tool that cannot be installed or run has a row that says so.

Perplexity is that of the test text as one stream. Times are of the same random tokens with a log-
softmax over the vocabulary, on one thread, in processes that are asked in turn, burst by burst;
how many times as fast is the median of a round's ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.baseline import RECIPE, Baseline, baseline
from benchmarks.peers.contestants import ENVIRONMENTS, Contestant, contestants, smaller
from benchmarks.peers.environments import NoEnvironment, environment
from benchmarks.peers.worker import Worker, WorkerFailed, race
from isslim.runtime.clock import ratio

SHAPES = {"batch": (30, 10), "sentence": (30, 1), "step": (1, 1)}
"""Steps and batch."""
BASE = "ONNX Runtime int8"
"""What costs nothing: the tool that the others' times are compared with."""

Row = dict[str, Any]


def main() -> None:
    """Parses the command line, runs, prints a table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", default="pydoc", help="ptb, gutenberg, pydoc or a folder")
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--epochs", type=float, default=4.0, help="of each training")
    parser.add_argument("--tokens", type=int, default=20_000, help="of the test text")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing, for each shape")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    recipe = replace(RECIPE, epochs=arguments.epochs)
    dense = baseline(arguments.corpus, arguments.units, recipe=recipe)
    with tempfile.TemporaryDirectory() as folder:
        taking_part = contestants(dense, Path(folder), smaller(arguments.corpus, recipe))
        rows = measured(list(taking_part), dense, Path(folder), arguments.tokens, arguments.seconds)
    if arguments.json:
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")
        return
    Console(width=None if sys.stdout.isatty() else 200).print(table(rows))


def measured(
    taking_part: list[Contestant], dense: Baseline, folder: Path, tokens: int, seconds: float
) -> list[Row]:
    """A row for each contestant, in their order.

    Args:
        taking_part: each with a tool's name of its own.
        dense: whose texts are used.
        folder: for files.
        tokens: of the test text.
        seconds: of timing, for each shape.
    """
    np.save(folder / "test.npy", dense.test[: tokens + 1].numpy())
    np.save(folder / "calibration.npy", dense.train.numpy())
    vocabulary = dense.network.spec.vocabulary
    rows: dict[str, Row] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for number, each in enumerate(taking_part):
            row = rows[each.tool] = empty_row(each)
            _say(f"{each.tool}: perplexity")
            try:
                if each.file is not None:
                    work = folder / f"work-{number}"
                    work.mkdir()
                    workers[each.tool] = stack.enter_context(opened(each, work, folder, row))
            except (NoEnvironment, WorkerFailed) as error:
                row["note"] = f"not measured: {error}"
        for name, shape in SHAPES.items():
            _say(f"timing {shape[0]} x {shape[1]}")
            found = race(workers, shape, vocabulary, seconds)
            times = {tool: timed.rounds(found.basis) for tool, timed in found.timed.items()}
            for tool, each_time in times.items():
                rows[tool][f"{name}_ms"] = round(float(np.median(each_time)), 4)
                if BASE in times:
                    rows[tool]["as_fast"][name] = round(ratio(times[BASE], each_time)[0], 3)
    return list(rows.values())


def opened(each: Contestant, work: Path, folder: Path, row: Row) -> Worker:
    """A worker that serves a contestant; perplexity and size are written into its row.

    Args:
        each: with a file.
        work: for the files of this contestant.
        folder: holds the texts.
        row: changed in place.

    Raises:
        NoEnvironment: when its environment cannot be made.
        WorkerFailed: when it cannot be opened or scored.
    """
    requirements, shares_torch = ENVIRONMENTS[each.engine]
    place = environment(requirements, shares_torch=shares_torch)
    worker = Worker(place.python, work / "log.txt")
    try:
        made = worker.ask(
            "open",
            engine=each.engine,
            file=str(each.file),
            int8=each.int8,
            work=str(work),
            calibration=str(folder / "calibration.npy"),
        )
        perplexity = worker.ask("score", text=str(folder / "test.npy"))["perplexity"]
        for shape in SHAPES.values():
            worker.ask("time", shape=shape, vocabulary=1)  # what cannot run drops out here
    except WorkerFailed:
        worker.__exit__()
        raise
    row["perplexity"] = round(perplexity, 3)
    row["file_mb"] = round(made["file_mb"], 3)
    row["note"] = "; ".join(part for part in (each.note, made["note"], place.note) if part)
    return worker


def empty_row(each: Contestant) -> Row:
    """A row before anything was measured."""
    figures = ("perplexity", "file_mb", *(f"{name}_ms" for name in SHAPES))
    return {"tool": each.tool, **dict.fromkeys(figures), "as_fast": {}, "note": each.note}


def table(rows: list[Row]) -> Table:
    """A row per tool; in brackets how many times as fast as `BASE`."""
    shown = Table(title=f"median ms of steps x batch; in brackets how many times as fast as {BASE}")
    shapes = [f"{steps} x {batch}" for steps, batch in SHAPES.values()]
    for column in ("tool", "test perplexity", "file MB", *shapes, "note"):
        shown.add_column(column, justify="left" if column in ("tool", "note") else "right")
    for row in rows:
        cells = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("perplexity", "file_mb")]
        for name in SHAPES:
            took, fast = row[f"{name}_ms"], row["as_fast"].get(name)
            cells.append("" if took is None else f"{took:.3f}")
            cells[-1] += "" if fast is None else f" ({fast:.2f}x)"
        shown.add_row(row["tool"], *cells, row["note"])
    return shown


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
