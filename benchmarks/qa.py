"""Reading comprehension, compressed: `python -m benchmarks.qa [--json] [--mode calibrate|learn] [--falls 1.0 3.0]`.

Takes BiDAF as trained here on the SQuAD articles below `ISS_DATA` (trained first where it is not cached: hours, and a run that
was stopped continues), compresses it within each of `--falls` points of F1, and compares both in ONNX Runtime: EM and F1 on
all questions of the validation articles, the weights of the LSTMs, and the median time of a question on real paragraphs, one
by one, one thread, interleaved. The bundles are cached; several falls give a trade-off.

The F1 of the original is not comparable with published ones: it has seen 18 % of the usual training questions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baseline import cache_folder
from compress.pipeline import run
from compress.questions.metrics import score
from compress.questions.squad import Paragraph, read_squad
from compress.tasks.reading import Inputs
from runtime.kinds import LoadedQuestionModel
from runtime.latency import interleave
from runtime.reading import Reading, answer, read, tokenized
from store.bundles import BundleStore
from store.jobs import CompressionRequest
from store.manifest import VariantName
from store.recipe import Budget, Recipe
from store.settings import StoreSettings
from store.uploads import UploadStore

TRAINING = [
    "--units", "72", "--epochs", "9", "--batch", "24", "--rate", "1e-3", "--final-rate", "2e-4", "--longest-context", "300",
    "--threads", "1",
]  # fmt: skip
TIMED = 60
"""Questions that are timed, spread over the set."""


def main() -> None:
    """Trains, compresses, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mode", choices=("calibrate", "learn"), default="calibrate")
    parser.add_argument("--falls", type=float, nargs="+", default=[1.0], help="budgets in points of F1")
    parser.add_argument("--epochs", type=float, default=2.0, help="of learning")
    parser.add_argument("--questions", type=int, help="judged on in the end; default: all")
    arguments = parser.parse_args()
    folder = reader()
    rows = []
    for fall in arguments.falls:
        recipe = recipe_of(arguments.mode, fall, arguments.epochs)
        model = compressed(folder, recipe)
        rows.append({"fall": fall, "mode": arguments.mode, **compared(model, dev(), arguments.questions)})
        if not arguments.json:
            _print(rows[-1])
    if arguments.json:
        sys.stdout.write(json.dumps({**rows[0], "rows": rows}) + "\n")


def reader() -> Path:
    """The folder of the trained reader, trained where it is not there."""
    folder = cache_folder() / "bidaf"
    if not (folder / "model.safetensors").exists():
        data = _data()
        command = ["train", "bidaf", "--data", str(data / "squad-v1.1"), "--vectors", str(_vectors(data))]
        subprocess.run(
            [sys.executable, "-m", "compress", *command, "--out", str(folder), *TRAINING], check=True, stdout=sys.stderr
        )
    return folder


def recipe_of(mode: str, fall: float, epochs: float) -> Recipe:
    """The committed recipe: a budget of F1, judged on 2,000 questions of the training articles' kind."""
    return Recipe.model_validate(
        {
            "name": f"bidaf-{mode}-{fall:g}", "mode": mode, "budget": Budget(f1_fall=fall), "learn_epochs": epochs,
            "calibration_questions": 1000, "held_out_questions": 1000,
        }
    )  # fmt: skip


def compressed(folder: Path, recipe: Recipe) -> LoadedQuestionModel:
    """The bundle of a recipe: found, or made by the pipeline."""
    settings = StoreSettings(home=cache_folder() / "bidaf-home")
    bundles = BundleStore(settings)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    for bundle_id, manifest in bundles.manifests():
        if manifest.recipe == recipe and manifest.provenance.upload_sha256 == digest:
            return LoadedQuestionModel(bundles.open(bundle_id))
    data = _data() / "squad-v1.1"
    inputs = Inputs(
        model=folder / "model.safetensors",
        vocabulary=folder / "words.txt",
        vectors=folder / "vectors.npy",
        characters=folder / "characters.txt",
        calibration=next(iter(sorted(data.glob("train-v1.1*")))),
        held_out=next(iter(sorted(data.glob("dev*")))),
    )
    work = settings.home / "work" / f"{recipe.name}-{digest[:8]}"
    work.mkdir(parents=True, exist_ok=True)
    upload = UploadStore(settings).save_file(inputs.model)

    def tell(stage: str, done: float, message: str) -> None:
        sys.stderr.write(f"{done:4.0%} {stage}: {message}\n")

    bundle_id = run(CompressionRequest(model=upload, recipe=recipe), inputs, work, tell, bundles)
    return LoadedQuestionModel(bundles.open(bundle_id))


def dev() -> list[Paragraph]:
    """The paragraphs that both models are judged on."""
    return read_squad(sorted((_data() / "squad-v1.1").glob("dev*")))


def compared(model: LoadedQuestionModel, paragraphs: list[Paragraph], most: int | None) -> dict[str, Any]:
    """Original and the fastest compressed variant within the budget, side by side."""
    asked = [(paragraph, question) for paragraph in paragraphs for question in paragraph.questions]
    if most is not None:
        asked = [asked[int(index)] for index in np.linspace(0, len(asked) - 1, min(most, len(asked)))]
    readings = [read(model.codec, tokenized(question.text, paragraph.context)) for paragraph, question in asked]
    golden = [tuple(each.text for each in question.answers) for _, question in asked]
    pruned: list[VariantName] = [v.name for v in model.manifest.variants if v.name.startswith("compressed")]
    times = timed(model, ["original", *pruned], readings)
    fastest = min(pruned, key=lambda name: float(np.median(times[name])))
    result: dict[str, Any] = {}
    names: tuple[tuple[str, VariantName], ...] = (("original", "original"), ("compressed", fastest))
    for place, name in names:
        session = model.session(name)
        found = score((answer(session, each).answers[0].text, own) for each, own in zip(readings, golden, strict=True))
        weights = sum(part.parameters for part in model.record(name).parts if "LSTM" in part.name)
        result[place] = {
            "em": round(found.em, 2), "f1": round(found.f1, 2), "lstm_weights": weights,
            "median_ms": round(float(np.median(times[name])), 3),
        }  # fmt: skip
    result["compressed"]["variant"] = fastest
    result["questions"] = len(asked)
    return result


def timed(
    model: LoadedQuestionModel, names: list[VariantName], readings: list[Reading]
) -> dict[VariantName, list[float]]:
    """Milliseconds of each of some questions by each variant, interleaved question by question, one thread."""
    sessions = {name: model.session(name) for name in names}
    times: dict[VariantName, list[float]] = {name: [] for name in names}
    for index in np.linspace(0, len(readings) - 1, min(TIMED, len(readings))):
        reading = readings[int(index)]
        found = interleave({str(name): partial(answer, each, reading) for name, each in sessions.items()}, pairs=3)
        for name in names:
            times[name].append(float(np.median(found[name])))
    return times


def _data() -> Path:
    if "ISS_DATA" not in os.environ:
        raise FileNotFoundError("SQuAD and the word vectors are looked for below ISS_DATA, which is not set")
    return Path(os.environ["ISS_DATA"])


def _vectors(data: Path) -> Path:
    found = sorted(data.glob("glove*/*"))
    if not found:
        raise FileNotFoundError(f"there are no word vectors in {data}/glove*")
    return found[0]


def _print(row: dict[str, Any]) -> None:
    sys.stdout.write(f"{row['mode']}, at most {row['fall']:g} F1 lost; {row['questions']:,} questions\n")
    for name in ("original", "compressed"):
        each = row[name]
        sys.stdout.write(
            f"  {each.get('variant', name):16} EM {each['em']:6.2f}  F1 {each['f1']:6.2f}  "
            f"LSTM weights {each['lstm_weights']:>9,}  {each['median_ms']:8.2f} ms\n"
        )
    ratio = row["original"]["lstm_weights"] / row["compressed"]["lstm_weights"]
    faster = row["original"]["median_ms"] / row["compressed"]["median_ms"]
    sys.stdout.write(f"  {ratio:.2f}x fewer LSTM weights, {faster:.2f}x as fast\n")


if __name__ == "__main__":
    main()
