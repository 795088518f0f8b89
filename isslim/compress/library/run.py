"""A compression in the caller's own process, which is left as it was found."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from isslim.compress import pipeline
from isslim.compress.contract import ModelTask
from isslim.compress.errors import ArgumentsRefused, ModeUnavailable
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.library.compressed import Compressed
from isslim.compress.library.inputs import Given, Prepared, prepare
from isslim.compress.library.options import Asked, refuse_unused
from isslim.compress.library.words import in_full
from isslim.compress.own_work import keep_own
from isslim.compress.pipeline import Stages, compress_task, read_files
from isslim.compress.progress import CallbackProgress, Progress
from isslim.store.files import sha256_of
from isslim.store.folders import id_of
from isslim.types.inspection import Inspection
from isslim.types.kinds.registry import kind_named

_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_ONE_AT_A_TIME = threading.RLock()
"""torch exports one module at a time, and its random state is that of the whole process."""


def run(
    given: Given,
    asked: Asked,
    latency: Literal["primary", "all"],
    progress: Callable[[str, float, str], None] | Progress | None,
    folder: str | PathLike[str] | None,
) -> Compressed:
    """Compresses what was given.

    Args:
        given: model and data.
        asked: the options.
        latency: which shapes variants are timed at.
        progress: receives what is done; None: nobody does.
        folder: for intermediate files, which are kept; None: a temporary one.

    Raises:
        CompressError: see `isslim.compress`.
    """
    if latency not in ("primary", "all"):
        raise ArgumentsRefused(f"`latency` is {latency!r}: 'primary' or 'all' is expected")
    reported = _as_progress(progress)
    work = _work_folder(folder)
    temporary = work if folder is None else None
    try:
        with in_full(), _ONE_AT_A_TIME, undisturbed():
            prepared = prepare(given, asked.recipe, work)
            made = _compressed(prepared, asked, latency, work, reported)
            if temporary is None:
                made = replace(made, folder=_put_by(made.folder, work))
        return Compressed(made, prepared, temporary)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _compressed(
    prepared: Prepared, asked: Asked, latency: str, work: Path, progress: Progress
) -> pipeline.Compressed[Any]:
    stages = Stages(progress)
    task, inspection = _read(prepared, asked, stages)
    if prepared.exported is not None and isinstance(task, GraphTask):
        task.save_own = prepared.exported.save
        task.not_trained = prepared.exported.exported.not_trained
    shapes = task.shapes if latency == "all" else (task.primary_shape,)
    keep_own(work, prepared.files, task.recipe)
    digest = sha256_of(prepared.files.model)
    made = compress_task(task, inspection, digest, work, stages, shapes)
    stages(1.0, made.report.verdict)
    return made


def _read(prepared: Prepared, asked: Asked, stages: Stages) -> tuple[ModelTask[Any], Inspection]:
    """Reads the model; a module comes back in its own form where it can and nothing else is asked.

    Otherwise layers of one nn.LSTM that differ in size would hold units without weights, and the
    module of a language model would be one of this package's class.
    """
    given, recipe = prepared.exported or prepared.owner, asked.recipe

    def refuse(inspection: Inspection) -> None:
        if inspection.kind is not None and inspection.problem is None:
            refuse_unused(asked, kind_named(inspection.kind))

    learns = recipe.mode == "learn" and recipe.learner != "calibrated"  # sizes of every layer
    if given is not None and "form" not in recipe.model_fields_set and not learns:
        try:
            same = recipe.model_copy(update={"form": "same"})
            return read_files(prepared.files, same, stages, on_inspection=refuse)
        except ModeUnavailable:
            pass
    return read_files(prepared.files, recipe, stages, on_inspection=refuse)


def _work_folder(folder: Any) -> Path:
    """The folder for intermediate files, made if it is not there."""
    if folder is not None and not isinstance(folder, str | PathLike):
        raise ArgumentsRefused(f"`folder` is a {type(folder).__name__}: a path is expected")
    try:
        if folder is None:
            return Path(tempfile.mkdtemp(prefix="isslim-"))
        work = Path(folder)
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = "no temporary folder can be made" if folder is None else "it cannot be a folder"
        raise ArgumentsRefused(
            f"`folder`: {what}: {error}; give the path of a folder that can be written"
        ) from error
    return work


def _put_by(bundle: Path, work: Path) -> Path:
    """Moves a bundle to where the next call with this folder does not write."""
    place = work / "bundles" / id_of(bundle)
    place.parent.mkdir(exist_ok=True)
    return bundle.rename(place)


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
