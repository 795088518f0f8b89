"""Runs the variants of a model one after the other on the same input, and compares their times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        run: Callable[[Session], Timed[Result]],
        ticket: Ticket,
        *,
        one_at_a_time: bool = False,
    ) -> list[ComparedRun[Result]]:
        """Runs every session, in turn: two at once would measure each other.

        Args:
            sessions: by the names of their variants, in the order of the answer.
            run: runs one of them and times it.
            ticket: of the request, whose model and device the times are recorded under.
            one_at_a_time: whether a session makes one run after the other, whoever asks.
        """
        found: list[ComparedRun[Result]] = []
        for variant, session in sessions.items():

            def work(control: RunControl, session: Session = session) -> Timed[Result]:
                return run(session.bound(control))

            lane = Lane(session, 1) if one_at_a_time else None
            timed = await self.executor.submit(work, ticket, lane)
            labels = self.metrics.runs.labels(ticket.model, variant, ticket.device)
            labels.observe(timed.run_ms / 1e3)
            speedup = found[0].run_ms / timed.run_ms if found else None
            found.append(ComparedRun(variant, timed.result, timed.run_ms, speedup))
        return found
