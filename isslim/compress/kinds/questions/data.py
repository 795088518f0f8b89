"""The questions of a job: read, divided, and completed by the original's answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from isslim.compress.errors import TextUnusable
from isslim.compress.kinds.questions.evaluation import evaluate_on_device
from isslim.compress.kinds.questions.examples import Questions, prepare
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.squad import read_squad
from isslim.compress.kinds.upload import DataFiles
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.types.recipe import Recipe


@dataclass(frozen=True)
class QuestionData:
    """The questions of a job, and the origin of each set.

    Attributes:
        calibration: activations are collected on them.
        training: training takes place on them.
        held_out: quality is evaluated on them.
        as_sent: the held-out questions before the original's answers took the place of missing
            golden ones.
        calibration_origin: where the calibration questions come from, in words.
        held_out_origin: where the held-out questions come from, in words.
    """

    calibration: Questions
    training: Questions
    held_out: Questions
    as_sent: Questions
    calibration_origin: str
    held_out_origin: str


def read_questions(
    original: Bidaf,
    codec: PassageCodec,
    files: DataFiles,
    recipe: Recipe,
    *,
    answering: bool = True,
) -> QuestionData:
    """Reads uploaded questions.

    Training questions stand in for calibration questions that were not sent, and the other way
    round. Without held-out questions the last fifth of the training questions is held out. Where
    held-out questions have no answers, the original's are taken for golden: F1 then measures
    agreement with the original.

    Args:
        original: the model.
        codec: of its words and characters.
        files: the uploaded questions.
        recipe: its numbers of questions count.
        answering: whether the original answers held-out questions without answers; if not, the
            origin announces it all the same.

    Raises:
        TextUnusable: when no questions were sent, or there are too few.
        UnreadableUpload: when a file is not in the form of SQuAD.
    """
    calibration, held_out, train = files.calibration, files.held_out, files.train
    source = calibration if train is None else train
    if source is None:
        raise TextUnusable(
            "a question-answering model is calibrated on questions with their contexts, and none "
            "were sent: upload `calibration` in the JSON form of SQuAD v1.1 (answers are not "
            "needed)"
        )
    training = _prepared(source, codec)
    observed = training if calibration is None or train is None else _prepared(calibration, codec)
    origin = "uploaded questions"
    if held_out is None:
        cut = len(training.examples) * 4 // 5
        evaluated = replace(training, examples=training.examples[cut:])
        observed = (
            replace(training, examples=training.examples[:cut])
            if observed is training
            else observed
        )
        training = replace(training, examples=training.examples[:cut])
        origin = "the last fifth of the uploaded questions, not calibrated or trained on"
    else:
        evaluated = _prepared(held_out, codec)
    observed, evaluated = (
        observed.spread(recipe.calibration_questions),
        evaluated.spread(recipe.held_out_questions),
    )
    for name, questions in (
        ("calibration", observed), ("held-out", evaluated), ("training", training),
    ):  # fmt: skip
        if len(questions.examples) < 10:
            raise TextUnusable(
                f"there are {len(questions.examples)} {name} questions; at least 10 are needed"
            )
    as_sent = evaluated
    if not all(example.golden for example in evaluated.examples):
        if answering:
            answers = evaluate_on_device(original, evaluated).answers
            examples = [
                replace(each, golden=(text,))
                for each, text in zip(evaluated.examples, answers, strict=True)
            ]
            evaluated = replace(evaluated, examples=examples)
        origin += ", with the original's answers as golden ones: F1 is agreement with the original"
    return QuestionData(
        observed,
        training,
        evaluated,
        as_sent,
        f"uploaded questions ({len(observed.examples):,})",
        f"{origin} ({len(evaluated.examples):,})",
    )


def _prepared(path: Path, codec: PassageCodec) -> Questions:
    try:
        return prepare(read_squad([path]), codec)
    except ValueError as error:
        raise TextUnusable(f"the uploaded questions cannot be used: {error}") from error
