"""How fast a compressed run is at its quality.

    python -m benchmarks.ptb.speed medium-cut [--seed 1] [--json]

Writes a table, or one JSON object, to standard output.

Original and compressed run, in float32 and int8, as exported graphs in ONNX Runtime: the perplexity
of the test text as one stream, and the time of a run beside the original's, interleaved, one
thread, medians. Both runs must have been trained before (`benchmarks.ptb.run`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.ptb.run import VOCABULARY, add_run, path_of
from benchmarks.ptb.start import Start, trained_network
from isslim.compress.commands.corpus_loading import read_corpus
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.pruning import axes
from isslim.runtime.language.latency import compare
from isslim.runtime.language.scoring import perplexity
from isslim.runtime.language.session import LanguageSession

SHAPES = ((1, 1), (30, 1), (30, 10))
"""Steps and batch: streaming, a sentence, ten of them."""


def main() -> None:
    """Exports, scores, times, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run(parser)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measured(arguments.config, arguments.seed, arguments.corpus, arguments.output)
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else 130).print(table(found))


def measured(config: str, seed: int, corpus: str, output: Path) -> dict[str, Any]:
    """Scores and times the variants of a trained run and of the run it was cut from.

    Args:
        config: name or path of the compressed configuration.
        seed: of the run.
        corpus: as `load_corpus` takes it.
        output: the folder of all runs.

    Returns:
        Per variant `perplexity`, `mult_adds`, and per shape the median `ms` and how many times
        `as_fast` as the original.

    Raises:
        FileNotFoundError: when one of the runs was not trained yet.
    """
    path = path_of(config)
    start = Start(**tomllib.loads(path.read_text())["start"])
    networks = {
        "original": trained_network(output, start.of, start.seed),
        "compressed": trained_network(output, path.stem, seed),
    }
    text = read_corpus(corpus, VOCABULARY).test.tolist()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sessions: dict[str, LanguageSession] = {}
        for name, network in networks.items():
            plain, small = Path(folder) / f"{name}.onnx", Path(folder) / f"{name}-int8.onnx"
            export(network, plain)
            quantize(plain, small)
            sessions |= {
                name: LanguageSession(plain, threads=1),
                f"{name}-int8": LanguageSession(small, threads=1),
            }
            work = axes.mult_adds(network.declaration())
            rows |= {each: {"mult_adds": work, "shapes": {}} for each in (name, f"{name}-int8")}
        for steps, batch in SHAPES:
            for name, timed in compare(sessions, steps=steps, batch=batch).items():
                figures = {"ms": round(timed.milliseconds, 4), "as_fast": round(timed.speedup, 2)}
                rows[name]["shapes"][f"{steps} x {batch}"] = figures
        for name, session in sessions.items():
            rows[name]["perplexity"] = round(perplexity(session, text[1:], text[0]), 2)
    return {"config": path.stem, "seed": seed, "tokens": int(np.size(text)), "variants": rows}


def table(found: dict[str, Any]) -> Table:
    """A row per variant."""
    shapes = [f"{steps} x {batch}" for steps, batch in SHAPES]
    shown = Table(
        title=f"{found['config']}: median ms of steps x batch, one thread; in brackets "
        "how many times as fast"
    )
    for column in ("variant", "multiply-adds", "test perplexity", *shapes):
        shown.add_column(column, justify="left" if column == "variant" else "right")
    for name, row in found["variants"].items():
        cells = [
            f"{row['shapes'][shape]['ms']:.3f} ({row['shapes'][shape]['as_fast']:.1f}x)"
            for shape in shapes
        ]
        shown.add_row(name, f"{row['mult_adds']:,}", f"{row['perplexity']:.2f}", *cells)
    return shown


if __name__ == "__main__":
    main()
