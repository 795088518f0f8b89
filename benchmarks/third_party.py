"""What compression makes of models that others published: size, outputs, task, latency.

    python -m benchmarks.third_party [--json] [--change 0.1] [--minutes 5] [--audio FOLDER]
                                     [--only silero-vad]

Writes a table, or one JSON object, to standard output.

Nothing is downloaded: a package that is not installed (`pip install silero-vad`, or its wheel
unpacked on PYTHONPATH) is skipped, and the reason is in the output. Inputs are what the models are
made for - sound of speakers (synthetic, or the wav files of a folder), pictures of random words,
texts - recorded through the original; the models are evaluated on other ones. A model whose caller
carries states is also evaluated as a stream, in which each variant is fed its own states. The
models, and what each is scored by, are in `benchmarks/published/`.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import cache
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import speech
from benchmarks.published.measuring import Row, measured
from benchmarks.published.model import HELD_OUT, Speakers
from benchmarks.published.registry import MODELS
from benchmarks.published.showing import remarks, table
from isslim.client.show import terminal

SECONDS = 12.0
"""Of synthetic sound by a speaker."""


def main() -> None:
    """Parses the command line, runs, prints a table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--change",
        type=float,
        default=0.1,
        help="budget: largest change of outputs, of models without a metric on targets",
    )
    parser.add_argument(
        "--minutes", type=float, help="most minutes of distillation a model; by default: 5"
    )
    parser.add_argument(
        "--audio",
        type=Path,
        help="folder of mono 16-bit wav files of 16 kHz, in place of synthetic sound",
    )
    parser.add_argument("--only", nargs="+", help="parts of the names of models")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    speakers = _speakers(arguments.audio)
    rows: list[Row] = []
    for model in MODELS:
        if not arguments.only or any(part in model.name for part in arguments.only):
            rows.append(measured(model, speakers, arguments.change, arguments.minutes))
            Console(stderr=True).print(
                f"{model.name}: {rows[-1].get('skipped', 'done')}", markup=False
            )
    if arguments.json:
        inputs = "made up" if arguments.audio is None else str(arguments.audio)
        found = {"budget": {"output_change": arguments.change}, "sound": inputs, "models": rows}
        json.dump(found, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    sound = "synthetic sound" if arguments.audio is None else arguments.audio.name
    console = terminal()
    console.print(table(rows, arguments.change, sound))
    for row in rows:
        for line in remarks(row):
            console.print(line, markup=False, highlight=False)


def _speakers(folder: Path | None) -> Speakers:
    """Each speaker is made, or read, once: a variant after the other hears the same."""
    if folder is None:
        return cache(lambda number: speech.speech(SECONDS, number))
    files = sorted(folder.glob("*.wav"))
    if len(files) < 2:
        raise SystemExit(
            f"{folder} holds {len(files)} wav files; at least two are needed: one to evaluate on"
        )
    first = max(1, len(files) * 2 // 3)
    return cache(
        lambda number: speech.recorded(
            files[
                number % first if number < HELD_OUT.start else first + number % (len(files) - first)
            ]
        )
    )


if __name__ == "__main__":
    main()
