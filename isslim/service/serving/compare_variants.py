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
    """A session whose runs can be stopped."""

    def bound(self, control: RunControl) -> Self:
        """The same session, whose runs `control` can stop."""


Session = TypeVar("Session", bound=Stoppable)
Encoded = TypeVar("Encoded")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """The result of one variant.

    Attributes:
        result: for the answer.
        run_ms: milliseconds in ONNX Runtime.
    """

    result: Result
    run_ms: float


@dataclass(frozen=True)
class ComparedRun(Generic[Result]):
    """One variant's run, compared with the others.

    Attributes:
        variant: which one.
        result: for the answer.
        run_ms: milliseconds in ONNX Runtime.
        speedup: the first variant's milliseconds / these; None for the first.
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
        """Encodes the input, and runs the sessions in turn: parallel runs would disturb the timing.

        All of it is one task: every switch to another thread and back costs as much as a short
        text, and milliseconds where the machine is busy.

        Args:
            sessions: by the names of their variants, in the order of the answer.
            encode: converts the request to the sessions' input; raises an error to refuse it.
            run: runs one of them and times it.
            ticket: of the request; the times are recorded under its model and device.
            lanes: shared with other users of the same sessions or the same encoder.

        Returns:
            The result of `encode`, and a run for each session.
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
