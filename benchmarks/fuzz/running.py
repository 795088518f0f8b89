"""Cases in processes that are watched: a case that hangs or ends its process is a fault."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.fuzz.bodies import Fault, Requests, requests_to
from benchmarks.fuzz.mutations import damaged
from benchmarks.fuzz.targets import REFUSALS, Target, file_targets
from isslim.compress.ingest.limits import memory_for

MEMORY_BYTES = 1 << 30
"""That the cases of a process may take beyond what it starts with: more is refused, as by a job."""
CASE_SECONDS, STARTING_SECONDS = 20.0, 120.0
REQUESTS = 4
"""Of this many drawn cases, three are files and one is a request."""
MAX_FAULTS = 200


@dataclass
class Result:
    """What came of some cases.

    Attributes:
        cases: how many there were.
        accepted: how many were no longer damaged enough to be refused.
        faults: case, target and what happened.
        slowest_seconds: of one case.
        grown_mb: memory that a process had more at its end than after half of its cases.
        files_left: files that cases left behind.
        descriptors_left: that a process had more at its end.
        children_left: processes that cases started and that did not end.
    """

    cases: int = 0
    accepted: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    slowest_seconds: float = 0.0
    grown_mb: float = 0.0
    files_left: int = 0
    descriptors_left: int = 0
    children_left: int = 0

    def add(self, said: dict[str, Any]) -> None:
        """Adds what a process says of its cases."""
        self.cases += said["cases"]
        self.accepted += said["accepted"]
        self.faults += said["faults"]
        for name in ("slowest_seconds", "grown_mb", "descriptors_left"):
            setattr(self, name, max(getattr(self, name), said[name]))
        self.files_left += said["files_left"]
        self.children_left += said["children_left"]

    @property
    def is_clean(self) -> bool:
        """Whether nothing happened that must not."""
        left = self.files_left + self.children_left
        return not self.faults and not left and self.descriptors_left < 8 and self.grown_mb < 64


def work(
    cases: Sequence[int], home: Path, folder: Path, current: Any, connection: Connection
) -> None:
    """A process: runs its cases, and says at the end what came of them.

    Args:
        cases: their numbers.
        home: of the service.
        folder: of the process.
        current: is set to the number of the current case and when it began.
        connection: takes the fields of `Result`.
    """
    logging.disable(logging.CRITICAL)
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "temporary")
    with ExitStack() as stack:
        requests = stack.enter_context(requests_to(home))
        cases_of = Cases(file_targets(folder / "good"), requests, folder / "case")
        stack.enter_context(memory_for(MEMORY_BYTES))
        said = cases_of.run(cases, current)
    said["children_left"] = children_left()
    connection.send(said)


@dataclass(frozen=True)
class Plan:
    """How cases are run.

    Attributes:
        first: number of the first case.
        count: how many.
        processes: how many run side by side.
        seconds: that a case may take.
        work: what a process does.
    """

    first: int
    count: int
    processes: int
    seconds: float = CASE_SECONDS
    work: Callable[..., None] = work


def fuzzed(home: Path, plan: Plan) -> Result:
    """Runs cases, each of which its number decides.

    Args:
        home: with the models of `benchmarks.soak.models.first_models`.
        plan: which cases.
    """
    context = multiprocessing.get_context("spawn")
    result, running = Result(), dict[Connection, _Running]()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:

        def start(number: int, begin: int) -> None:
            receiving, sending = context.Pipe(duplex=False)
            current = context.Array(
                "d", [float(begin), time.monotonic() + STARTING_SECONDS], lock=False
            )
            cases = range(begin, plan.first + plan.count, plan.processes)
            process = context.Process(
                target=plan.work, args=(cases, home, Path(folder) / str(number), current, sending)
            )
            process.start()
            sending.close()
            running[receiving] = _Running(process, number, current)

        for number in range(plan.processes):
            start(number, plan.first + number)
        while running and len(result.faults) < MAX_FAULTS:
            for connection in wait(list(running), timeout=0.5):
                each = running.pop(connection)  # type: ignore[call-overload]
                each.end(connection, result, start, plan.processes)
            for connection, each in list(running.items()):
                if time.monotonic() > each.current[1] + plan.seconds:
                    each.process.kill()
                    del running[connection]
                    each.process.join()
                    each.stopped("it took longer than allowed", result, start, plan.processes)
        for each in running.values():
            each.process.kill()
            each.process.join()
    return result


@dataclass
class _Running:
    process: BaseProcess
    number: int
    current: Any

    def end(self, connection: Connection, result: Result, start: Any, processes: int) -> None:
        """Takes what the process says, or notes that it died."""
        try:
            result.add(connection.recv())
            self.process.join()
        except EOFError:
            self.process.join()
            self.stopped(
                f"its process ended with {self.process.exitcode}", result, start, processes
            )

    def stopped(self, how: str, result: Result, start: Any, processes: int) -> None:
        """Notes the case that a process did not survive, and goes on behind it."""
        case = int(self.current[0])
        result.faults.append({"case": case, "target": target_of(case), "what": how})
        start(self.number, case + processes)


def target_of(case: int) -> str:
    """What a case sends to whom, in a word."""
    return "request" if random.Random(case).randrange(REQUESTS) == 0 else "file"


class Cases:
    """Runs cases in this process.

    Args:
        targets: the readers of files.
        requests: a service; None: its cases are left out.
        folder: for the file of a case.
    """

    def __init__(self, targets: Sequence[Target], requests: Requests | None, folder: Path) -> None:
        self._targets, self._requests, self._folder = targets, requests, folder
        self._weights = [target.weight for target in targets]

    def run(self, cases: Sequence[int], current: Any) -> dict[str, Any]:
        """Runs cases.

        Args:
            cases: their numbers.
            current: is set to the number of the current one and when it began.

        Returns:
            The fields of `Result`.
        """
        faults, accepted, slowest, before = list[dict[str, Any]](), 0, 0.0, None
        for index, case in enumerate(cases):
            began = time.monotonic()
            current[0], current[1] = float(case), began
            try:
                accepted += self.one(case)
            except BaseException as fault:  # those of Rust are no `Exception`
                what = f"{type(fault).__name__}: {fault}"[:500]
                trace = [] if isinstance(fault, Fault) else traceback.format_exc().splitlines()[-6:]
                faults.append(
                    {"case": case, "target": target_of(case), "what": what, "trace": trace}
                )
            slowest = max(slowest, time.monotonic() - began)
            if before is None and index >= len(cases) // 2:
                before = _memory_mb(), _descriptors()
        memory, descriptors = before or (_memory_mb(), _descriptors())
        return {
            "cases": len(cases),
            "accepted": accepted,
            "faults": faults,
            "slowest_seconds": round(slowest, 2),
            "grown_mb": round(_memory_mb() - memory, 1),
            "files_left": len(list(Path(tempfile.gettempdir()).iterdir())),
            "descriptors_left": _descriptors() - descriptors,
            "children_left": 0,
        }

    def one(self, case: int) -> bool:
        """Runs a case; returns whether it was accepted. Raises what is a fault."""
        draw = random.Random(case)
        if draw.randrange(REQUESTS) == 0:
            return self._requests is not None and self._requests.send(draw)
        (target,) = draw.choices(self._targets, self._weights)
        content = damaged(draw.choice(target.seeds), target.seeds, draw)
        self._folder.mkdir(exist_ok=True)
        try:
            path = self._folder / "file"
            path.write_bytes(content)
            target.read(path)
            return True
        except (*REFUSALS, MemoryError):
            return False
        finally:
            shutil.rmtree(self._folder)


def _memory_mb() -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 0.0 if found is None else int(found[1]) / 1024


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children_left() -> int:
    """Processes that this one started and that live."""
    found = 0
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            found += len((thread / "children").read_text().split())
    return found
