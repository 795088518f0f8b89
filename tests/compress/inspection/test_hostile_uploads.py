"""Uploads that do harm end in a named refusal, within limits on time and memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isslim.compress.errors import ReadingFailed, ReadingTooLarge, ReadingTooLong
from isslim.compress.inspection.confined import UploadRefused, read_confined, understood
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.processes.confined import Limits, Send, run_confined
from isslim.settings.worker import WorkerSettings
from isslim.types.recipe import Recipe
from tests.conftest import Trained
from tests.hostile.uploads import Hostile, hostile_uploads, read

UPLOADS = {upload.name: upload for upload in hostile_uploads()}
FAST = (
    "checkpoint/system",
    "checkpoint/storage-of-2^40",
    "checkpoint/archive-of-overlapping-parts",
    "checkpoint/tensor-expanded-to-2^40",
    "checkpoint/header-of-deep-objects",
    "checkpoint/denormal",
    "vocabulary/half-letter-pairs",
    "vocabulary/numbers-that-never-end",
    "vocabulary/added-token-of-8-mib",
    "config/deep",
    "text/that-turns",
    "graph/loop-of-2^62-computed",
    "graph/loops-in-loops",
    "graph/functions-that-call-each-other",
    "graph/functions-that-double",
    "graph/data-in-etc",
    "runs/run-of-9999-digits",
)
"""One of each kind; the others take minutes together."""
MOST_SECONDS, MOST_MIB = 60, 2048


def ends_well(upload: Hostile, folder: Path) -> None:
    # What nothing but its limit ends would take all of the forty seconds that are usual. The others
    # take three, or twice that on a busy host.
    settings = WorkerSettings(home=folder / "home", reading_seconds=10)
    found = read(upload, folder, settings)
    # On a busy host the limit may come before another refusal; what is honest is understood.
    sooner = set() if "" in upload.refusals else {ReadingTooLong.kind}
    assert found.refusal in sooner | {*upload.refusals}, found.detail
    assert found.seconds < MOST_SECONDS
    assert found.peak_mib < MOST_MIB
    assert len(found.detail) < 6000
    assert str(folder) not in found.detail


@pytest.mark.parametrize("name", FAST)
def test_hostile_upload_is_refused_by_name(name: str, tmp_path: Path) -> None:
    ends_well(UPLOADS[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in UPLOADS if name not in FAST])
def test_every_hostile_upload_is_refused_by_name(name: str, tmp_path: Path) -> None:
    ends_well(UPLOADS[name], tmp_path)


def test_usual_limits_end_any_upload_within_a_minute_and_two_gib() -> None:
    settings = WorkerSettings()
    assert settings.reading_seconds <= MOST_SECONDS - 15  # for the start of its process
    assert settings.inspection_memory_bytes <= MOST_MIB << 19  # beside libraries and the file


def test_honest_upload_is_understood_as_in_the_same_process(
    trained: Trained, tmp_path: Path
) -> None:
    files = UploadedFiles(
        model=trained.model, vocabulary=trained.vocabulary, held_out=trained.held_out
    )
    found = read_confined(files, Recipe(), WorkerSettings(home=tmp_path), tmp_path)
    assert (found.understood, found.kind, found.problem) == (True, "language-model", None)
    assert list(tmp_path.iterdir()) == []


def ended(do: object, folder: Path, **limits: float) -> BaseException | None:
    """What a process that does something is said to have ended by."""
    usual = {"memory_bytes": 64 << 20, "seconds": 5.0, "most_seconds": 60.0, "file_bytes": 1 << 20}
    own = Limits(**usual | limits)  # type: ignore[arg-type]
    try:
        understood(run_confined(do, own, folder), own)  # type: ignore[arg-type]
    except UploadRefused as refused:
        return refused
    return None


def test_each_limit_is_named(tmp_path: Path) -> None:
    def much(send: Send) -> None:
        send({"inspection": {"understood": True, "layout": "seen"}})
        bytearray(1 << 30)

    def forever(send: Send) -> None:
        while True:
            pass

    def written(send: Send) -> None:
        (tmp_path / "file").write_bytes(bytes(2 << 20))

    def opened(send: Send) -> None:
        _ = [os.dup(2) for _ in range(1000)]

    def called(send: Send) -> None:
        socket.socket()

    kinds = {
        much: ReadingTooLarge.kind,
        forever: ReadingTooLong.kind,
        written: ReadingFailed.kind,
        opened: ReadingFailed.kind,
        called: ReadingFailed.kind,
        (lambda _: os.abort()): ReadingFailed.kind,
    }
    for do, kind in kinds.items():
        refused = ended(do, tmp_path, seconds=1.0 if do is forever else 5.0)
        assert isinstance(refused, UploadRefused)
        problem = refused.problem()
        assert problem.kind == kind
        words = {written: "File too large", opened: "Too many open files", called: "not permitted"}
        assert words.get(do, "") in " ".join(problem.issues)
        assert (refused.inspection.layout == "seen") == (do is much)


CORE = min(os.sched_getaffinity(0))


@pytest.fixture
def busy_core() -> Iterator[None]:
    """One core is kept busy by others, of a higher priority than what is read."""
    code = f"import os; os.sched_setaffinity(0, {{{CORE}}})\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    yield
    for other in others:
        other.kill()
        other.wait()


@pytest.mark.usefixtures("busy_core")
def test_time_that_the_host_gives_to_others_does_not_count(tmp_path: Path) -> None:
    def work(send: Send) -> None:
        os.sched_setaffinity(0, {CORE})
        ran, began = time.process_time(), time.monotonic()
        while time.process_time() < ran + 0.1:
            pass
        send({"took": time.monotonic() - began})

    limits = Limits(64 << 20, 0.25, 60.0, 1 << 20)
    found = run_confined(work, limits, tmp_path)
    assert (found.code, found.out_of_time) == (0, False)
    assert found.sent[0]["took"] > limits.seconds, "the host was not busy enough to tell"


@pytest.mark.usefixtures("busy_core")
def test_busy_host_is_the_reason_where_it_is(tmp_path: Path) -> None:
    def forever(send: Send) -> None:
        os.sched_setaffinity(0, {CORE})
        while True:
            pass

    for most, reason in ((0.5, "the host did other work: send them again"), (60, "asks for more")):
        refused = ended(forever, tmp_path, seconds=0.2, most_seconds=most)
        assert isinstance(refused, UploadRefused)
        assert refused.problem().kind == ReadingTooLong.kind
        assert reason in refused.problem().detail


def test_what_reading_sends_is_bounded(tmp_path: Path) -> None:
    def chatter(send: Send) -> None:
        while True:
            send({"inspection": "x" * (1 << 20)})

    refused = ended(chatter, tmp_path)
    assert isinstance(refused, UploadRefused)
    assert refused.problem().kind == ReadingTooLarge.kind
