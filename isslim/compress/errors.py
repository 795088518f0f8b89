"""Errors of the worker that are reported to the person who uploaded the model.

CompressError
|-- UnreadableUpload     a file is truncated, of an unknown form, or a bomb
|-- ReadingTooLarge      reading the upload takes more memory than its size explains
|-- ReadingTooLong       reading the upload takes more time than its size explains
|-- ReadingFailed        the process that read the upload ended
|-- UnusedUpload         a file was sent that this kind of model does not use
|-- UnsafePickle         a checkpoint needs more than weights
|-- UnknownArchitecture  the parameters are not those of a model that is understood
|-- VocabularyMismatch   the vocabulary is not of the embedding's size, or missing
|-- BadWeights           a parameter is not finite
|-- TextUnusable         a text cannot be used with this vocabulary
|-- EvaluationUnknown    the recipe names an evaluation that the operator has not configured
|-- EvaluationFailed     the command of an evaluation gives no number
|-- RunsUnusable         a graph cannot be run on the recorded inputs, or they hold NaN and the like
|-- OutputsUnusable      no output of a graph can be compared
|-- NothingToEvaluate       a quality budget without data to evaluate it on
|-- ArgumentsRefused     an argument of `isslim.compress` is of no known form
|-- CheckFailed          the model fails the sender's own check
|-- CheckUnusable        the sender's own check cannot be done
|-- WrongBudget          a budget of another kind of model
|-- ModeUnavailable      a mode or option that this kind of model does not have
|-- NothingRemovable     no unit can go; the issues say why
|-- BudgetNotMet         no smaller model is within the budget; carries the curve
|-- TooLargeToExport     the weights do not fit one ONNX file
|-- GraphNotUnderstood   an ONNX file has no recurrent layers, or something is not supported
|-- ModuleRefused        an nn.Module cannot be exported; the issues say why, in its own names
|-- ModuleNotCut         a small graph cannot be had as a module of the user's class
|-- NotTrainable         a graph cannot be trained; it is cut and repaired in closed form
|-- VerificationFailed   a verification failed; nothing was published
|-- DeviceFailed         the GPU is lost, or its memory is full
"""

from __future__ import annotations

from typing import Any, ClassVar

from isslim.types.manifest import CurvePoint
from isslim.types.problem import Problem

MAX_DETAIL, MAX_ISSUES, MAX_ISSUE = 4000, 100, 1000
"""Characters, lines and characters of a line: names in a file may be of any length and number."""


def _shown(text: str, most: int) -> str:
    """A text that any reader can decode, cut where it is longer; a pickle may hold half letters."""
    whole = text[: most + 1].encode(errors="replace").decode()
    return whole if len(whole) <= most else f"{whole[:most]}..."


class CompressError(Exception):
    """Base class of the errors that a job reports.

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
        """The error as a problem document (RFC 9457), of bounded length and valid text."""
        issues = [_shown(issue, MAX_ISSUE) for issue in self.issues[:MAX_ISSUES]]
        if len(self.issues) > MAX_ISSUES:
            issues.append(f"... and {len(self.issues) - MAX_ISSUES:,} more")
        detail = _shown(self.detail, MAX_DETAIL)
        return Problem(kind=self.kind, title=self.title, detail=detail, issues=issues)


class UnusedUpload(CompressError):
    """A file was sent that this kind of model does not use."""

    kind = "unused-upload"
    title = "A file would not be used"


class UnreadableUpload(CompressError):
    """A file is truncated, of an unknown form, or a bomb."""

    kind, title = "unreadable-upload", "The file cannot be read"


class ReadingTooLarge(CompressError):
    """Reading the upload takes more memory than its size explains."""

    kind, title = "reading-too-large", "Reading the upload takes too much memory"


class ReadingTooLong(CompressError):
    """Reading the upload takes more time than its size explains."""

    kind, title = "reading-too-long", "Reading the upload takes too long"


class ReadingFailed(CompressError):
    """The process that read the upload ended, by a signal or by an error nobody foresaw."""

    kind, title = "reading-failed", "The upload could not be read to its end"


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
    """A graph cannot be run on the recorded inputs, or on random ones."""

    kind, title = "inputs-unusable", "The graph cannot be run on these inputs"


class OutputsUnusable(CompressError):
    """No output can be compared: all are random, not finite, or independent of what would go."""

    kind, title = "outputs-unusable", "The graph's outputs cannot be compared"


class NothingToEvaluate(CompressError):
    """A quality budget cannot be evaluated: all data that was sent is needed for calibration."""

    kind, title = "nothing-to-evaluate", "There is no data to evaluate the quality on"


class EvaluationUnknown(CompressError):
    """The recipe's metric names an evaluation that this worker does not have."""

    kind, title = "evaluation-unknown", "The evaluation is not known"


class EvaluationFailed(CompressError):
    """An evaluation's command ended badly, took too long, or printed no number."""

    kind, title = "evaluation-failed", "The evaluation failed"


class ArgumentsRefused(CompressError, ValueError):
    """An argument of `isslim.compress` is of no form that is understood; the issues name all."""

    kind, title = "arguments-refused", "The arguments are not understood"


class CheckFailed(CompressError):
    """The model as it was read fails the sender's own check."""

    kind, title = "check-failed", "The model is not the one that your check is of"


class CheckUnusable(CompressError):
    """The sender's own check cannot be done."""

    kind, title = "check-unusable", "Your check cannot be done"


class WrongBudget(CompressError):
    """The budget does not apply to this kind of model."""

    kind, title = "wrong-budget", "The budget does not fit the model"


class ModeUnavailable(CompressError):
    """A mode or option that this kind of model does not have."""

    kind, title = "mode-unavailable", "This is not possible with such a model"


class NothingRemovable(CompressError):
    """No unit can go: the issues say why, axis by axis."""

    kind, title = "nothing-removable", "Nothing can be removed"


class BudgetNotMet(CompressError):
    """No smaller model is within the budget.

    Attributes:
        curve: every size that was tried.
    """

    kind, title = "budget-not-met", "No model keeps to the budget"

    def __init__(
        self, detail: str, issues: list[str] | None = None, *, curve: list[CurvePoint]
    ) -> None:
        self.curve = curve
        super().__init__(detail, issues)


class TrainingDiverged(CompressError, FloatingPointError):
    """The loss is not finite even after several rollbacks with smaller steps.

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


class ModuleRefused(CompressError):
    """A module cannot be exported; nothing of it was changed."""

    kind, title = "module-refused", "The module cannot be compressed"


class ModuleNotCut(CompressError):
    """A small graph cannot be had as a module of the user's class; the graph itself is there."""

    kind, title = "module-not-cut", "The module cannot be made small in place"


class NotTrainable(CompressError):
    """A graph cannot be trained: the detail names the operator, or the output that differs."""

    kind, title = "not-trainable", "The graph cannot be trained"


class DeviceFailed(CompressError):
    """The GPU is lost, or its memory is full."""

    kind, title = "device-failed", "The worker's GPU failed"


class VerificationFailed(CompressError):
    """A verification failed; nothing was published."""

    kind, title = "verification-failed", "The proof failed"
