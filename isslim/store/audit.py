"""The audit trail: who changed what, when, and how it ended; bounded in time and number.

No entry holds what was sent: neither bodies nor queries nor keys.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from isslim.store.errors import Unavailable
from isslim.store.migrations import migrate
from isslim.store.tables import METADATA
from isslim.types.schemas.audit import AuditEntry

AUDIT = sa.Table(
    "iss_audit",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.DateTime, nullable=False, index=True),
    sa.Column("key", sa.String(64)),
    sa.Column("remote", sa.String(64), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("path", sa.String(300), nullable=False),
    sa.Column("subject", sa.String(300)),
    sa.Column("status", sa.Integer, nullable=False),
)
_PRUNED_EVERY = 100
"""Entries after which old ones are looked for."""


class AuditStore:
    """Keeps the trail.

    Args:
        engine: of the database.
        days: how long an entry is kept.
        entries: how many are kept at most, about.
    """

    def __init__(self, engine: sa.Engine, days: float, entries: int) -> None:
        self._engine, self._days, self._entries = engine, days, entries
        migrate(engine)

    def add(self, entry: AuditEntry) -> None:
        """Appends an entry; its number is the next one, whatever it says.

        Raises:
            Unavailable: when the database does not take it, whatever the reason.
        """
        values = entry.model_dump(exclude={"id"})
        values["at"] = entry.at.astimezone(UTC).replace(tzinfo=None)
        try:
            with self._engine.begin() as connection:
                added = AUDIT.insert().values(**values).returning(AUDIT.c.id)
                number = connection.execute(added).scalar_one()
                if number % _PRUNED_EVERY == 0:
                    self._prune(connection, number)
        except sa.exc.SQLAlchemyError as error:  # such as of a database that is read only
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            raise Unavailable(str(cause)) from error

    def newest(self, limit: int, before: int | None = None) -> list[AuditEntry]:
        """Entries, the newest first.

        Args:
            limit: how many at most.
            before: only those with a smaller number; None: all.
        """
        query = AUDIT.select().order_by(AUDIT.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AUDIT.c.id < before)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            AuditEntry.model_validate({**row, "at": row["at"].replace(tzinfo=UTC)}) for row in rows
        ]

    def _prune(self, connection: sa.Connection, last: int) -> None:
        old = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=self._days)
        connection.execute(
            AUDIT.delete().where(sa.or_(AUDIT.c.id <= last - self._entries, AUDIT.c.at < old))
        )
