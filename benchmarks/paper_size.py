"""Time and peak memory of a whole compression of 66 million weights.

    python -m benchmarks.paper_size [--json] [--graph]

Writes a few lines, or one JSON object, to standard output.

A model of the paper's size (2 x 1500, vocabulary 10,000; random weights) with a held-out text of
10,000 tokens goes through the pipeline as an upload would, in a child process: calibration on its
own text, removal in closed form, export, verification, measurement; no distillation. With `--graph`
the upload is the same model as an ONNX graph, without any recorded input.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.pipeline import compress_files, publish
from isslim.compress.progress import CallbackProgress
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe

SPEC = LstmSpec(10_000, 1500, (1500, 1500))
TOKENS = 10_000
SIZE_RATIO = {False: 0.33, True: 0.48}
"""Where half of the units and more go; of a graph the embedding's rows are none."""


def main() -> None:
    """Writes the upload, compresses it in a child, prints its time and memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--graph", action="store_true", help="upload the model as an ONNX graph")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        compress(arguments.work, graph=arguments.graph)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_upload(folder)
        started = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "benchmarks.paper_size",
            "--work",
            name,
            *["--graph"] * arguments.graph,
        ]
        subprocess.run(command, check=True)
        seconds = time.monotonic() - started
        result = json.loads((folder / "result.json").read_text()) | {"seconds": round(seconds, 1)}
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    result["peak_bytes"] = peak
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(f"{seconds:.0f} s, peak memory {peak / 2**30:.2f} GiB\n")
        for axis, (original, kept) in result["units"].items():
            sys.stdout.write(f"  {axis:24} {original:6} -> {kept}\n")
        for stage, took in result["stages"].items():
            sys.stdout.write(f"  {stage:10} {took:7.1f} s\n")


def write_upload(folder: Path) -> None:
    """Random weights, a word list, and a text drawn from it."""
    network = LstmLanguageModel(SPEC)
    network.initialise(0.04, torch.Generator().manual_seed(0))
    names = {
        name: name.replace("embedding", "embed").replace("layers.", "lstm.")
        for name in network.state_dict()
    }
    save_file(
        {names[k]: v.contiguous() for k, v in network.state_dict().items()},
        folder / "model.safetensors",
    )
    words = ["<eos>", "<unk>", *(f"w{index}" for index in range(SPEC.vocabulary - 2))]
    (folder / "words.txt").write_text("\n".join(words) + "\n")
    drawn = torch.randint(SPEC.vocabulary, (TOKENS,), generator=torch.Generator().manual_seed(1))
    (folder / "held-out.txt").write_text(" ".join(words[index] for index in drawn))
    export(network, folder / "model.onnx")


def compress(folder: Path, *, graph: bool) -> None:
    """The child: the pipeline as the worker runs it.

    Args:
        folder: holds the upload, and takes the work and the result.
        graph: whether the ONNX graph is the upload, not the weights.
    """
    settings = StoreSettings(home=folder / "home")
    model = folder / ("model.onnx" if graph else "model.safetensors")
    recipe = Recipe(
        name="paper-size",
        budget=Budget(size_ratio=SIZE_RATIO[graph]),
        held_out_tokens=TOKENS,
        minutes=0,
    )
    words, held_out = (None, None) if graph else (folder / "words.txt", folder / "held-out.txt")
    inputs = UploadedFiles(model=model, vocabulary=words, held_out=held_out)
    work = folder / "work"
    work.mkdir()

    def report(stage: str, done: float, message: str) -> None:
        sys.stderr.write(f"{done:5.0%} {stage}: {message}\n")

    store = BundleStore(settings)
    progress = CallbackProgress(report)
    compressed = compress_files(inputs, recipe, work, progress)
    manifest = store.open(publish(compressed, store, progress)).manifest
    units = {axis.name: [axis.original, axis.kept] for axis in manifest.axes}
    (folder / "result.json").write_text(
        json.dumps({"stages": manifest.provenance.seconds, "units": units})
    )


if __name__ == "__main__":
    main()
