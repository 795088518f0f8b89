"""Reading comprehension, compressed.

    python -m benchmarks.qa [--json] [--falls 1 2 3] [--sizes 0.3 0.22]

Writes a table, or one JSON object, to standard output; caches model and bundles below `ISS_HOME`.

Takes BiDAF as trained here on the SQuAD articles below `ISS_DATA` (trained first where it is not
cached: hours, and a run that was stopped continues), compresses it in closed form within each of
`--falls` points of F1 and by learning to each of `--sizes`, shares of its parameters, and compares
in ONNX Runtime: EM and F1 on all questions of the validation articles, the weights of the LSTMs,
and the median time of a question on real paragraphs, one by one, one thread, interleaved. The
bundles are cached; together they are the trade-off. `--json` puts the fastest that loses at most
`WITHIN` points of F1 first.

EM and F1 are those that the pipeline measured, on the same questions through the same code, and
wrote into the bundle; `--questions` answers so many anew. The F1 of the original is
not comparable with published ones: it has seen 18 % of the usual training questions.
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
from rich.console import Console
from rich.table import Table

from benchmarks.baseline import cache_folder
from isslim.compress.errors import BudgetNotMet
from isslim.compress.kinds.questions.metrics import score
from isslim.compress.kinds.questions.squad import Paragraph, Question, read_squad, unpacked
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.pipeline import compress_files, publish
from isslim.compress.progress import CallbackProgress
from isslim.runtime.clock import interleave
from isslim.runtime.questions.answering import (
    EncodedQuestion,
    answer,
    encode_question,
    tokenize_question,
)
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.manifest import VariantName
from isslim.types.recipe import Budget, Recipe

TRAINING = [
    "--units", "100", "--dropout", "0.4", "--epochs", "27", "--batch", "60",
    "--rate", "1e-3", "--final-rate", "1e-4", "--longest-context", "300",
]  # fmt: skip
TIMED = 60
"""Questions that are timed, spread over the set."""
WITHIN = 1.0
"""Points of F1."""
ALL = 1_000_000
"""Held-out questions: as many as there are. A thousand give F1 to no better than one point."""

Asked = list[tuple[Paragraph, Question]]


def main() -> None:
    """Trains, compresses, compares, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--falls",
        type=float,
        nargs="*",
        default=[1.0],
        help="budgets of calibration in points of F1",
    )
    parser.add_argument(
        "--sizes",
        type=float,
        nargs="*",
        default=[0.22],
        help="budgets of learning in shares of the parameters",
    )
    parser.add_argument("--epochs", type=float, default=10.0, help="of learning, each size")
    parser.add_argument(
        "--questions",
        type=int,
        help="answer so many anew for EM and F1; default: as the bundle says",
    )
    arguments = parser.parse_args()
    folder, asked, curve = reader(), dev(), list[dict[str, Any]]()
    recipes = [calibrating(fall) for fall in arguments.falls]
    recipes += [learning(size, arguments.epochs) for size in arguments.sizes]
    for recipe in recipes:
        point: dict[str, Any] = {"mode": recipe.mode, "budget": recipe.budget.limits}
        try:
            curve.append(point | compared(compressed(folder, recipe), asked, arguments.questions))
        except BudgetNotMet as refused:
            curve.append(point | {"refused": refused.detail})
    if arguments.json:
        first = best(curve)
        sys.stdout.write(json.dumps({**first, "curve": curve}) + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(curve))


def reader() -> Path:
    """The folder of the trained reader, trained where it is not there."""
    folder = cache_folder() / "bidaf"
    if not (folder / "model.safetensors").exists():
        data = _data()
        command = [
            "train",
            "bidaf",
            "--data",
            str(data / "squad-v1.1"),
            "--vectors",
            str(_vectors(data)),
        ]
        subprocess.run(
            [sys.executable, "-m", "isslim.compress", *command, "--out", str(folder), *TRAINING],
            check=True,
            stdout=sys.stderr,
        )
    return folder


def calibrating(fall: float) -> Recipe:
    """In closed form within a fall of F1, evaluated on all held-out questions."""
    return _recipe(f"bidaf-calibrate-{fall:g}", Budget(f1_fall=fall), minutes=0)


def learning(size: float, epochs: float) -> Recipe:
    """One cut, then distillation.

    Args:
        size: share of the parameters that is left.
        epochs: of distillation.
    """
    return _recipe(
        f"bidaf-learn-{size:g}", Budget(size_ratio=size), mode="learn", learn_epochs=epochs
    )


def _recipe(name: str, budget: Budget, **others: Any) -> Recipe:
    asked = {"calibration_questions": 1000, "held_out_questions": ALL, **others}
    return Recipe.model_validate({"name": name, "budget": budget, **asked})


def best(curve: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest model that loses at most `WITHIN`, else the one that loses least, if any."""
    made = [point for point in curve if "original" in point]
    lost = {id(point): point["original"]["f1"] - point["compressed"]["f1"] for point in made}
    good = [point for point in made if lost[id(point)] <= WITHIN]
    if good:
        return max(
            good,
            key=lambda point: float(
                point["original"]["median_ms"] / point["compressed"]["median_ms"]
            ),
        )
    return min(made, key=lambda point: lost[id(point)], default={})


def compressed(folder: Path, recipe: Recipe) -> LoadedQuestionModel:
    """The bundle of a recipe: found, or made by the pipeline.

    Args:
        folder: of the trained reader.
        recipe: how it is compressed.

    Raises:
        BudgetNotMet: when no model keeps to its budget.
    """
    settings = StoreSettings(home=cache_folder() / "bidaf-home")
    bundles = BundleStore(settings)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    for bundle_id, manifest in bundles.manifests():
        if manifest.recipe == recipe and manifest.provenance.upload_sha256 == digest:
            return LoadedQuestionModel(bundles.open(bundle_id))
    data = _data() / "squad-v1.1"
    work = settings.home / "work" / f"{recipe.name}-{digest[:8]}"
    work.mkdir(parents=True, exist_ok=True)
    inputs = UploadedFiles(
        model=folder / "model.safetensors",
        vocabulary=folder / "words.txt",
        vectors=folder / "vectors.npy",
        characters=folder / "characters.txt",
        train=_joined(sorted(data.glob("train*")), work / "train.json"),
        calibration=next(iter(sorted(data.glob("train-v1.1*")))),
        held_out=next(iter(sorted(data.glob("dev*")))),
    )

    def report(stage: str, done: float, message: str) -> None:
        sys.stderr.write(f"{done:4.0%} {stage}: {message}\n")

    progress = CallbackProgress(report)
    made = publish(compress_files(inputs, recipe, work, progress), bundles, progress)
    return LoadedQuestionModel(bundles.open(made))


def dev() -> Asked:
    """The questions that both models are evaluated on."""
    paragraphs = read_squad(sorted((_data() / "squad-v1.1").glob("dev*")))
    return [(paragraph, question) for paragraph in paragraphs for question in paragraph.questions]


def compared(model: LoadedQuestionModel, asked: Asked, most: int | None) -> dict[str, Any]:
    """Original and the fastest compressed variant within the budget, side by side.

    Args:
        model: the opened bundle.
        asked: all questions.
        most: how many are answered anew for EM and F1; None: as the bundle has it.
    """
    pruned: list[VariantName] = [
        v.name for v in model.manifest.variants if v.name.startswith("compressed")
    ]
    times = timed(
        model, ["original", *pruned], [_reading(model, each) for each in _spread(asked, TIMED)]
    )
    fastest = min(pruned, key=lambda name: float(np.median(times[name])))
    names: tuple[tuple[str, VariantName], ...] = (("original", "original"), ("compressed", fastest))
    result: dict[str, Any] = {}
    for place, name in names:
        em, f1 = _scores(
            model, name, asked if most is None else _spread(asked, most), anew=most is not None
        )
        weights = sum(part.parameters for part in model.record(name).parts if "LSTM" in part.name)
        median = float(np.median(times[name]))
        result[place] = {
            "em": round(em, 2),
            "f1": round(f1, 2),
            "lstm_weights": weights,
            "median_ms": round(median, 3),
        }
    result["compressed"]["variant"] = fastest
    result["questions"] = len(asked) if most is None else min(most, len(asked))
    return result


def timed(
    model: LoadedQuestionModel, names: list[VariantName], readings: list[EncodedQuestion]
) -> dict[VariantName, list[float]]:
    """Milliseconds of each question by each variant, question by question in turn, one thread.

    Args:
        model: the opened bundle.
        names: of the variants.
        readings: the encoded questions.
    """
    sessions = {name: model.session(name) for name in names}
    times: dict[VariantName, list[float]] = {name: [] for name in names}
    for reading in readings:
        found = interleave(
            {str(name): partial(answer, each, reading) for name, each in sessions.items()}, pairs=3
        )
        for name in names:
            times[name].append(float(np.median(found.timed[name].rounds(found.basis))))
    return times


def table(curve: list[dict[str, Any]]) -> Table:
    """The trade-off: the original, then a row for each mode and budget."""
    made = [point for point in curve if "original" in point]
    shown = Table(title=f"EM and F1 on {made[0]['questions']:,} questions" if made else None)
    shown.add_column("mode")
    shown.add_column("variant")
    for name in ("budget", "EM", "F1", "lost", "LSTM weights", "fewer", "median ms", "as fast"):
        shown.add_column(name, justify="right")
    if made:
        shown.add_row("", "original", "", *_cells(made[0]["original"], made[0]["original"]))
    for point in curve:
        cells = ["nothing within it"] if "refused" in point else [point["compressed"]["variant"]]
        ((name, limit),) = point["budget"].items()
        cells.append(f"{name} {limit:g}")
        if "refused" not in point:
            cells += _cells(point["compressed"], point["original"])
        shown.add_row(point["mode"], *cells)
    return shown


def _cells(one: dict[str, Any], original: dict[str, Any]) -> list[str]:
    """A model's figures, and what they are to the original's of the same comparison."""
    return [
        f"{one['em']:.2f}",
        f"{one['f1']:.2f}",
        f"{original['f1'] - one['f1']:+.2f}",
        f"{one['lstm_weights']:,}",
        f"{original['lstm_weights'] / one['lstm_weights']:.2f}x",
        f"{one['median_ms']:.2f}",
        f"{original['median_ms'] / one['median_ms']:.2f}x",
    ]


def _scores(
    model: LoadedQuestionModel, name: VariantName, asked: Asked, *, anew: bool
) -> tuple[float, float]:
    """EM and F1 of a variant: the bundle's, or of answers given now."""
    if not anew:
        metrics = model.record(name).metrics
        return metrics["exact_match"], metrics["f1"]
    session = model.session(name)
    found = score(
        (
            answer(session, _reading(model, each)).answers[0].text,
            [golden.text for golden in each[1].answers],
        )
        for each in asked
    )
    return found.em, found.f1


def _spread(asked: Asked, most: int) -> Asked:
    """At most so many questions, spread evenly over all."""
    return [asked[int(index)] for index in np.linspace(0, len(asked) - 1, min(most, len(asked)))]


def _reading(model: LoadedQuestionModel, asked: tuple[Paragraph, Question]) -> EncodedQuestion:
    paragraph, question = asked
    return encode_question(model.codec, tokenize_question(question.text, paragraph.context))


def _joined(files: list[Path], target: Path) -> Path:
    """The articles of several files in one, which an upload has to be."""
    articles = [article for file in files for article in json.loads(unpacked(file))["data"]]
    target.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return target


def _data() -> Path:
    if "ISS_DATA" not in os.environ:
        raise FileNotFoundError(
            "SQuAD and the word vectors are looked for below ISS_DATA, which is not set"
        )
    return Path(os.environ["ISS_DATA"])


def _vectors(data: Path) -> Path:
    found = sorted(data.glob("glove*/*"))
    if not found:
        raise FileNotFoundError(f"there are no word vectors in {data}/glove*")
    return found[0]


if __name__ == "__main__":
    main()
