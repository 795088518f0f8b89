"""From the uploaded files to a task: the one place that knows the kinds of models there are."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

from isslim.compress.contract import ModelTask
from isslim.compress.errors import ModeUnavailable, UnreadableUpload, WrongBudget
from isslim.compress.export.write_graph import check_size
from isslim.compress.ingest.checkpoint import Checkpoint, read_checkpoint
from isslim.compress.ingest.findings import Findings
from isslim.compress.ingest.forms import refuse_foreign
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.graphs.understanding import graph_file, layers_of, understood
from isslim.compress.kinds.language.ingest.layouts import recognise
from isslim.compress.kinds.language.ingest.vocabulary import read_tokenizer
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import briefly, read_texts
from isslim.compress.kinds.questions.ingest import is_bidaf, read_codec, recognise_bidaf
from isslim.compress.kinds.questions.task import QuestionTask, read_questions
from isslim.compress.onnx.normalise.onnx_reader import is_graph
from isslim.runtime.language.text import TextCodec
from isslim.settings.worker import Evaluations
from isslim.types.kinds.uploads import UploadFields
from isslim.types.manifest import Task
from isslim.types.quality import resolve_budget
from isslim.types.recipe import COMMAND, Recipe

NO_TEXT = "no text was sent, so that nothing shows whether the model is read as it was trained"


class UploadedFiles(UploadFields[Path]):
    """The uploaded files of a job, on local disk.

    Attributes:
        name: what the sender called the model's file; empty: that is not known.
    """

    name: str = ""


def read_task(
    inputs: UploadedFiles,
    recipe: Recipe,
    evaluations: Evaluations = MappingProxyType({}),
    found: Findings | None = None,
    looking: bool = False,
) -> ModelTask[Any]:
    """The task of an upload.

    Args:
        inputs: the uploads' local files.
        recipe: what is asked for.
        evaluations: those that a graph's metric may name.
        found: is told what is understood on the way; None: nobody wants to know.
        looking: the task is only looked at: what takes a large model long and was not sent - texts
            that it writes, answers to questions - is cut short.

    Raises:
        CompressError: when a file cannot be read, or the recipe does not fit the model.
    """
    found = found or Findings()
    refuse_foreign(inputs.model, inputs.name)
    if is_graph(inputs.model):
        found.add(kind=GraphTask.task)
        settled_recipe = with_budget(recipe, GraphTask.task)
        graph = graph_file(inputs.model, inputs.model_data)
        known = opset, network = understood(graph.path)
        found.add(
            architecture=network.architecture,
            layout=f"ONNX graph, opset {opset}",
            layers=layers_of(network),
        )
        return GraphTask(
            graph.path,
            settled_recipe,
            inputs.calibration,
            inputs.held_out,
            evaluations,
            description=graph.changes,
            warning=graph.warning,
            known=known,
        )
    if inputs.model_data is not None:
        raise UnreadableUpload(
            "`model_data` is the data file of an ONNX graph, and the model is none: leave it out"
        )
    if recipe.metric.startswith(COMMAND):
        raise ModeUnavailable(
            f"the metric `{recipe.metric}` is of graphs: what is no ONNX file is judged by its own "
            "metric"
        )
    checkpoint = read_checkpoint(inputs.model, inputs.config, inputs.name)
    if is_bidaf(checkpoint):
        return _read_questions(
            checkpoint, inputs, with_budget(recipe, QuestionTask.task), found, looking
        )
    return _read_language(
        checkpoint, inputs, with_budget(recipe, LanguageTask.task), found, looking
    )


def with_budget(recipe: Recipe, task: Task) -> Recipe:
    """The recipe with the budget that counts.

    Raises:
        WrongBudget: when it says nothing of such a task.
    """
    try:
        return recipe.model_copy(update={"budget": resolve_budget(task, recipe.budget)})
    except ValueError as error:
        raise WrongBudget(str(error)) from error


def _read_language(
    checkpoint: Checkpoint, inputs: UploadedFiles, recipe: Recipe, found: Findings, looking: bool
) -> LanguageTask:
    ingested = recognise(checkpoint)
    found.network(LanguageTask.task, ingested.network, ingested.reading)
    check_size(ingested.network)
    vocabulary = read_tokenizer(inputs.vocabulary, ingested, recipe)
    seen = (
        inputs.train or inputs.calibration or inputs.held_out or inputs.check or inputs.check_graph
    )
    reading = ingested.reading.adding(
        vocabulary.dropped, (*vocabulary.assumed, *(() if seen else (NO_TEXT,)))
    )
    found.add(
        text=vocabulary.contract,
        round_trip=vocabulary.round_trip,
        dropped=list(reading.dropped),
        assumed=list(reading.assumed),
    )
    codec = TextCodec(vocabulary.tokenizer, vocabulary.contract)
    texts = read_texts(
        ingested.network,
        codec,
        inputs.calibration,
        inputs.held_out,
        recipe,
        train=inputs.train,
        write=briefly if looking else None,
    )
    found.add(texts=list(texts.read))
    return LanguageTask(ingested.network, texts, recipe, codec, reading)


def _read_questions(
    checkpoint: Checkpoint, inputs: UploadedFiles, recipe: Recipe, found: Findings, looking: bool
) -> QuestionTask:
    ingested = recognise_bidaf(checkpoint)
    found.network(QuestionTask.task, ingested.network, ingested.reading)
    original = ingested.network
    codec = read_codec(inputs.vocabulary, inputs.vectors, inputs.characters, original.spec)
    data = read_questions(
        original,
        codec,
        inputs.calibration,
        inputs.held_out,
        recipe,
        train=inputs.train,
        answering=not looking,
    )
    return QuestionTask(original, data, recipe, codec, ingested.reading)
