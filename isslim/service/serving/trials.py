"""Tries an alias's shadow or canary on live requests, after their answers were sent.

A request is run again by what the alias points at and by the candidate, one after the other, so
that their times are comparable, and with the least priority: whatever somebody waits for comes
first. When more than half of the queue is in use, it is left out. What was found is added to the
database every moment, where rules are decided on the sums of all processes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor

from isslim.runtime.errors import RunStopped
from isslim.service.metrics import TrialMetrics
from isslim.service.serving.admission import Admission, Ticket
from isslim.service.serving.destinations import is_among
from isslim.service.serving.executor import Executor
from isslim.service.serving.registry import ModelRegistry
from isslim.service.serving.repeatable import Outcome, Repeatable
from isslim.service.serving.trial_report import decide, report_of, trial_of
from isslim.store.aliases import Author
from isslim.store.comparisons import ComparisonStore, Key, Tally, key_of
from isslim.store.errors import CorruptBundle, NotFound, StorageUnavailable, Unavailable
from isslim.types.kinds.language import LANGUAGE
from isslim.types.schemas.aliases import Alias, Candidate, Target
from isslim.types.schemas.trials import Role, TrialReport

_LOG = logging.getLogger("service.trials")
WRITE_SECONDS, RUN_SECONDS = 0.3, 30.0
"""Pause between writings; time after which a request is left out."""
MAX_WAITING = 16
"""Requests that wait to be compared."""
PASSING = (TimeoutError, RunStopped, Unavailable, StorageUnavailable)
"""Faults that say nothing about the candidate."""


def _has_not_loaded(ticket: Ticket, status: int) -> bool:
    """Whether a model is gone or damaged; later such a status is about the request."""
    return status in (404, 409) and not ticket.model


class Trials:
    """The comparisons of one process.

    Args:
        models: in memory.
        executor: where they run.
        admission: knows how much of the queue is in use.
        metrics: where every comparison is recorded.
        comparisons: where their sums are kept.
    """

    def __init__(
        self,
        models: ModelRegistry,
        executor: Executor,
        admission: Admission,
        metrics: TrialMetrics,
        comparisons: ComparisonStore,
    ) -> None:
        self._models, self._executor, self._admission = models, executor, admission
        self._metrics, self._comparisons = metrics, comparisons
        self._found: dict[Key, tuple[Alias, Candidate, Tally]] = {}
        self._said: dict[str, tuple[int, str]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Task[None] | None = None
        # One at a time: what is read for a decision holds what was written before.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="trials")

    @property
    def running(self) -> int:
        """How many requests are being compared, or wait for it."""
        return len(self._running)

    def answered(self, ticket: Ticket, status: int, seconds: float) -> None:
        """Compares a request whose answer was sent, if an alias wants that; called on the loop.

        Args:
            ticket: of the request.
            status: of the answer, whatever the protocol: of its fault where it had begun.
            seconds: that it took.
        """
        found = ticket.destination
        if found is None or found.alias is None:
            return
        alias, candidate = found.alias, found.alias.canary if found.is_canary else None
        if alias.canary is not None:
            self._metrics.note_answer(alias.alias, found.is_canary, status, seconds)
        if candidate is not None and (status == 500 or _has_not_loaded(ticket, status)):
            self._tally(alias, candidate).failed += 1
            return
        if candidate is None and alias.shadow is not None:
            among = is_among(ticket.key, alias.shadow, f"shadow of {alias.alias}")
            candidate = alias.shadow if among else None
        repeatable, is_chosen = ticket.repeatable, list(ticket.variants) == [found.variant]
        if status != 200 or candidate is None or repeatable is None or not is_chosen:
            return
        if self._admission.is_half_full() or self.running >= MAX_WAITING:
            self._drop(alias, candidate)
            return
        task = asyncio.get_running_loop().create_task(self._compare(alias, candidate, repeatable))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def report(self, alias: Alias) -> TrialReport:
        """The trials of an alias, with what this process has found until now."""
        await self._write()
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._report, alias)

    def close(self) -> None:
        """Ends all comparisons; called on the loop."""
        for task in (*self._running, *([] if self._writing is None else [self._writing])):
            task.cancel()
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _report(self, alias: Alias) -> TrialReport:
        try:
            task = self._models.manifest(alias.model)[1].task
        except NotFound:  # its owner has deleted it
            task = ""
        roles: tuple[tuple[Role, Candidate | None], ...] = (
            ("shadow", alias.shadow),
            ("canary", alias.canary),
        )
        trials = [
            trial_of(
                role,
                candidate,
                self._comparisons.read(key_of(alias, candidate)),
                is_text=task == LANGUAGE.name,
                is_gone=self._is_gone(candidate),
            )
            for role, candidate in roles
            if candidate is not None
        ]
        return report_of(alias, trials, task)

    def _is_gone(self, target: Target) -> bool:
        """Whether a model was deleted, by its owner or by hand; False where that is unknown now."""
        try:
            return not self._models.bundles.exists(target.model)
        except StorageUnavailable:
            return False

    async def _compare(self, alias: Alias, candidate: Candidate, repeatable: Repeatable) -> None:
        try:
            async with asyncio.timeout(RUN_SECONDS):
                own = await self._run(alias, repeatable)
                try:
                    other = await self._run(candidate, repeatable)
                except PASSING:
                    raise
                except Exception as fault:
                    self._note_failed(alias, candidate, fault)
                    return
        except Exception as fault:  # of what the alias points at, or the queue
            if isinstance(fault, NotFound):
                self._say_gone(alias, alias.target, "the alias")
            self._drop(alias, candidate)
            return
        loop = asyncio.get_running_loop()
        figures = await loop.run_in_executor(None, other.against, own)
        if not math.isfinite(figures["change"]):
            _LOG.error("%s gives other outputs than %s", candidate, alias.target)
            self._tally(alias, candidate).failed += 1
            return
        self._tally(alias, candidate).note(figures)
        self._metrics.observe(alias.alias, figures, is_text=own.log_prob is not None)

    def _note_failed(self, alias: Alias, candidate: Candidate, fault: Exception) -> None:
        """Counts a failure of a candidate; that it is gone is no fault of the program's.

        Args:
            alias: as it was asked.
            candidate: of it.
            fault: that it failed with.
        """
        self._tally(alias, candidate).failed += 1
        if isinstance(fault, NotFound):
            role = "its canary" if candidate == alias.canary else "its shadow"
            self._say_gone(alias, candidate.target, role)
        elif isinstance(fault, CorruptBundle):
            _LOG.error("the trial of '%s' failed: %s", alias.alias, fault)
        else:
            said = "%s failed where %s answered"
            _LOG.error(said, candidate, alias.target, exc_info=fault)

    def _say_gone(self, alias: Alias, target: Target, role: str) -> None:
        """Says in the log that a model of a trial was deleted, once for an alias as it is.

        Args:
            alias: as it was asked.
            target: that is gone.
            role: of it.
        """
        if self._said.get(alias.alias) == (alias.version, role):
            return
        self._said[alias.alias] = (alias.version, role)
        _LOG.warning(
            "the trial of '%s' compares nothing: the model %s of %s was deleted",
            alias.alias,
            target,
            role,
        )

    async def _run(self, target: Target, repeatable: Repeatable) -> Outcome:
        deadline = time.monotonic() + RUN_SECONDS
        ticket = Ticket(deadline=deadline, is_background=True)
        model = await self._models.load(target.model, repeatable.kind, ticket)
        variants = [] if target.variant is None else [target.variant]
        opener = self._models.open_processes if repeatable.in_own_process else self._models.open
        sessions = await opener(model, variants, repeatable.device, ticket)
        (session,) = sessions.values()
        return await self._executor.submit(repeatable.run(model, session), ticket, model)

    def _drop(self, alias: Alias, candidate: Candidate) -> None:
        self._metrics.dropped.labels(alias.alias).inc()
        self._tally(alias, candidate).dropped += 1

    def _tally(self, alias: Alias, candidate: Candidate) -> Tally:
        """Where a request is counted; what is counted is soon written."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())
        key = key_of(alias, candidate)
        return self._found.setdefault(key, (alias, candidate, Tally()))[2]

    async def _write_soon(self) -> None:
        while self._found:
            await asyncio.sleep(WRITE_SECONDS)
            await self._write()

    async def _write(self) -> None:
        found, self._found = self._found, {}
        loop = asyncio.get_running_loop()
        for key, (alias, candidate, tally) in found.items():
            try:
                await loop.run_in_executor(self._writer, self._add, key, alias, candidate, tally)
            except Unavailable as fault:
                _LOG.warning("%s; trying again", fault)
                kept = self._found.setdefault(key, (alias, candidate, Tally()))
                kept[2].add(tally)
            except Exception:  # the others are written nevertheless
                _LOG.exception("what was found of %s is lost", key)

    def _add(self, key: Key, alias: Alias, candidate: Candidate, tally: Tally) -> None:
        """Adds what was found, and does what the candidate's rule says of the whole."""
        self._comparisons.add(key, tally)
        if candidate.rule is None:
            return
        role: Role = "canary" if candidate == alias.canary else "shadow"
        whole = self._comparisons.read(key)
        trial = trial_of(role, candidate, whole, is_text=True)
        decision = decide(candidate.rule, whole, trial.change)
        if decision == "undecided":
            return
        change = "" if trial.change is None else f"change {trial.change.mean:.4g}, "
        note = f"rule {decision}: {change}{whole.failed} failed, {whole.requests} requests compared"
        author = Author(f"rule of {role} {candidate.target}", note=note)
        promote = decision == "held"
        if self._models.aliases.end_trial(alias, candidate.target, author, promote=promote):
            self._models.forget_meanings()
