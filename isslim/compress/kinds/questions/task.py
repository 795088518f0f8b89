"""The task of question answering: calibrated on contexts and questions, evaluated by F1.

Quality is measured as the service answers.

Legend: B batch, T tokens of a context.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from isslim.compress.contract import ModelTask, Origin, Quality
from isslim.compress.errors import VerificationFailed
from isslim.compress.export.int8_forms import EightBit, Form
from isslim.compress.export.quantize import quantize
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.questions.activations import collect_question_activations
from isslim.compress.kinds.questions.data import QuestionData
from isslim.compress.kinds.questions.evaluation import evaluate_on_device
from isslim.compress.kinds.questions.examples import Example, QuestionBatch
from isslim.compress.kinds.questions.export import export
from isslim.compress.kinds.questions.metrics import overlap, score
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.probing import PredictionLoss
from isslim.compress.kinds.questions.sampling import sample_answers
from isslim.compress.kinds.questions.sizes import parts
from isslim.compress.kinds.questions.trainer import QuestionTrainer
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.moments import ActivationStatistics
from isslim.compress.pruning.ranking import Pruned
from isslim.compress.statistics.intervals import fall_of_mean
from isslim.compress.training.stages import Distillation, Tuned
from isslim.compress.weights import ReturnsModules
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.latency import compare_questions
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession, TokenBatch
from isslim.runtime.shape import Shape, usual_size
from isslim.store.files import sha256_of
from isslim.types.kinds.questions import QUESTIONS
from isslim.types.manifest import (
    CheckRecord,
    Estimate,
    LatencyRecord,
    Metric,
    PartRecord,
    Task,
    VariantName,
)
from isslim.types.recipe import Recipe
from isslim.types.report import Sample

TOLERANCE = 1e-4
"""Largest absolute difference of a token's log-probability (nats): float32 sums in different
orders."""
NATS_OF_A_POINT = 0.05
"""Of start and end together, by which a reader's F1 falls by one point."""
COMPARED_QUESTIONS = 24
"""Questions that verification compares."""
QUICK = 100
"""Questions that `quick_loss` evaluates."""
APART, APART_SHARE = 500, 0.1
"""Training questions that stages of distillation are compared on, at most, and their share."""
PROBED = 200
"""Questions of a probe."""


class QuestionTask(ReturnsModules[Bidaf], ModelTask[Bidaf]):
    """A question answering model and its questions.

    Args:
        original: the uploaded model.
        data: calibration, training and held-out questions.
        recipe: with a budget of question answering.
        codec: of its words and characters.
        reading: how the upload was read.
    """

    task: ClassVar[Task] = QUESTIONS.name
    usual_shapes = (Shape(150, 1), Shape(400, 1), Shape(150, 10))
    """A usual paragraph, a window, and ten paragraphs side by side."""
    metric: Metric = "f1"
    distils = True

    def __init__(
        self,
        original: Bidaf,
        data: QuestionData,
        recipe: Recipe,
        codec: PassageCodec,
        reading: IngestReport,
    ) -> None:
        self.original, self.data, self.recipe, self.codec = original, data, recipe, codec
        self.origin = Origin.read(reading, data.calibration_origin, data.held_out_origin)
        self._answered: dict[str, list[str]] = {}

    @cached_property
    def _base(self) -> NDArray[np.float64]:
        """F1 of each of the original's answers, (N,); slow for a large model."""
        return self._scores(evaluate_on_device(self.original, self.data.held_out).answers)

    def collect_activations(self, progress: ProgressCallback) -> ActivationStatistics:
        """Moments over the calibration questions."""
        return collect_question_activations(
            self.original,
            self.data.calibration,
            lambda done: progress(done, "collecting activations"),
        )

    def evaluate(self, network: Bidaf) -> Quality:
        """F1 of the answers, and its fall in points."""
        if network is self.original:
            return Quality(float(self._base.mean()), 0.0)
        found = self._scores(evaluate_on_device(network, self.data.held_out).answers)
        fall = float(self._base.mean()) - float(found.mean())
        return Quality(float(found.mean()), fall, self._fall(self._base, found))

    @cached_property
    def _prediction_loss(self) -> PredictionLoss:
        """On training questions; where there are many, moments are taken of few of them."""
        return PredictionLoss(self.original, self.data.training.spread(PROBED))

    def probe_loss(self, network: Bidaf) -> float:
        """What it loses of the original's predictions, in nats per question.

        See `ModelTask.probe_loss`.
        """
        return 0.0 if network is self.original else self._prediction_loss.of(network)

    def verify_removal(self, before: Bidaf, pruned: Pruned) -> CheckRecord:
        """Verifies against the masked reference on a batch of questions of unequal lengths.

        See `ModelTask.verify_removal`.
        """
        inputs = self._proof()
        return _checked(
            "pruned = masked reference",
            inputs,
            before.rebuilt(pruned.arrays)(*inputs),
            before.rebuilt(pruned.reference),
        )

    def export(self, network: Bidaf, path: Path) -> None:
        """Writes the question graph. See `ModelTask.export`."""
        export(network, path)

    def verify_export(self, path: Path, network: Bidaf, name: str) -> CheckRecord:
        """Verifies ONNX Runtime against torch on a batch of questions of unequal lengths.

        See `ModelTask.verify_export`.
        """
        inputs = self._proof()
        found = QuestionSession(path).run(*_sides(inputs))
        scores = torch.from_numpy(found.start_log_probs), torch.from_numpy(found.end_log_probs)
        return _checked(f"ONNX Runtime = torch ({name})", inputs, scores, network)

    def quantize(self, network: Bidaf, source: Path, target: Path, form: Form) -> EightBit:
        """Quantizes the question graph, of which some parts always stay float32.

        See `ModelTask.quantize`.
        """
        found = quantize(source, target, form)
        return replace(found, rest=[*found.rest, *QUESTIONS.float32_parts])

    def quick_loss(self, path: Path) -> float:
        """Negative F1 of some held-out questions, spread over all."""
        examples = self.data.held_out.spread(QUICK).examples
        golden = (each.golden for each in examples)
        return -score(zip(self._predictions(path, examples), golden, strict=True)).f1

    def measure(self, path: Path) -> dict[str, float]:
        """Exact match and F1 of all held-out questions, each answered as the service answers."""
        golden = [example.golden for example in self.data.held_out.examples]
        found = score(zip(self._answers(path), golden, strict=True))
        return {"f1": found.f1, "exact_match": found.em}

    def samples(self, paths: Mapping[VariantName, Path]) -> list[Sample]:
        """Sample questions from the held-out ones, each answered as the service answers."""
        sessions = {name: QuestionSession(path) for name, path in paths.items()}
        return sample_answers(sessions, self.codec, self.data.as_sent)

    def probe_limit(self, limit: float) -> float:
        """About how many nats of start and end together some points of F1 are."""
        return NATS_OF_A_POINT * limit

    def loss(self, metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
        """Points of F1 lost. See `ModelTask.loss`."""
        return original["f1"] - metrics["f1"]

    def estimate(self, path: Path, original: Path) -> Estimate | None:
        """The interval of the fall of F1, both evaluated on the same questions.

        See `ModelTask.estimate`.
        """
        return self._fall(self._scores(self._answers(original)), self._scores(self._answers(path)))

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        """Times runs on contexts of random words. See `ModelTask.compare`."""
        sessions = {name: QuestionSession(path) for name, path in paths.items()}
        steps, batch = usual_size(shape)
        return compare_questions(sessions, steps=steps, batch=batch, pairs=pairs)

    def parts(self, declaration: NetworkAxes) -> list[PartRecord]:
        """Every part from the characters to the heads, without the word vectors."""
        return parts(declaration)

    def save_companions(self, folder: Path) -> None:
        """Saves words, vectors and characters, once for all variants."""
        self.codec.save(folder)

    def finetune(
        self,
        network: Bidaf,
        minutes: float,
        folder: Path,
        progress: ProgressCallback,
        most_minutes: float | None = None,
    ) -> Tuned[Bidaf]:
        """Distils on the training questions, some of which are kept apart.

        See `Trainable.finetune`.
        """
        return self._distillation.run(network, minutes, folder, progress, most_minutes)

    @cached_property
    def _distillation(self) -> Distillation[Bidaf]:
        examples = self.data.training.examples
        apart = max(1, min(APART, int(APART_SHARE * len(examples))))
        training, held_back = (
            replace(self.data.training, examples=each)
            for each in (examples[:-apart], examples[-apart:])
        )
        trainer = QuestionTrainer(self.original, training, self.data.held_out, self.recipe)
        return trainer.repair(held_back)

    def trainer(self) -> QuestionTrainer:
        """A trainer on this task's questions."""
        return QuestionTrainer(self.original, self.data.training, self.data.held_out, self.recipe)

    def _answers(self, path: Path) -> list[str]:
        """A graph's answers to the held-out questions; kept for the original's many uses."""
        key = sha256_of(path)
        if key not in self._answered:
            self._answered[key] = self._predictions(path, self.data.held_out.examples)
        return self._answered[key]

    def _predictions(self, path: Path, examples: Sequence[Example]) -> list[str]:
        session = QuestionSession(path)
        return [
            answer(
                session, encode_question(self.codec, tokenize_question(each.question, each.context))
            )
            .answers[0]
            .text
            for each in examples
        ]

    def _scores(self, answers: Sequence[str]) -> NDArray[np.float64]:
        """F1 of every answer, (N,), 0 to 100."""
        pairs = zip(answers, self.data.held_out.examples, strict=True)
        return np.array([100 * overlap(text, example.golden) for text, example in pairs])

    def _fall(self, original: NDArray[np.float64], found: NDArray[np.float64]) -> Estimate | None:
        """The interval of a fall of F1; questions on one context are not independent."""
        return fall_of_mean(
            original, found, [each.context for each in self.data.held_out.examples], most=100.0
        )

    @torch.no_grad()
    def _proof(self) -> QuestionBatch:
        """A batch of held-out questions with short and long contexts."""
        examples = self.data.held_out.examples
        order = sorted(range(len(examples)), key=lambda index: len(examples[index].context_row))
        chosen = np.linspace(0, len(order) - 1, min(COMPARED_QUESTIONS, len(order))).astype(int)
        return self.data.held_out.inputs([order[index] for index in chosen])


def _sides(inputs: QuestionBatch) -> Iterator[TokenBatch]:
    arrays = [each.numpy() for each in inputs]
    for first in (0, 3):
        yield TokenBatch(arrays[first], arrays[first + 1], arrays[first + 2].astype(np.int32))


@torch.no_grad()
def _checked(
    name: str, inputs: QuestionBatch, found: tuple[torch.Tensor, torch.Tensor], reference: Bidaf
) -> CheckRecord:
    real = torch.arange(inputs[0].shape[0]) < inputs[2][:, None]  # (B, T)
    expected = reference(*inputs)
    error = max(
        float((ours - theirs)[real].abs().max())
        for ours, theirs in zip(found, expected, strict=True)
    )
    if not error <= TOLERANCE:  # NaN fails too
        raise VerificationFailed(
            f"{name}: the largest difference is {error:.2e}, the tolerance {TOLERANCE:.0e}; "
            "nothing was published"
        )
    detail = (
        f"log-probabilities of {2 * int(real.sum()):,} starts and ends, "
        f"{len(inputs[2])} contexts of unequal lengths"
    )
    return CheckRecord(name=name, detail=detail, error=error, tolerance=TOLERANCE)
