"""Runs the variants of a model one after the other on the same input, and compares their times."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from isslim.service.metrics import Metrics
from isslim.service.serving.admission import Ticket
from isslim.service.serving.batching import Job
from isslim.service.serving.executor import Executor
from isslim.service.serving.run_spans import RunSpans
from isslim.types.manifest import VariantName

Session = TypeVar("Session")
Encoded = TypeVar("Encoded")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """The result of one variant.

    Attributes:
        result: for the answer.
        run_ms: milliseconds in ONNX Runtime; of runs that it shared, its share by tokens.
    """

    result: Result
    run_ms: float


@dataclass(frozen=True)
class ComparedRun(Generic[Result]):
    """One variant's run, compared with the others.

    Attributes:
        variant: which one.
        result: for the answer.
        run_ms: as `Timed`.
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
        run: Callable[[Session, Encoded], Job[Timed[Result]]],
        ticket: Ticket,
        owner: object,
    ) -> tuple[Encoded, list[ComparedRun[Result]]]:
        """Encodes the input, and runs the sessions in turn: parallel runs would disturb the timing.

        All of it is one job: every switch to another thread and back costs as much as a short text,
        and milliseconds where the machine is busy.

        Args:
            sessions: by the names of their variants, in the order of the answer.
            encode: converts the request to the sessions' input; raises an error to refuse it.
            run: the part of the job that runs one of them.
            ticket: of the request; the times are recorded under its model and device.
            owner: of the encoder, see `Executor.submit`.

        Returns:
            The result of `encode`, and a run for each session.
        """
        spans = RunSpans(ticket.model)

        def job() -> Generator[Any, Any, tuple[Encoded, list[Timed[Result]]]]:
            timed: list[Timed[Result]] = []
            spans.begin()
            with spans.step("tokenize"):
                encoded = encode()
            for variant, each in sessions.items():
                with spans.step(f"run {variant}"):
                    timed.append((yield from run(each, encoded)))
            return encoded, timed

        encoded, timed = await self.executor.submit(job(), ticket, owner)
        runs: list[ComparedRun[Result]] = []
        for variant, each in zip(sessions, timed, strict=True):
            labels = ticket.labels.of(variant)
            self.metrics.runs.labels(*labels).observe(each.run_ms / 1e3)
            speedup = timed[0].run_ms / each.run_ms if runs else None
            runs.append(ComparedRun(variant, each.result, each.run_ms, speedup))
        return encoded, runs
