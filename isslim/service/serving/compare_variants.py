"""Runs the variants of a model one after the other on the same input, and compares their times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from isslim.runtime.run_control import RunControl
from isslim.service.metrics import Metrics
from isslim.service.serving.admission import Ticket
from isslim.service.serving.executor import Executor, Lane
from isslim.types.manifest import VariantName


class Stoppable(Protocol):
    """A session whose runs can be ended."""

    def bound(self, control: RunControl) -> Self:
        """The same session, whose runs `control` can end."""


Session = TypeVar("Session", bound=Stoppable)
Encoded = TypeVar("Encoded")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """What one variant found.

    Attributes:
        result: for the answer.
        run_ms: milliseconds in ONNX Runtime.
    """

    result: Result
    run_ms: float


@dataclass(frozen=True)
class ComparedRun(Generic[Result]):
    """One variant's run beside the others.

    Attributes:
        variant: which one.
        result: for the answer.
        run_ms: milliseconds in ONNX Runtime.
        speedup: the first variant's milliseconds / these; None: it is the first.
    """

    variant: VariantName
    result: Result
    run_ms: float
    speedup: float | None


@dataclass(frozen=True)
class VariantComparison:
    """Runs variants on an executor.

    Attributes:
        executor: where they run.
        metrics: where their times are recorded.
    """

    executor: Executor
    metrics: Metrics

    async def run(
        self,
        sessions: Mapping[VariantName, Session],
        encode: Callable[[], Encoded],
        run: Callable[[Session, Encoded], Timed[Result]],
        ticket: Ticket,
        lanes: Sequence[Lane],
    ) -> tuple[Encoded, list[ComparedRun[Result]]]:
        """Encodes the input, and runs every session on it in turn: two would disturb each other.

        All of it is one piece of work: every way to another thread and back costs as much as a
        short text takes, and milliseconds where the machine is busy.

        Args:
            sessions: by the names of their variants, in the order of the answer.
            encode: makes of the request what the sessions read; raises what refuses it.
            run: runs one of them and times it.
            ticket: of the request, whose model and device the times are recorded under.
            lanes: in which others wait for the same sessions, or for the same encoder.

        Returns:
            What `encode` made, and a run for each session.
        """

        def work(control: RunControl) -> tuple[Encoded, list[Timed[Result]]]:
            encoded = encode()
            return encoded, [run(each.bound(control), encoded) for each in sessions.values()]

        encoded, timed = await self.executor.submit(work, ticket, lanes)
        runs: list[ComparedRun[Result]] = []
        for variant, each in zip(sessions, timed, strict=True):
            labels = self.metrics.runs.labels(ticket.model, variant, ticket.device)
            labels.observe(each.run_ms / 1e3)
            speedup = timed[0].run_ms / each.run_ms if runs else None
            runs.append(ComparedRun(variant, each.result, each.run_ms, speedup))
        return encoded, runs
