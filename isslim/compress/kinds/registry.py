"""From the uploaded files to a task: the first reader that recognises an upload reads it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from isslim.compress.contract import ModelTask
from isslim.compress.ingest.findings import Findings
from isslim.compress.kinds.graphs.reader import GraphReader
from isslim.compress.kinds.language.reader import LanguageReader
from isslim.compress.kinds.questions.reader import QuestionReader
from isslim.compress.kinds.upload import KindReader, Upload, UploadedFiles, refuse_unused
from isslim.settings.worker import Evaluations
from isslim.types.recipe import Recipe

__all__ = ["UploadedFiles", "read_task", "register"]

_READERS: list[KindReader] = [GraphReader(), QuestionReader(), LanguageReader()]
"""In order of precedence. The last one takes every checkpoint."""


def register(reader: KindReader) -> None:
    """Adds a reader in this process, with precedence over those that are there."""
    if reader not in _READERS:
        _READERS.insert(0, reader)


def read_task(
    inputs: UploadedFiles,
    recipe: Recipe,
    evaluations: Evaluations = MappingProxyType({}),
    found: Findings | None = None,
    looking: bool = False,
) -> ModelTask[Any]:
    """Reads an upload into a task.

    Args:
        inputs: the uploaded files, on local disk.
        recipe: what the user asks for.
        evaluations: commands that a graph's metric may name.
        found: collects what is understood of the upload on the way; None: it is not needed.
        looking: whether the task is only inspected; see `Upload`.

    Returns:
        The task of the first reader that recognises the upload.

    Raises:
        CompressError: when a file cannot be read, or the recipe does not fit the model.
    """
    upload = Upload(inputs, recipe, evaluations, found or Findings(), looking)
    reader = next(each for each in _READERS if each.recognises(upload))
    refuse_unused(inputs, reader.not_used)
    return reader.read(upload)
