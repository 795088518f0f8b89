"""The table of inspections: requested, running, finished.

The key of an inspection is the hash of its request, as for a job. It is repeated when it is
requested again after it ended: it takes seconds, and the worker may have been updated since.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from isslim.store.errors import NotFound
from isslim.store.records import METADATA
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest

KEPT = timedelta(days=1)
"""How long the result of an inspection is kept."""
_INSPECTIONS = sa.Table(
    "iss_inspections",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("answer", sa.Text),
)
_ACTIVE = ("queued", "running")


class InspectionRecords:
    """Reads and writes the table.

    Args:
        engine: of the jobs' database (`isslim.store.records.JobRecords`).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

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
            "created_at": _now(),
            "attempts": 0,
            "answer": None,
        }
        with self._engine.begin() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(
                        _INSPECTIONS.insert().values(id=inspection_id, run=1, **fresh)
                    )
            except IntegrityError:
                ended = _INSPECTIONS.c.state.not_in(_ACTIVE)
                connection.execute(
                    _INSPECTIONS.update()
                    .where(_INSPECTIONS.c.id == inspection_id, ended)
                    .values(run=_INSPECTIONS.c.run + 1, **fresh)
                )
        return self.run_of(inspection_id)

    def get(self, inspection_id: str) -> Inspection | PendingInspection:
        """The result, or the state of the inspection.

        Raises:
            NotFound: when there is none of that id.
        """
        row = self._row(inspection_id)
        if row.answer is not None:
            return Inspection.model_validate_json(row.answer)
        return PendingInspection(
            id=row.id, state=row.state, created_at=row.created_at.replace(tzinfo=UTC)
        )

    def request_of(self, inspection_id: str) -> CompressionRequest:
        """The request of an inspection."""
        return CompressionRequest.model_validate_json(self._row(inspection_id).request)

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
        return row.run == run and row.state in _ACTIVE

    def begin(self, inspection_id: str, run: int) -> int | None:
        """Marks a run as running and counts the attempt.

        Args:
            inspection_id: which inspection.
            run: which run of it.

        Returns:
            The number of attempts so far; None when it must not run, since it has ended or is not
            the current one.
        """
        changed = self._change(
            inspection_id, run, state="running", attempts=_INSPECTIONS.c.attempts + 1
        )
        return int(self._row(inspection_id).attempts) if changed else None

    def finish(self, inspection_id: str, run: int, answer: Inspection) -> bool:
        """Ends a run with its result.

        Args:
            inspection_id: which inspection.
            run: which run of it.
            answer: what was understood.

        Returns:
            False when the run had already ended; its result is kept.
        """
        return self._change(inspection_id, run, state="answered", answer=answer.model_dump_json())

    def active(self) -> dict[str, CompressionRequest]:
        """The requests of unfinished runs, by `<id>-<run>`."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                _INSPECTIONS.select().where(_INSPECTIONS.c.state.in_(_ACTIVE))
            ).all()
        return {
            f"{row.id}-{row.run}": CompressionRequest.model_validate_json(row.request)
            for row in rows
        }

    def uploads(self) -> set[str]:
        """Hashes of the uploads that unfinished inspections need."""
        return {upload.sha256 for request in self.active().values() for upload in request.uploads}

    def collect_garbage(self, older_than: timedelta = KEPT) -> None:
        """Removes the results of old requests.

        Args:
            older_than: how long ago at least.
        """
        old = sa.and_(
            _INSPECTIONS.c.state.not_in(_ACTIVE), _INSPECTIONS.c.created_at < _now() - older_than
        )
        with self._engine.begin() as connection:
            connection.execute(_INSPECTIONS.delete().where(old))

    def _change(self, inspection_id: str, run: int, **values: Any) -> bool:
        chosen = sa.and_(
            _INSPECTIONS.c.id == inspection_id,
            _INSPECTIONS.c.run == run,
            _INSPECTIONS.c.state.in_(_ACTIVE),
        )
        with self._engine.begin() as connection:
            return (
                connection.execute(_INSPECTIONS.update().where(chosen).values(**values)).rowcount
                == 1
            )

    def _row(self, inspection_id: str) -> sa.Row[Any]:
        if "\0" in inspection_id:  # Postgres refuses it in any text
            raise NotFound("inspection", inspection_id)
        with self._engine.connect() as connection:
            row = connection.execute(
                _INSPECTIONS.select().where(_INSPECTIONS.c.id == inspection_id)
            ).one_or_none()
        if row is None:
            raise NotFound("inspection", inspection_id)
        return row


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
