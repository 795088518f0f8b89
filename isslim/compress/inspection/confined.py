"""Reads an upload in a process with limits, before anything is done with it.

A job reads its upload so first, and again in its own process when that ended well: what would hold
it up or bring it down is named and refused by then.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from isslim.compress.errors import CompressError, ReadingFailed, ReadingTooLarge, ReadingTooLong
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.processes.confined import IS_POSSIBLE, Ended, Limits, Send, run_confined
from isslim.settings.worker import WorkerSettings
from isslim.types.inspection import Inspection
from isslim.types.kinds.uploads import UploadFields
from isslim.types.problem import Problem
from isslim.types.recipe import Recipe

MEMORY_TIMES = 8
"""Bytes of memory for each byte of the files, in addition to the setting."""
BYTES_A_SECOND = 2 << 20
"""Of the files, for each of which a second is added to the setting."""
BUSY_TIMES = 3
"""How many times as long it may take on the clock while the host does other work."""
WRITTEN_TIMES, WRITTEN_BYTES = 4, 64 << 20
"""Largest file that reading may write, as a multiple of the files' bytes, and more."""


class UploadRefused(CompressError):
    """An upload was refused in the process that read it.

    Attributes:
        inspection: what was understood of it.
    """

    def __init__(self, inspection: Inspection, problem: Problem) -> None:
        super().__init__(problem.detail, problem.issues)
        self.inspection, self._problem = inspection, problem

    def problem(self) -> Problem:
        """The refusal, as the process sent it."""
        return self._problem


def read_confined(
    files: UploadedFiles, recipe: Recipe, settings: WorkerSettings, folder: Path
) -> Inspection:
    """Reads an upload within limits, for what is understood of it.

    Args:
        files: of the upload, on local disk.
        recipe: what is asked for.
        settings: with the limits and the operator's evaluations.
        folder: of the job or inspection; nothing is left in it.

    Raises:
        UploadRefused: whatever ended the reading, with what was understood until then.
    """
    ended, limits = run_reading(files, recipe, settings, folder)
    return understood(ended, limits)


def run_reading(
    files: UploadedFiles, recipe: Recipe, settings: WorkerSettings, folder: Path
) -> tuple[Ended, Limits]:
    """How the process that reads an upload ended, and the limits that it had.

    Args:
        files: of the upload, on local disk.
        recipe: what is asked for.
        settings: with the limits and the operator's evaluations.
        folder: of the job or inspection; nothing is left in it.
    """
    work = folder / "reading"
    work.mkdir(parents=True, exist_ok=True)

    def read(send: Send) -> None:
        def tell(inspection: Inspection) -> None:
            send({"inspection": inspection.model_dump(mode="json")})

        try:
            begin(files, recipe, tell, settings.evaluations, looking=True)
        except CompressError as refused:
            send({"problem": _without_paths(refused.problem(), files, folder).model_dump()})

    limits = limits_of(files, settings)
    try:
        if IS_POSSIBLE:
            return run_confined(read, limits, work), limits
        sent: list[dict[str, Any]] = []
        read(sent.append)
        return Ended(0, sent=sent), limits
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _without_paths(problem: Problem, files: UploadedFiles, folder: Path) -> Problem:
    """A problem in which files have the names of their fields: libraries tell where they lie."""
    names = {str(folder): "."}
    for field in UploadFields.model_fields:
        path = getattr(files, field)
        names |= {} if path is None else {str(path): field, path.name: field}

    def plain(text: str) -> str:
        for path in sorted(names, key=len, reverse=True):
            text = text.replace(path, names[path])
        return text

    return problem.model_copy(
        update={"detail": plain(problem.detail), "issues": [plain(line) for line in problem.issues]}
    )


def limits_of(files: UploadedFiles, settings: WorkerSettings) -> Limits:
    """The limits for reading an upload: of the settings, and by the size of its files.

    Args:
        files: of the upload.
        settings: of the worker.
    """
    sent = [getattr(files, name) for name in UploadFields.model_fields]
    size = sum(path.stat().st_size for path in sent if path is not None)
    seconds = settings.reading_seconds + size / BYTES_A_SECOND
    return Limits(
        settings.inspection_memory_bytes + MEMORY_TIMES * size,
        seconds,
        seconds * BUSY_TIMES,
        WRITTEN_BYTES + WRITTEN_TIMES * size,
    )


def understood(ended: Ended, limits: Limits) -> Inspection:
    """What was understood of an upload.

    Args:
        ended: how the process that read it ended.
        limits: that it had.

    Raises:
        UploadRefused: when it is refused, or the process did not end well.
    """
    known = {name: value for line in ended.sent for name, value in line.items()}
    found = Inspection.model_validate(known.get("inspection", {"understood": False}))
    refusal = _refusal(ended, limits)
    if refusal is not None:
        sys.stderr.write(ended.written)  # for the operator: the job's log
        problem = refusal.problem()
    elif "problem" in known:
        problem = Problem.model_validate(known["problem"])
    else:
        return found
    refused = found.model_copy(update={"understood": False, "problem": problem})
    raise UploadRefused(refused, problem)


def _refusal(ended: Ended, limits: Limits) -> CompressError | None:
    """Why a process that read an upload ended as it did; None: it ended well."""
    if ended.out_of_time and limits.seconds + ended.waited > limits.most_seconds:
        return ReadingTooLong(
            f"reading the files was ended after {limits.most_seconds:.0f} seconds, for "
            f"{ended.waited:.0f} of which the host did other work: send them again when it is less "
            "busy. The operator can raise ISS_READING_SECONDS"
        )
    if ended.out_of_time:
        seconds = limits.seconds + ended.waited
        return ReadingTooLong(
            f"reading the files was ended after {seconds:.0f} seconds: a part of them asks for "
            "more work than files of their size do. The operator can raise ISS_READING_SECONDS"
        )
    if ended.out_of_memory:
        return ReadingTooLarge(
            f"reading the files asks for more than {limits.memory_bytes:,} bytes of memory, more "
            "than files of their size do. The operator can raise ISS_INSPECTION_MEMORY_BYTES"
        )
    if ended.code == 0:
        return None
    last = [line[:500] for line in ended.written.strip().splitlines()[-1:]]
    if ended.code > 0:
        return ReadingFailed(
            "a step of the reader failed on the files: they are damaged, or of a form that nobody "
            "met before. Write them anew where the model was trained",
            last,
        )
    return ReadingFailed(
        f"a library that read the files ended its process by {signal.Signals(-ended.code).name}: "
        "they are damaged, or ask for what it cannot do. Write them anew where the model was "
        "trained",
        last,
    )
