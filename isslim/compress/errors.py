"""Errors of the worker that are answers for the person who uploaded.

CompressError
|-- UnreadableUpload     a file is truncated, of an unknown form, or a bomb
|-- UnsafePickle         a checkpoint needs more than weights
|-- UnknownArchitecture  the parameters are not those of a model that is understood
|-- VocabularyMismatch   the vocabulary is not of the embedding's size, or missing
|-- BadWeights           a parameter is not finite
|-- TextUnusable         a text cannot be used with this vocabulary
|-- EvaluationUnknown    the recipe names an evaluation that the worker's operator has not configured
|-- EvaluationFailed     the command of an evaluation gives no number
|-- RunsUnusable         a graph cannot be run on the recorded inputs, or they hold NaN and the like
|-- OutputsUnusable      no output of a graph can tell a compressed one from a destroyed one
|-- NothingToJudge       a budget of quality, and nothing that was not observed to judge it on
|-- CheckFailed          the model is not the one that the sender's own check is of
|-- CheckUnusable        a check of the sender's own cannot be done
|-- WrongBudget          a budget of another kind of model
|-- ModeUnavailable      a mode or option that this kind of model does not have
|-- NothingRemovable     no unit can go; the issues say why
|-- BudgetNotMet         no model keeps to the budget; carries the curve
|-- TooLargeToExport     the weights do not fit one ONNX file
|-- GraphNotUnderstood   an ONNX file has no recurrent layers that can be read, or holds what is not understood
|-- VerificationFailed   a proof failed; nothing was published
|-- DeviceFailed         the GPU is lost, or its memory is full
"""

from __future__ import annotations

from typing import Any, ClassVar

from isslim.types.manifest import CurvePoint
from isslim.types.problem import Problem


class CompressError(Exception):
    """Root of the worker's answers.

    Attributes:
        kind: stable slug.
        title: what happened, without particulars.
        detail: what was found, what was expected, what to do.
        issues: everything found, one line each.
    """

    kind: ClassVar[str] = "compression-failed"
    title: ClassVar[str] = "The compression failed"

    def __init__(self, detail: str, issues: list[str] | None = None) -> None:
        self.detail, self.issues = detail, issues or []
        super().__init__(detail)

    def problem(self) -> Problem:
        """The same, as the job shows it."""
        return Problem(kind=self.kind, title=self.title, detail=self.detail, issues=self.issues)


class UnreadableUpload(CompressError):
    """A file is truncated, of an unknown form, or a bomb."""

    kind, title = "unreadable-upload", "The file cannot be read"


class UnsafePickle(CompressError):
    """A checkpoint needs more than weights to be loaded."""

    kind, title = "unsafe-pickle", "The checkpoint needs code to be loaded"


class UnknownArchitecture(CompressError):
    """The parameters are not those of a model that is understood."""

    kind, title = "unknown-architecture", "The model is not understood"


class VocabularyMismatch(CompressError):
    """The vocabulary is not of the embedding's size, or there is none."""

    kind, title = "vocabulary-mismatch", "The vocabulary does not fit the model"


class BadWeights(CompressError):
    """A parameter holds NaN or infinite values."""

    kind, title = "bad-weights", "The weights are not finite"


class TextUnusable(CompressError):
    """A text cannot be used with this vocabulary."""

    kind, title = "text-unusable", "The text cannot be used"


class RunsUnusable(CompressError):
    """A graph cannot be run on the recorded inputs, or on none that could be drawn."""

    kind, title = "inputs-unusable", "The graph cannot be run on these inputs"


class OutputsUnusable(CompressError):
    """No output can be compared: they are random, not finite, or do not see what would be removed."""

    kind, title = "outputs-unusable", "The graph's outputs cannot be compared"


class NothingToJudge(CompressError):
    """A budget of quality cannot be kept: everything that was sent had to be observed."""

    kind, title = "nothing-to-judge", "There is nothing to judge the quality on"


class EvaluationUnknown(CompressError):
    """A recipe's metric names an evaluation that this worker does not have."""

    kind, title = "evaluation-unknown", "The evaluation is not known"


class EvaluationFailed(CompressError):
    """An evaluation's command ended badly, took too long, or printed no number."""

    kind, title = "evaluation-failed", "The evaluation failed"


class CheckFailed(CompressError):
    """The model as it was read is not the one that the sender's own check is of."""

    kind, title = "check-failed", "The model is not the one that your check is of"


class CheckUnusable(CompressError):
    """A check of the sender's own cannot be done."""

    kind, title = "check-unusable", "Your check cannot be done"


class WrongBudget(CompressError):
    """A budget says nothing of this kind of model."""

    kind, title = "wrong-budget", "The budget does not fit the model"


class ModeUnavailable(CompressError):
    """A mode or option that this kind of model does not have."""

    kind, title = "mode-unavailable", "This is not possible with such a model"


class NothingRemovable(CompressError):
    """No unit can go: the issues say why, axis by axis."""

    kind, title = "nothing-removable", "Nothing can be removed"


class BudgetNotMet(CompressError):
    """No model keeps to the budget.

    Attributes:
        curve: everything that was tried.
    """

    kind, title = "budget-not-met", "No model keeps to the budget"

    def __init__(
        self, detail: str, issues: list[str] | None = None, *, curve: list[CurvePoint]
    ) -> None:
        self.curve = curve
        super().__init__(detail, issues)


class TrainingDiverged(CompressError, FloatingPointError):
    """The loss stops being a number, however often the run is rolled back and its steps are made smaller.

    Attributes:
        issues: every rollback, one line each.
        best: what training would have returned: the best network so far, and the epochs up to the
            last rollback.
    """

    kind, title = "training-diverged", "The training diverged"

    def __init__(self, detail: str, issues: list[str] | None = None, *, best: Any) -> None:
        self.best = best
        super().__init__(detail, issues)


class CheckpointRefused(CompressError, ValueError):
    """A checkpoint is damaged, or of another run."""

    kind, title = "checkpoint-refused", "The checkpoint cannot be resumed"


class TooLargeToExport(CompressError, ValueError):
    """The weights do not fit one ONNX file."""

    kind, title = "too-large-to-export", "The model is too large for an ONNX file"


class GraphNotUnderstood(CompressError):
    """An ONNX file is refused: the detail names what it lacks or what of it is not understood."""

    kind, title = "graph-not-understood", "The graph is not understood"


class DeviceFailed(CompressError):
    """The GPU is lost, or its memory is full."""

    kind, title = "device-failed", "The worker's GPU failed"


class VerificationFailed(CompressError):
    """A proof failed; nothing was published."""

    kind, title = "verification-failed", "The proof failed"
