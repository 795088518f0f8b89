"""From the uploaded files to a task: the first reader that recognises an upload reads it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from isslim.compress.contract import ModelTask
from isslim.compress.ingest.findings import Findings
from isslim.compress.kinds.graphs.reader import GraphReader
from isslim.compress.kinds.language.reader import LanguageReader
from isslim.compress.kinds.questions.reader import QuestionReader
from isslim.compress.kinds.upload import KindReader, Upload, UploadedFiles
from isslim.settings.worker import Evaluations
from isslim.types.recipe import Recipe

__all__ = ["UploadedFiles", "read_task", "register"]

_READERS: list[KindReader] = [GraphReader(), QuestionReader(), LanguageReader()]
"""In the order in which they are asked. The last one takes every checkpoint."""


def register(reader: KindReader) -> None:
    """Adds a reader in this process, to be asked before those that are there."""
    if reader not in _READERS:
        _READERS.insert(0, reader)


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
        found: gathers what is understood on the way; None: nobody reads it.
        looking: the task is only looked at; see `Upload`.

    Raises:
        CompressError: when a file cannot be read, or the recipe does not fit the model.
    """
    upload = Upload(inputs, recipe, evaluations, found or Findings(), looking)
    reader = next(each for each in _READERS if each.recognises(upload))
    return reader.read(upload)
