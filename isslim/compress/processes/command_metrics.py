"""Evaluations: commands of the worker's operator that measure how good a graph is.

    ISS_EVALUATIONS='{"wer": {"command": ["python", "/srv/wer.py", "{model}"], "seconds": 900}}'

`{model}` becomes the path of an ONNX file; the last line that the command prints is one number. A
recipe can only name an evaluation (`"metric": "command:wer"`): what is run is the operator's alone.
Each run has limits on time and memory, and ends with the job. The last line that a failing command
writes is shown to the person who uploaded.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from os import killpg
from pathlib import Path
from typing import IO

from isslim.compress.errors import EvaluationFailed, EvaluationUnknown
from isslim.compress.export.notes import digest
from isslim.settings.worker import MODEL_PLACE, Evaluations
from isslim.types.recipe import COMMAND

_TAIL = 1 << 14
"""Bytes of what a command wrote that are looked at."""
_SHOWN = 200


class Evaluator:
    """One evaluation, run once for each graph that it is asked of, however often that is.

    Args:
        metric: `command:<name>`.
        known: the evaluations that there are.

    Raises:
        EvaluationUnknown: when it is not among them.
    """

    def __init__(self, metric: str, known: Evaluations) -> None:
        self.name = metric.removeprefix(COMMAND)
        if self.name not in known:
            there = f"it knows {', '.join(sorted(known))}" if known else "it knows none"
            raise EvaluationUnknown(
                f"this worker knows no evaluation '{self.name}': {there}; its operator names them "
                "in ISS_EVALUATIONS"
            )
        self._evaluation = known[self.name]
        self._found: dict[str, float] = {}

    @property
    def description(self) -> str:
        """What it is, in a line."""
        asked = self._evaluation
        return (
            f"evaluation `{self.name}`, a command of the worker's operator ({asked.better} is "
            f"better; at most {asked.seconds:g} s and {asked.memory_mb:,} MB a run; run "
            f"{len(self._found)} times)"
        )

    def value(self, graph: Path, which: str) -> float:
        """The number that the command prints of a graph.

        Args:
            graph: an ONNX file.
            which: what it is, for errors.

        Raises:
            EvaluationFailed: when there is no such number.
        """
        key = digest(graph)  # what a graph says of itself changes when it is published
        if key not in self._found:
            self._found[key] = self._run(graph, which)
        return self._found[key]

    def loss(self, value: float, original: float) -> float:
        """How much worse a value is than the original's, relative to that.

        Args:
            value: of a smaller graph.
            original: of the uploaded graph.

        Raises:
            EvaluationFailed: when the original's is zero.
        """
        if original == 0:
            raise EvaluationFailed(
                f"the evaluation '{self.name}' gives 0 for the original, so no relative "
                "change can be computed: its operator may let it print another number, such as "
                "100 - x"
            )
        worse = value - original if self._evaluation.better == "lower" else original - value
        return worse / abs(original)

    def _run(self, graph: Path, which: str) -> float:
        asked = self._evaluation
        command = [part.replace(MODEL_PLACE, str(graph.absolute())) for part in asked.command]
        limited = [
            sys.executable,
            "-P",
            "-m",
            "isslim.compress.processes.run_limited",
            str(asked.memory_mb << 20),
            *command,
        ]
        with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as written:
            # Its standard input stays open for as long as this process lives: see
            # `isslim/compress/processes/run_limited.py`.
            process = subprocess.Popen(
                limited,
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=written,
                start_new_session=True,
            )
            try:
                code = process.wait(asked.seconds)
            except subprocess.TimeoutExpired as late:
                raise self._failed(
                    which, f"took more than the {asked.seconds:g} s that it has", written
                ) from late
            finally:
                with suppress(ProcessLookupError):
                    killpg(process.pid, signal.SIGKILL)  # also what it left running
                process.communicate()
            if code:
                raise self._failed(which, _ended(code), written)
            last = _last_line(printed)
            try:
                number = float(last)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                description = (
                    f"'{last[:_SHOWN]}' as its last line, which is no finite number"
                    if last
                    else "nothing"
                )
                raise self._failed(which, f"printed {description}", written)
            return number

    def _failed(self, which: str, how: str, written: IO[bytes]) -> EvaluationFailed:
        last = _last_line(written)
        description = [f"the last line that it wrote: {last[:_SHOWN]}"] if last else []
        return EvaluationFailed(
            f"the evaluation '{self.name}' of {which} {how}; its operator has to fix it",
            description,
        )


def _ended(code: int) -> str:
    """An exit status in words; a shell reports a signal as 128 plus its number."""
    if code > 128 and code - 128 in set(signal.Signals):
        return f"was ended by {signal.Signals(code - 128).name}"
    return f"ended with status {code}"


def _last_line(file: IO[bytes]) -> str:
    """The last line that is not empty; an empty text of none."""
    file.seek(max(0, file.seek(0, 2) - _TAIL))
    lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
