"""The table of inspections: requested, running, finished.

The key of an inspection is the hash of its request, as for a job. It is repeated when it is
requested again after it ended: it takes seconds, and the worker may have been updated since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import IntegrityError

from isslim.store.attempts import ACTIVE, Elsewhere, has_lost_attempt
from isslim.store.errors import NotFound
from isslim.store.job_rows import hashes_in, request_of
from isslim.store.leniency import read_leniently
from isslim.store.moments import now
from isslim.store.tables import INSPECTIONS
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest

KEPT = timedelta(days=1)
"""How long the result of an inspection is kept."""


@dataclass(frozen=True)
class BegunInspection:
    """One attempt at an inspection; what it writes names it (`isslim.store.attempts`).

    Attributes:
        id: of the inspection.
        run: which run of it.
        number: of the attempt, from 1.
        deaths: attempts that ended by the end of their worker.
    """

    id: str
    run: int
    number: int
    deaths: int


class InspectionRecords:
    """Reads and writes the table.

    Args:
        engine: of the jobs' database (`isslim.store.records.JobRecords`).
        hide: takes out of texts what their readers should not see.
    """

    def __init__(self, engine: sa.Engine, hide: Callable[[str], str] = str) -> None:
        self._engine, self._hide = engine, hide

    def add(self, inspection_id: str, request: CompressionRequest) -> int:
        """Requests an inspection, or joins the one in progress.

        Args:
            inspection_id: derived from the request.
            request: the uploads to inspect.

        Returns:
            The run; a new one where the last has ended.
        """
        fresh: dict[str, Any] = {
            "state": "queued",
            "request": request.model_dump_json(),
            "created_at": now(),
            "attempts": 0,
            "answer": None,
            "worker": None,
            "deaths": None,
        }
        with self._engine.begin() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(
                        INSPECTIONS.insert().values(id=inspection_id, run=1, **fresh)
                    )
            except IntegrityError:
                ended = INSPECTIONS.c.state.not_in(ACTIVE)
                connection.execute(
                    INSPECTIONS.update()
                    .where(INSPECTIONS.c.id == inspection_id, ended)
                    .values(run=INSPECTIONS.c.run + 1, **fresh)
                )
        return self.run_of(inspection_id)

    def get(self, inspection_id: str) -> Inspection | PendingInspection:
        """The result, or the state of the inspection.

        Raises:
            NotFound: when there is none of that id.
        """
        row = self._row(inspection_id)
        if row.answer is not None:
            unreadable = Inspection(understood=False)
            return read_leniently(TypeAdapter(Inspection), row.answer, unreadable)[0]
        return PendingInspection(
            id=row.id, state=row.state, created_at=row.created_at.replace(tzinfo=UTC)
        )

    def request_of(self, inspection_id: str) -> CompressionRequest:
        """The request of an inspection, to the letter.

        Raises:
            AnotherRelease: when it holds what this release does not know.
        """
        return request_of(self._row(inspection_id).request)

    def run_of(self, inspection_id: str) -> int:
        """Which run is the current one."""
        return int(self._row(inspection_id).run)

    def is_active(self, inspection_id: str, run: int) -> bool:
        """Whether a run is still unfinished.

        Args:
            inspection_id: which inspection.
            run: which run of it.

        Raises:
            NotFound: when there is no inspection of that id.
        """
        row = self._row(inspection_id)
        return row.run == run and row.state in ACTIVE

    def begin(
        self, inspection_id: str, run: int, worker: str, is_dead: Callable[[str], bool]
    ) -> BegunInspection | None:
        """Marks a run as running, by a new attempt.

        Args:
            inspection_id: which inspection.
            run: which run of it.
            worker: token of the worker that begins it.
            is_dead: whether the worker of a token is.

        Returns:
            The attempt; None when it must not run, since it has ended or is not the current one.

        Raises:
            Elsewhere: when another attempt may be running.
        """
        row = self._row(inspection_id)
        if row.run != run or row.state not in ACTIVE:
            return None
        was_lost = has_lost_attempt(row, worker, is_dead)
        begun = BegunInspection(inspection_id, run, row.attempts + 1, (row.deaths or 0) + was_lost)
        values = {"attempts": begun.number, "worker": worker, "deaths": begun.deaths}
        before = BegunInspection(inspection_id, run, row.attempts, 0)
        if not self._change(before, state="running", **values):
            raise Elsewhere
        return begun

    def is_current(self, begun: BegunInspection) -> bool:
        """Whether an attempt is still running: neither ended nor taken over."""
        row = self._row(begun.id)
        return (row.run, row.attempts, row.state) == (begun.run, begun.number, "running")

    def finish(self, begun: BegunInspection, answer: Inspection) -> bool:
        """Ends a run with its result.

        Args:
            begun: the attempt.
            answer: what was understood.

        Returns:
            False when the run had ended, or another attempt was begun; nothing is changed then.
        """
        return self._change(begun, state="answered", answer=self._hide(answer.model_dump_json()))

    def hand_back(self, begun: BegunInspection) -> bool:
        """Requests a run again, which its worker leaves."""
        return self._change(begun, state="queued", worker=None)

    def active(self) -> dict[str, str]:
        """The requests of unfinished runs as they are stored, by `<id>-<run>`."""
        columns = (INSPECTIONS.c.id, INSPECTIONS.c.run, INSPECTIONS.c.request)
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(*columns).where(INSPECTIONS.c.state.in_(ACTIVE))
            ).all()
        return {f"{row.id}-{row.run}": row.request for row in rows}

    def uploads(self) -> set[str]:
        """Hashes of the uploads that unfinished inspections need."""
        return hashes_in(self.active().values())

    def collect_garbage(self, older_than: timedelta = KEPT) -> list[str]:
        """Removes the results of old requests.

        Args:
            older_than: how long ago at least.

        Returns:
            Which runs were removed, as `<id>-<run>`; at most some hundred, and the rest later.
        """
        old = sa.and_(
            INSPECTIONS.c.state.not_in(ACTIVE), INSPECTIONS.c.created_at < now() - older_than
        )
        query = sa.select(INSPECTIONS.c.id, INSPECTIONS.c.run).where(old).limit(500)
        with self._engine.begin() as connection:
            found = connection.execute(query).all()
            ids = [row.id for row in found]
            connection.execute(INSPECTIONS.delete().where(old, INSPECTIONS.c.id.in_(ids)))
        return [f"{row.id}-{row.run}" for row in found]

    def _change(self, begun: BegunInspection, **values: Any) -> bool:
        chosen = sa.and_(
            INSPECTIONS.c.id == begun.id,
            INSPECTIONS.c.run == begun.run,
            INSPECTIONS.c.attempts == begun.number,
            INSPECTIONS.c.state.in_(ACTIVE),
        )
        changed = INSPECTIONS.update().where(chosen).values(**values)
        with self._engine.begin() as connection:
            return connection.execute(changed).rowcount == 1

    def _row(self, inspection_id: str) -> sa.Row[Any]:
        if "\0" in inspection_id:  # Postgres refuses it in any text
            raise NotFound("inspection", inspection_id)
        with self._engine.connect() as connection:
            row = connection.execute(
                INSPECTIONS.select().where(INSPECTIONS.c.id == inspection_id)
            ).one_or_none()
        if row is None:
            raise NotFound("inspection", inspection_id)
        return row
