"""The process that does one job or one inspection.

    python -m isslim.compress.worker.child <folder>             a job
    python -m isslim.compress.worker.child <folder> inspect     an inspection

The folder holds `request.json` and `inputs/`. Standard output carries one JSON object a line, and
ends with one of

    {"result": {"model_id": ...}}            the bundle is in storage, for the worker to publish;
                                             null: of an inspection
    {"problem": {...}, "curve": [...]}       an answer for the person who uploaded

after any number of {"stage", "progress", "message"}, maybe with "seconds_left", {"point": {...}} (a
candidate that was evaluated) and {"epoch": {...}}, one {"inspection": {...}}, what was understood
of the upload, and one {"staging": "<id>"} before the bundle's files are copied into storage. It
exits with 0 in both cases; anything else is a crash, described on standard error. When standard
input closes, its worker is dead: the child ends at once, so that no job runs twice.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isslim.compress.errors import BudgetNotMet, CompressError
from isslim.compress.processes.parent_watchdog import watch_parent
from isslim.compress.progress import CallbackProgress
from isslim.compress.remaining import Remaining
from isslim.compress.worker.patience import patiently
from isslim.settings.worker import WorkerSettings
from isslim.store.bundles import BundleStore
from isslim.store.checkpoints import Checkpoints
from isslim.store.errors import OutOfSpace, StorageUnavailable, StoreError
from isslim.store.files import FULL_DISK
from isslim.store.uploads import UploadStore
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest
from isslim.types.kinds.plugins import COMPRESSION, load_plugins
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.problem import Problem
from isslim.types.recipe import Recipe

if TYPE_CHECKING:
    from isslim.compress.kinds.registry import UploadedFiles

PUBLISHING = 0.999
"""Share of a job that is done when its bundle waits to be published."""


def main(folder: Path, *, inspecting: bool = False) -> int:
    """Does a job, or an inspection; returns the exit status.

    Args:
        folder: of the job, with `request.json` in it.
        inspecting: the files are only inspected.
    """
    watch_parent(lambda: os._exit(1))
    gc.disable()  # until all is imported (`_read`), which is quicker by a seventh
    request = CompressionRequest.model_validate_json((folder / "request.json").read_text())
    settings = WorkerSettings()
    do = _inspect if inspecting else _run
    try:
        _send({"result": {"model_id": do(request, folder, settings)}})
    except BudgetNotMet as answer:
        curve = [point.model_dump(mode="json") for point in answer.curve]
        _send({"problem": answer.problem().model_dump(), "curve": curve})
    except CompressError as answer:
        _send({"problem": answer.problem().model_dump(), "curve": []})
    except OutOfSpace as fault:
        _send({"problem": _problem("out-of-space", "The disk is full", fault), "curve": []})
    except StorageUnavailable as fault:
        title = "The storage did not answer for too long"
        _send({"problem": _problem("storage-unavailable", title, fault), "curve": []})
    except StoreError as fault:
        _send({"problem": _problem("storage", "The storage failed", fault), "curve": []})
    except OSError as fault:
        if fault.errno not in FULL_DISK:
            raise
        shutil.rmtree(folder / "bundle", ignore_errors=True)
        _send({"problem": _problem("out-of-space", "The disk is full", fault), "curve": []})
    except MemoryError as fault:
        _send(
            {
                "problem": _problem("out-of-memory", "The worker has too little memory", fault),
                "curve": [],
            }
        )
    return 0


def _run(request: CompressionRequest, folder: Path, settings: WorkerSettings) -> str:
    # Imported here, since it loads torch for seconds, and the watchdog has to run before.
    from isslim.compress.pipeline import compress_files, stage

    load_plugins(settings.kinds, COMPRESSION)
    files, bundles = _files(request, folder, settings), BundleStore(settings)
    progress = _Sent()
    progress.enter("ingest", "reading the model")
    _read(files, request.recipe, folder, settings)
    fetched = patiently(
        lambda: Checkpoints(settings).fetch(folder),
        settings.storage_wait_seconds,
        lambda line: progress(0.0, line),
    )
    if fetched:
        progress(0.0, "going on from the checkpoints of another machine")
    compressed = compress_files(
        files, request.recipe, folder, progress, settings.evaluations, _send_inspection
    )
    return patiently(
        lambda: stage(
            compressed, bundles, progress, lambda bundle_id: _send({"staging": bundle_id})
        ),
        settings.storage_wait_seconds,
        lambda line: progress(PUBLISHING, line),
    )


class _Sent(CallbackProgress):
    """Sends how long the rest is likely to take, and points and epochs too."""

    def __init__(self) -> None:
        self._remaining = Remaining()
        super().__init__(
            lambda *line: _send_line(*line, seconds_left=self._remaining.seconds()),
        )

    def enter(self, stage: str, message: str) -> None:
        """Begins a stage; see `Progress.enter`."""
        self._remaining.enter(stage)
        super().enter(stage, message)

    def __call__(self, done: float, message: str) -> None:
        """Reports progress within the current stage; see `Progress`."""
        self._remaining.advance(done)
        super().__call__(done, message)

    def on_minutes(self, minutes: float) -> None:
        """Keeps how long may be distilled."""
        self._remaining.allow(minutes)

    def on_point(self, point: CurvePoint) -> None:
        """Sends a candidate."""
        _send({"point": json.loads(point.model_dump_json())})  # what is not finite becomes null

    def on_epoch(self, epoch: EpochPoint) -> None:
        """Sends an epoch."""
        _send({"epoch": json.loads(epoch.model_dump_json())})


def _inspect(request: CompressionRequest, folder: Path, settings: WorkerSettings) -> None:
    load_plugins(settings.kinds, COMPRESSION)
    files = _files(request, folder, settings)
    _send_inspection(_read(files, request.recipe, folder, settings))


def _read(
    files: UploadedFiles, recipe: Recipe, folder: Path, settings: WorkerSettings
) -> Inspection:
    """Reads an upload within limits, before anything else is done with it.

    Raises:
        UploadRefused: after what was understood was sent.
    """
    from isslim.compress.inspection.confined import UploadRefused, read_confined

    gc.freeze()  # what was imported stays for good: no collection need look at it
    gc.enable()
    try:
        return read_confined(files, recipe, settings, folder)
    except UploadRefused as refused:
        _send_inspection(refused.inspection)
        raise


def _files(request: CompressionRequest, folder: Path, settings: WorkerSettings) -> UploadedFiles:
    from isslim.compress.kinds.registry import UploadedFiles

    uploads, inputs = UploadStore(settings), folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    fetched = {
        name: patiently(
            lambda upload=upload: uploads.fetch(upload, inputs),  # type: ignore[misc]
            settings.storage_wait_seconds,
            lambda line: _send_line("fetch", 0.0, line),
        )
        for name, upload in request.files
    }
    return UploadedFiles(**fetched, name=request.model.filename)


def _send_line(stage: str, done: float, message: str, *, seconds_left: float | None = None) -> None:
    _send({"stage": stage, "progress": done, "message": message, "seconds_left": seconds_left})


def _send_inspection(inspection: Inspection) -> None:
    _send({"inspection": inspection.model_dump(mode="json")})


def _problem(kind: str, title: str, fault: Exception) -> dict[str, Any]:
    return Problem(kind=kind, title=title, detail=str(fault)).model_dump()


def _send(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), inspecting=sys.argv[2:] == ["inspect"]))
