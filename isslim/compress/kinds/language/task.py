"""The task of a language model: calibrated, evaluated and verified on text, with carried state.

Quality is measured as the service scores texts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from isslim.compress.contract import ModelTask, Origin, Quality
from isslim.compress.errors import ModeUnavailable, TextUnusable
from isslim.compress.export.int8_forms import EightBit, Form
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.activations import collect_activations
from isslim.compress.kinds.language.checks import run_checks
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.export.int8 import quantize_network
from isslim.compress.kinds.language.export.stacked import Recurrence, has_narrow_recurrence
from isslim.compress.kinds.language.finetuning import distillation, teaching_of
from isslim.compress.kinds.language.ingest.uploaded_form import UploadedForm
from isslim.compress.kinds.language.kept_curves import latency_curves
from isslim.compress.kinds.language.latency_curve import LatencyCurve, shortest
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel
from isslim.compress.kinds.language.networks.names import EMBEDDING
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.kinds.language.probing import PredictionLoss
from isslim.compress.kinds.language.sizes import is_tied, parts
from isslim.compress.kinds.language.texts import Texts, sample
from isslim.compress.kinds.language.trainer import LanguageTrainer
from isslim.compress.kinds.language.training.evaluation import log_probs
from isslim.compress.kinds.language.verification import verify_graph, verify_removal
from isslim.compress.measurement.scans import scans_are_faster
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep, NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.ranking import Pruned
from isslim.compress.statistics.intervals import rise_of_perplexity
from isslim.compress.statistics.perplexity import perplexity_of
from isslim.compress.statistics.pieces import Pieces, pieces_between, spread_pieces
from isslim.compress.training.saved_network import save_tensors
from isslim.compress.training.stages import Distillation, Tuned
from isslim.compress.weights import ReturnsModules
from isslim.runtime.language import scoring
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.runtime.opening import devices
from isslim.runtime.shape import Shape, usual_size
from isslim.store.files import sha256_of
from isslim.types.inspection import CheckResult
from isslim.types.kinds.language import LANGUAGE
from isslim.types.kinds.uploads import UploadFields
from isslim.types.manifest import (
    PRIMARY_SHAPE,
    CheckRecord,
    Estimate,
    LatencyRecord,
    Metric,
    PartRecord,
    Task,
)
from isslim.types.recipe import Recipe
from isslim.types.same_form import STATE_DICT, SameForm

QUICK = 5_000
"""Tokens of the held-out text that `quick_loss` evaluates, and of a probe at most."""
PROBED_WORK, MIN_PROBED = 20_000_000_000, 500
"""Multiply-adds of the original on the tokens of a probe, and tokens of one at least."""
WRITTEN = 50_000
"""Tokens that the original writes to be distilled on where no text was sent."""


class LanguageTask(ReturnsModules[LanguageModel], ModelTask[LanguageModel]):
    """A language model and its texts.

    Args:
        original: the uploaded model.
        texts: calibration, training and held-out text.
        recipe: with a budget of a language model.
        codec: between texts and tokens.
        reading: how the upload was read.
        form: how its weights go back under the names of the upload; None: they do not.
    """

    task: ClassVar[Task] = LANGUAGE.name
    usual_shapes = (Shape(30, 10), Shape(*PRIMARY_SHAPE), Shape(1, 1))
    """The paper's, one sentence, and streaming."""
    metric: Metric = "perplexity"
    distils = True
    timed = True

    def __init__(
        self,
        original: LanguageModel,
        texts: Texts,
        recipe: Recipe,
        codec: TextCodec,
        reading: IngestReport,
        form: UploadedForm | None = None,
    ) -> None:
        self.original, self.texts, self.recipe, self.codec = original, texts, recipe, codec
        self._form = form
        self.text, self.may_narrow = codec.contract, isinstance(original, StackedLanguageModel)
        self.origin = Origin.read(
            reading,
            texts.calibration_origin,
            texts.held_out_origin,
            (texts.caveat,) if texts.caveat else (),
        )
        self._curves: list[LatencyCurve] = []
        self._scored: dict[str, NDArray[np.float32]] = {}

    @cached_property
    def _pieces(self) -> Pieces:
        """The held-out tokens that the search evaluates on."""
        return spread_pieces(self.texts.held_out, self.recipe.held_out_tokens)

    @cached_property
    def _base(self) -> NDArray[np.float64]:
        """The original's log-probabilities of `_pieces`, (N,); slow for a large model."""
        return log_probs(self.original, self._pieces)

    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        """Moments over pieces of the calibration text, and the frequencies of all its tokens."""
        whole = self.texts.calibration
        pieces = spread_pieces(whole, self.recipe.calibration_tokens)
        return collect_activations(
            self.original,
            pieces,
            whole=whole,
            progress=lambda done: progress(done, "collecting activations"),
        )

    def evaluate(self, network: LanguageModel) -> Quality:
        """Perplexity over pieces of the held-out text, and its relative rise."""
        found = self._base if network is self.original else log_probs(network, self._pieces)
        value, base = (perplexity_of(-float(each.mean())) for each in (found, self._base))
        estimate = None if network is self.original else rise_of_perplexity(self._base, found)
        return Quality(value, value / base - 1, estimate)

    @cached_property
    def _prediction_loss(self) -> PredictionLoss:
        """On calibration text that no moments are taken of, where there is enough; else held-out.

        The larger the model, the fewer tokens.
        """
        affordable = PROBED_WORK // axes.mult_adds(self.original.declaration())
        count = min(max(affordable, MIN_PROBED), QUICK)
        pieces = pieces_between(self.texts.calibration, self.recipe.calibration_tokens, count)
        return PredictionLoss(
            self.original, pieces or spread_pieces(self.texts.held_out, count), self.recipe.seed
        )

    def probe_loss(self, network: LanguageModel) -> float:
        """What it loses of the original's predictions, in nats per token.

        See `ModelTask.probe_loss`.
        """
        return 0.0 if network is self.original else self._prediction_loss.of(network)

    def verify_removal(self, before: LanguageModel, pruned: Pruned) -> CheckRecord:
        """Verifies against the masked reference on held-out text, with carried state.

        See `ModelTask.verify_removal`.
        """
        return verify_removal(
            before.rebuilt(pruned.arrays), before.rebuilt(pruned.reference), self.texts.held_out
        )

    def export(self, network: LanguageModel, path: Path) -> None:
        """Writes the scoring graph, narrow recurrences as Scans where those are faster.

        The clock decides on this host, at the primary shape; for a GPU, which they would keep
        waiting at every step, never. See `ModelTask.export`.
        """
        export(network, path, recurrence="native")
        if not has_narrow_recurrence(network) or "cuda" in devices():
            return
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="scans-") as folder:
            scans = Path(folder) / path.name
            export(network, scans, recurrence="narrow")
            if scans_are_faster(self, path, scans):
                scans.replace(path)

    def verify_export(self, path: Path, network: LanguageModel, name: str) -> CheckRecord:
        """ONNX Runtime against torch, with carried state. See `ModelTask.verify_export`."""
        return verify_graph(LanguageSession(path), network, self.texts.held_out, name)

    def quantize(self, network: LanguageModel, source: Path, target: Path, form: Form) -> EightBit:
        """Quantizes the scoring graph. See `ModelTask.quantize`."""
        return quantize_network(network, source, target, form)

    def quick_loss(self, path: Path) -> float:
        """Nats per token on a few pieces of the held-out text.

        A difference of two such values is a relative rise of perplexity.
        """
        pieces = (
            spread_pieces(self.texts.held_out, min(QUICK, self.recipe.held_out_tokens))
            .rows.t()
            .tolist()
        )
        scores = scoring.score_batch(LanguageSession(path), pieces, self.codec.start_id)
        return -sum(each.total for each in scores) / sum(each.counted for each in scores)

    def measure(self, path: Path) -> dict[str, float]:
        """Perplexity of all of the held-out text; a file is scored once.

        See `isslim.runtime.language.scoring.text_log_probs`.
        """
        return {"perplexity": scoring.perplexity_of(self._log_probs(path))}

    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        """The relative rise of perplexity. See `ModelTask.loss`."""
        return metrics["perplexity"] / original["perplexity"] - 1

    def estimate(self, path: Path, original: Path) -> Estimate | None:
        """The interval of the rise of perplexity, both scored on the same tokens.

        See `ModelTask.estimate`.
        """
        return rise_of_perplexity(self._log_probs(original), self._log_probs(path))

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        """Times scoring runs on random tokens. See `ModelTask.compare`."""
        sessions = {name: LanguageSession(path) for name, path in paths.items()}
        steps, batch = usual_size(shape)
        return compare(sessions, steps=steps, batch=batch, pairs=pairs)

    def parts(self, declaration: NetworkAxes) -> list[PartRecord]:
        """Embedding, recurrent layers, softmax."""
        return parts(declaration)

    def save_companions(self, folder: Path) -> None:
        """The tokenizer."""
        self.codec.tokenizer.save(str(folder / "tokenizer.json"))

    def equal_axes(self) -> list[list[str]]:
        """Layers that the upload's code builds with one number. See `ReturnsWeights.equal_axes`."""
        if self.recipe.form == "free":
            return []
        if self._form is None or self._form.obstacles:
            obstacles = list(self._form.obstacles) if self._form else ["its names are not known"]
            raise ModeUnavailable(
                f"this model cannot be returned in its own form: {'; '.join(obstacles)}. Ask for "
                "the form `free`",
                obstacles,
            )
        return [list(group) for group in self._form.equal]

    def save_weights(self, network: LanguageModel, folder: Path, kept: Keep) -> SameForm | None:
        """Also the state dict of the upload's form, where the recipe asks for it.

        See `ReturnsWeights.save_weights`.
        """
        super().save_weights(network, folder, kept)
        if self.recipe.form == "free" or self._form is None:
            return None
        save_tensors(folder / STATE_DICT, self._form.state_dict(network), {"format": "pt"})
        return SameForm(
            modules=self._form.changes(self.original, network),
            tied=is_tied(network.declaration()),
            unchanged=list(self._form.unused),
        )

    def is_tied(self, declaration: NetworkAxes) -> bool:
        """Whether the decoder's matrix is the embedding's."""
        return is_tied(declaration)

    def run_checks(self, files: UploadFields[Path]) -> list[CheckResult]:
        """Its perplexity on a text, and an export of it, as they were sent."""
        return run_checks(self.original, self.codec, self.origin.layout, files, self.recipe)

    def prunable(self, declaration: NetworkAxes) -> list[str]:
        """Every layer, and the embedding's width unless the recipe forbids it."""
        return [
            axis for axis in declaration.axes if self.recipe.prune_embedding or axis != EMBEDDING
        ]

    def cost(self, work: Path, progress: ProgressCallback) -> Callable[[NetworkAxes], float] | None:
        """The latency curve of this host, measured once; None where its clock is too unsteady.

        See `ModelTask.cost`.
        """
        if not self._curves:
            steps, batch = usual_size(self.optimized_shape)
            int8 = self.recipe.budget.speedup is None
            # A GRU is served in int8 as a Scan, where that is faster.
            both = int8 and isinstance(self.original, GruLanguageModel)
            recurrences: tuple[Recurrence, ...] = ("narrow", "scan") if both else ("narrow",)
            self._curves = latency_curves(
                self.original, work, progress,
                run=(steps, batch), int8=int8, recurrences=recurrences,
            )  # fmt: skip
        error = max(curve.error for curve in self._curves)
        if all(curve.is_trusted for curve in self._curves):
            progress(1.0, f"latency curve within {error:.0%} of what was measured")
            return partial(shortest, self._curves)
        progress(
            1.0,
            f"clock too unsteady (the latency curve is off by {error:.0%}): counting "
            "multiply-adds instead",
        )
        return None

    def finetune(
        self,
        network: LanguageModel,
        minutes: float,
        folder: Path,
        progress: ProgressCallback,
        most_minutes: float | None = None,
    ) -> Tuned[LanguageModel]:
        """Distils on the training text, or on one of the original's. See `Trainable.finetune`."""
        if not self.texts.training_given:
            progress(0.0, "the original writes a text to be distilled on")
        return self._distillation.run(network, minutes, folder, progress, most_minutes)

    @cached_property
    def _distillation(self) -> Distillation[LanguageModel]:
        texts = self.texts
        if not texts.training_given:
            written = sample(self.original, self.codec.start_id, WRITTEN, self.recipe.seed + 2)
            return distillation(self.original, written, self._pieces)
        teaching = teaching_of(self.original, texts.training, texts.held_out)
        return distillation(self.original, texts.training, self._pieces, teaching)

    def trainer(self) -> LanguageTrainer:
        """A trainer on the user's text.

        Raises:
            TextUnusable: when no text was sent.
        """
        if not self.texts.training_given:
            raise TextUnusable(
                "the mode 'learn' trains on a text of yours, and none was uploaded: send `train` "
                "(or `calibration`), or "
                "ask for the mode 'calibrate', which needs no text"
            )
        return LanguageTrainer(self.original, self.texts, self.recipe)

    def _log_probs(self, path: Path) -> NDArray[np.float32]:
        """Log-probabilities of the held-out text, (N,); kept for the original's many uses."""
        key = sha256_of(path)
        if key not in self._scored:
            ids = self.texts.held_out.tolist()
            self._scored[key] = scoring.text_log_probs(
                LanguageSession(path), ids, self.codec.start_id
            )
        return self._scored[key]
