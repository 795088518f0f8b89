"""The process that does one job: `python -m compress.child <folder>`.

The folder holds `request.json` and `inputs/`. Standard output carries one JSON object a line, and ends with one of

    {"result": {"model_id": ...}}            the bundle was published
    {"problem": {...}, "curve": [...]}       an answer for the person who uploaded

after any number of {"stage", "progress", "message"}. It exits with 0 in both cases; anything else is a crash, told on
standard error. When standard input closes, its worker is dead: the child ends at once, so that no job runs twice.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from compress.errors import BudgetNotMet, CompressError
from compress.parent import when_parent_ends
from store.artifacts import FULL_DISK
from store.bundles import BundleStore
from store.errors import OutOfSpace, StoreError
from store.jobs import CompressionRequest, Problem
from store.settings import StoreSettings
from store.uploads import UploadStore


def main(folder: Path) -> int:
    """Does the job in `folder`; returns the exit status."""
    when_parent_ends(lambda: os._exit(1))
    request = CompressionRequest.model_validate_json((folder / "request.json").read_text())
    settings = StoreSettings()
    try:
        _tell({"result": {"model_id": _run(request, folder, settings)}})
    except BudgetNotMet as answer:
        curve = [point.model_dump(mode="json") for point in answer.curve]
        _tell({"problem": answer.problem().model_dump(), "curve": curve})
    except CompressError as answer:
        _tell({"problem": answer.problem().model_dump(), "curve": []})
    except OutOfSpace as fault:
        _tell({"problem": _problem("out-of-space", "The disk is full", fault), "curve": []})
    except StoreError as fault:
        _tell({"problem": _problem("storage", "The storage failed", fault), "curve": []})
    except OSError as fault:
        if fault.errno not in FULL_DISK:
            raise
        shutil.rmtree(folder / "bundle", ignore_errors=True)
        _tell({"problem": _problem("out-of-space", "The disk is full", fault), "curve": []})
    except MemoryError as fault:
        _tell({"problem": _problem("out-of-memory", "The worker has too little memory", fault), "curve": []})
    return 0


def _run(request: CompressionRequest, folder: Path, settings: StoreSettings) -> str:
    # Imported here so that the watchdog lives before torch begins its seconds of loading.
    from compress.evaluating import EvaluationSettings
    from compress.pipeline import run
    from compress.tasks.reading import Inputs

    uploads, inputs = UploadStore(settings), folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    files = Inputs(**{name: uploads.fetch(upload, inputs) for name, upload in request.files})

    def report(stage: str, progress: float, message: str) -> None:
        _tell({"stage": stage, "progress": progress, "message": message})

    return run(request, files, folder, report, BundleStore(settings), EvaluationSettings().evaluations)


def _problem(kind: str, title: str, fault: Exception) -> dict[str, Any]:
    return Problem(kind=kind, title=title, detail=str(fault)).model_dump()


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
