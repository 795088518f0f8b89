"""A compression in the caller's own process, which is left as it was found."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from isslim.compress import pipeline
from isslim.compress.contract import ModelTask
from isslim.compress.errors import ArgumentsRefused, ModeUnavailable
from isslim.compress.library.compressed import Compressed
from isslim.compress.library.inputs import Given, Prepared, prepare
from isslim.compress.pipeline import Stages, compress_task, read_files
from isslim.compress.progress import CallbackProgress, Progress
from isslim.store.files import sha256_of
from isslim.types.inspection import Inspection
from isslim.types.recipe import Recipe

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def run(
    given: Given,
    recipe: Recipe,
    latency: Literal["primary", "all"],
    progress: Callable[[str, float, str], None] | Progress | None,
    folder: str | PathLike[str] | None,
) -> Compressed:
    """Compresses what was given.

    Args:
        given: model and data.
        recipe: with all options.
        latency: which shapes variants are timed at.
        progress: receives what is done; None: nobody does.
        folder: for intermediate files, which are kept; None: a temporary one.

    Raises:
        CompressError: see `isslim.compress`.
    """
    if latency not in ("primary", "all"):
        raise ArgumentsRefused(f"`latency` is {latency!r}: 'primary' or 'all' is expected")
    reported = _as_progress(progress)
    work = Path(tempfile.mkdtemp(prefix="isslim-")) if folder is None else Path(folder)
    work.mkdir(parents=True, exist_ok=True)
    temporary = work if folder is None else None
    try:
        with undisturbed():
            prepared = prepare(given, recipe, work)
            made = _compressed(prepared, recipe, latency, work, reported)
        return Compressed(made, prepared, temporary)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _compressed(
    prepared: Prepared, recipe: Recipe, latency: str, work: Path, progress: Progress
) -> pipeline.Compressed[Any]:
    stages = Stages(progress)
    task, inspection = _read(prepared, recipe, stages)
    shapes = task.shapes if latency == "all" else (task.primary_shape,)
    digest = sha256_of(prepared.files.model)
    made = compress_task(task, inspection, digest, work, stages, shapes)
    stages(1.0, made.report.verdict)
    return made


def _read(prepared: Prepared, recipe: Recipe, stages: Stages) -> tuple[ModelTask[Any], Inspection]:
    """Reads the model; a module comes back in its own form where it can and nothing else is asked.

    Otherwise layers of one nn.LSTM that differ in size would hold units without weights, and the
    module of a language model would be one of this package's class.
    """
    given = prepared.exported or prepared.owner
    learns = recipe.mode == "learn" and recipe.learner != "calibrated"  # sizes of every layer
    if given is not None and "form" not in recipe.model_fields_set and not learns:
        try:
            same = recipe.model_copy(update={"form": "same"})
            return read_files(prepared.files, same, stages)
        except ModeUnavailable:
            pass
    return read_files(prepared.files, recipe, stages)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps random state, environment and autograd modes of the caller; within, autograd is on."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        # torch sets it when it imports what its optimizers need, and again where it is absent.
        if _CACHE not in os.environ:
            stack.callback(os.environ.pop, _CACHE, None)
        yield


def _as_progress(progress: Any) -> Progress:
    if progress is None:
        return Progress()
    if isinstance(progress, Progress):
        return progress
    if not callable(progress):
        raise ArgumentsRefused(
            f"`progress` is a {type(progress).__name__}: a function of stage, share and message is "
            "expected"
        )
    return CallbackProgress(progress)
