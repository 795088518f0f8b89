"""The whole workflow on one page: `make demo`, or `isslim demo`.

Trains a small LSTM language model on the documentation inside this Python, starts the service and a
worker, and uploads the model to `POST /compress`. Then it shows what was removed, lets both models
continue the same text, scores texts with both side by side, and ends with the verdict and the next
commands. Everything is written to `demo/`, the figures for programs to `summary.json` in it; the
trained model is kept there, so that a second run begins with the upload.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from isslim.client import show
from isslim.client.api import Client
from isslim.compress.kinds.language.corpus import build_vocabulary, load_corpus
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.training.plan import TrainingPlan
from isslim.demo import story
from isslim.demo.ports import free_port
from isslim.runtime.language.text import TextCodec
from isslim.store.files import atomic_file
from isslim.types.jobs import JobState
from isslim.types.recipe import Budget, Recipe
from isslim.types.recommendation import recommended

VOCABULARY, UNITS = 8000, 256
TEXTS = [
    "return a list of the names in the current scope .",
    "the file object is closed when the iterator is exhausted .",
    "raise an exception if the key is not found in the dictionary .",
]
TRAINED = 3.0
"""Minutes of training the original."""
RISE, MINUTES = 0.02, 3.0
"""The budget: how much the perplexity may rise; and the most minutes of distillation."""
BEGINNING, WORDS, SEED = "return a list of the", 24, 7
"""What both models continue, by how many words, and the seed of the random numbers."""
STARTING = 300.0
"""Seconds that the service may take to start, on a host with other work too."""
console = show.terminal()


def main() -> int:
    """Runs the demo; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=TRAINED, help="of training the original")
    parser.add_argument("--folder", type=Path, default=Path("demo"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(exist_ok=True)
    if not (folder / "model.pt").exists():
        train_original(folder, arguments.minutes)
    port = free_port()
    environment = os.environ | {"ISS_HOME": str(folder / "home"), "ISS_PORT": str(port)}
    log = folder / "log.txt"  # a line for each event of the job, which the bars show as well
    with log.open("ab") as written:
        processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                env=environment,
                stdout=written,
                stderr=written,
            )
            for module in ("isslim.service", "isslim.compress.worker")
        ]
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            return compare(client, folder)
    except Exception:
        console.print(f"what service and worker said is in {log}")
        raise
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=30)


def train_original(folder: Path, minutes: float) -> None:
    """Trains the model that will be compressed, and saves weights and words as anybody would.

    Args:
        folder: takes `model.pt`, `words.txt`, `calibration.txt` and `held-out.txt`.
        minutes: of training.
    """
    console.rule("1. a real model: an LSTM trained on Python's own documentation")
    corpus = load_corpus("pydoc")
    words = build_vocabulary(corpus.train, VOCABULARY)
    index = {word: position for position, word in enumerate(words)}
    unknown = index["<unk>"]
    tokens, valid = (
        torch.tensor([index.get(word, unknown) for word in text.replace("\n", " <eos> ").split()])
        for text in (corpus.train, corpus.valid)
    )
    console.print(
        f"{len(tokens):,} tokens, {len(words):,} words, two layers of {UNITS} units, "
        f"{minutes:g} minutes"
    )
    network = LstmLanguageModel(LstmSpec(len(words), UNITS, (UNITS, UNITS)), dropout=0.2)
    network.initialise(0.1, torch.Generator().manual_seed(1))
    plan = TrainingPlan(minutes=minutes, bfloat16=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        bar = progress.add_task("", total=1.0)
        trained = train(
            network,
            tokens,
            plan,
            progress=lambda done, message: progress.update(
                bar, completed=done, description=message
            ),
        ).network
    console.print(f"held-out perplexity {perplexity(trained, valid):.1f}")
    state = {
        name.replace("embedding", "embed").replace("layers.", "lstm."): w
        for name, w in trained.state_dict().items()
    }
    torch.save(state, folder / "model.pt")
    (folder / "words.txt").write_text("\n".join(words) + "\n")
    (folder / "calibration.txt").write_text(corpus.train)
    (folder / "held-out.txt").write_text(corpus.valid)


def compare(client: Client, folder: Path) -> int:
    """Uploads, follows the job, and shows both versions side by side.

    Args:
        client: of the service that was started.
        folder: what `train_original` filled.

    Returns:
        The exit status.
    """
    console.rule(
        f"2. POST /compress: at most {100 * RISE:g} % more perplexity, as fast as that allows"
    )
    limit = time.monotonic() + STARTING
    while not client.ready():
        if time.monotonic() > limit:
            console.print("the service did not start")
            return 1
        time.sleep(0.2)
    job = client.compress(
        folder / "model.pt",
        vocabulary=folder / "words.txt",
        calibration=folder / "calibration.txt",
        held_out=folder / "held-out.txt",
        recipe=Recipe(name="demo", budget=Budget(perplexity_rise=RISE), minutes=MINUTES),
    )
    job = show.follow(client, job.id, console)
    if job.state is not JobState.SUCCEEDED or job.model_id is None:
        show.outcome(job, console)
        return 1
    manifest, report = client.manifest(job.model_id), client.report(job.model_id)
    small = recommended(manifest.variants) or manifest.variants[-1]
    bundle = folder / "home" / "artifacts" / "bundles" / job.model_id
    console.rule("3. what was removed")
    _print(story.removal_lines(manifest, small))
    console.rule("4. the comparison, and the proofs")
    console.print(show.comparison_table(manifest))
    for check in manifest.checks:
        console.print(
            f"proof: {check.name}: largest error {check.error:.1e} "
            f"(tolerance {check.tolerance:.0e})"
        )
    console.rule("5. both models continue the same text, with the same random numbers")
    codec = TextCodec.from_folder(bundle, manifest.contract)
    for variant in (manifest.variants[0], small):
        text = story.continuation(bundle / variant.file, codec, BEGINNING, WORDS, SEED)
        _print([f"{variant.name}:", "  " + text.replace("\n", "\n  ")])
    console.rule("6. POST /score: the same texts by both")
    names = [variant.name for variant in manifest.variants]
    client.score(job.model_id, TEXTS, [*names])
    console.print(show.score_table(client.score(job.model_id, TEXTS, [*names]), TEXTS, manifest))
    with atomic_file(folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(story.summary(manifest, small), indent=2) + "\n")
    console.rule("the verdict: against int8 alone, and against the original")
    _print(story.verdict_lines(report))
    console.rule("what next")
    _print(story.next_commands(folder / "home", manifest.name))
    _print(
        [
            f"the model's files and its card: {bundle}",
            f"the figures, for programs: {folder / 'summary.json'}",
        ]
    )
    return 0


def _print(lines: Iterable[str]) -> None:
    """Prints lines as they are: without markup, and never folded inside a command."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
