"""A child from its worker's side: started, listened to, ended."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from isslim.compress.worker.job_events import enter_stage
from isslim.compress.worker.oversight import (
    Limits,
    Pulse,
    Stop,
    Ties,
    end,
    fault_of,
    guarded,
    oversee,
)
from isslim.store.attempts import LOG_LINES
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest, Job
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.problem import Problem


@dataclass
class Supervised:
    """What is known of a running child.

    Points and epochs are kept by their sizes and numbers: a search that is repeated sends them
    again.
    """

    stage: str = ""
    progress: float = 0.0
    message: str = ""
    seconds_left: float | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    answer: dict[str, Any] | None = None
    inspection: Inspection | None = None
    points: dict[tuple[int, ...], CurvePoint] = field(default_factory=dict)
    epochs: dict[int, EpochPoint] = field(default_factory=dict)
    charts_changed: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    staging: str | None = None
    staging_noted: bool = False
    pulse: Pulse = field(default_factory=Pulse.begin)

    @classmethod
    def after(cls, job: Job) -> Supervised:
        """What is known of a job that earlier attempts have begun: a stopped run goes on."""
        return cls(
            points={tuple(point.sizes.values()): point for point in job.points},
            epochs={epoch.round: epoch for epoch in job.epochs},
        )

    def chart(self, content: dict[str, Any]) -> None:
        """Keeps a point or an epoch.

        Raises:
            ValidationError: when it is none.
        """
        if "point" in content:
            point = CurvePoint.model_validate(content["point"])
            self.points[tuple(point.sizes.values())] = point
        else:
            epoch = EpochPoint.model_validate(content["epoch"])
            self.epochs[epoch.round] = epoch
        self.charts_changed = True
        self.news.set()


@dataclass(frozen=True)
class Asked:
    """What a child is started for.

    Attributes:
        command: what to start; the folder is appended, and `arguments` behind it.
        folder: of the child, made with `request.json` in it.
        request: what is asked of it.
        arguments: of the command.
    """

    command: list[str]
    folder: Path
    request: CompressionRequest
    arguments: tuple[str, ...] = ()


async def attend_child(
    asked: Asked, known: Supervised, limits: Limits, ties: Ties
) -> int | Stop | Problem:
    """Runs a child to its end and listens to it.

    Whatever ends the waiting ends the child too, with all that it started.

    Args:
        asked: what to start.
        known: is updated with what the child prints.
        limits: of its time and memory.
        ties: what it hangs on.

    Returns:
        Its exit status (negative: the signal that ended it), or why it was ended.

    Raises:
        FileNotFoundError: when there is no such program.
    """
    temporary = asked.folder / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    (asked.folder / "request.json").write_text(asked.request.model_dump_json())
    if shutil.which(asked.command[0]) is None:
        raise FileNotFoundError(f"there is no program {asked.command[0]}")
    child = await asyncio.create_subprocess_exec(
        *guarded([*asked.command, str(asked.folder), *asked.arguments], limits),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 22,
        # What it leaves of temporary files goes with its folder.
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    known.pulse = Pulse.begin()
    tasks = [
        asyncio.create_task(_heard_out(child, known)),
        asyncio.create_task(oversee(child, known.pulse, limits, ties)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        code = tasks[0].result() if tasks[0] in done else tasks[1].result()
        found = fault_of(code, limits, known.stage) if isinstance(code, int) else None
        return found or code
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.shield(end(child))


async def _heard_out(child: asyncio.subprocess.Process, known: Supervised) -> int:
    if child.stdout is None or child.stderr is None:
        raise RuntimeError("the child was started without pipes")
    await asyncio.gather(_listen(child.stdout, known), _log(child.stderr, known))
    return await child.wait()


def crash(known: Supervised, code: int, what: str) -> Problem:
    """The problem document of a child that ended otherwise than it should.

    Args:
        known: what the child printed.
        code: its exit status; negative: the signal that ended it.
        what: "compression" or "inspection".
    """
    how = f"ended by signal {-code}" if code < 0 else f"ended with status {code}"
    if code == -signal.SIGKILL:
        how += ", as when the machine has too little memory,"
    return Problem(
        kind="crashed",
        title=f"The {what} crashed",
        detail=f"its process {how} in stage '{known.stage or 'start'}'; its last lines are in "
        "`issues`",
        issues=list(known.log)[-10:],
    )


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream; one that is too long to keep is replaced and ends no job."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            line = b"(a line that is too long to show)\n"
        if not line:
            return
        yield line


async def _listen(stream: asyncio.StreamReader, known: Supervised) -> None:
    async for line in _lines(stream):
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise ValueError
        except ValueError:
            known.log.append(line.decode(errors="replace").rstrip())
            continue
        if "result" in content or "problem" in content:
            known.answer = content
        elif "inspection" in content:
            known.inspection = Inspection.model_validate(content["inspection"])
            known.news.set()
            known.pulse.news(known.stage)
        elif "staging" in content:
            known.staging = str(content["staging"])
            known.news.set()
        elif "point" in content or "epoch" in content:
            # What is no such record, such as one that is not finite, is left out: the job's outcome
            # does not depend on it.
            with suppress(ValidationError):
                known.chart(content)
                known.pulse.news(known.stage)
        elif {"stage", "progress", "message"} <= content.keys():
            enter_stage(content["stage"])
            known.stage, known.progress, known.message = (
                content["stage"],
                content["progress"],
                content["message"],
            )
            known.seconds_left = content.get("seconds_left")
            known.pulse.news(str(known.stage))
            entry = f"{known.stage}: {known.message}"
            # The progress changes more often than the message: each message is logged once.
            if entry != (known.log[-1] if known.log else ""):
                known.log.append(entry)
            known.news.set()


async def _log(stream: asyncio.StreamReader, known: Supervised) -> None:
    async for line in _lines(stream):
        known.log.append(line.decode(errors="replace").rstrip())
        known.news.set()
