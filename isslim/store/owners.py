"""Whose jobs, models and other things are.

Ids of jobs, inspections and sweeps are derived from what was sent and from whose it is, so that
who owns them is written before they are made, and stays true. What is not in the table belongs to
nobody: it was made while no keys were asked for, or by an earlier release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from isslim.store.migrations import migrate
from isslim.store.moments import now
from isslim.store.quotas import UPLOADS, Kind, Quota, Work, check, forget_unmade
from isslim.store.tables import INSPECTIONS, JOBS, OWNERS

_CLAIMED = timedelta(hours=1)
"""How long a claim stays without what it names, which is made after it, and whose maker's clock may
be off."""


class Owners:
    """Reads and writes who owns what.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        migrate(engine)

    def owner_of(self, kind: Kind, name: str) -> str | None:
        """Whose something is; None: nobody's.

        Args:
            kind: what it is.
            name: its id.
        """
        query = sa.select(OWNERS.c.owner).where(OWNERS.c.kind == kind, OWNERS.c.id == name[:64])
        if "\0" in name:  # Postgres refuses it in any text
            return None
        with self._engine.connect() as connection:
            return connection.execute(query).scalar_one_or_none()

    def of_kind(self, kind: Kind, names: Collection[str] | None = None) -> dict[str, str]:
        """The owners of things of a kind that have one, by id.

        Args:
            kind: of the things.
            names: ids of those that are asked for; None: all.
        """
        query = sa.select(OWNERS.c.id, OWNERS.c.owner).where(OWNERS.c.kind == kind)
        if names is not None:
            query = query.where(OWNERS.c.id.in_(names))
        with self._engine.connect() as connection:
            return {row.id: row.owner for row in connection.execute(query)}

    def claim(self, kind: Kind, name: str, owner: str) -> str:
        """Makes something a key's, unless it is another's already; returns whose it is.

        Args:
            kind: what it is.
            name: its id.
            owner: the key.
        """
        with self._engine.begin() as connection:
            _claim(connection, kind, [name], owner)
        return self.owner_of(kind, name) or owner

    def forget(self, kind: Kind, name: str) -> None:
        """Something is gone.

        Args:
            kind: what it was.
            name: its id.
        """
        gone = sa.and_(OWNERS.c.kind == kind, OWNERS.c.id == name)
        with self._engine.begin() as connection:
            connection.execute(OWNERS.delete().where(gone))

    def inherit(self, job_id: str, model_id: str) -> None:
        """A model is its job's owner's.

        Args:
            job_id: which job.
            model_id: that it made.
        """
        owner = self.owner_of("job", job_id)
        if owner is not None:
            self.claim("model", model_id, owner)

    def allow_promotion(self, job_id: str, whose: str) -> None:
        """Notes whose alias a job may move, each time that it is asked for.

        Args:
            job_id: which job.
            whose: the owner of the alias; `NOBODY`: it has none.
        """
        with self._engine.begin() as connection:
            _forget(connection, "promotion", job_id)
            _claim(connection, "promotion", [job_id], whose)

    def may_promote(self, job_id: str, alias: str) -> bool:
        """Whether a job may move an alias: whose it is has not changed since it was asked for.

        It may have become that of the job's own key, which has made it since, or whose job before
        this one has. An alias of nobody becomes that key's.

        Args:
            job_id: which job.
            alias: its name.
        """
        mine = self.owner_of("job", job_id)
        if mine is None:
            return True  # no keys were asked for
        asked = self.owner_of("promotion", job_id)
        if asked is None:
            return False
        with self._engine.begin() as connection:
            forget_unmade(connection, [alias])
        whose = self.owner_of("alias", alias) or NOBODY
        if whose == NOBODY == asked:
            # Of two keys that make an alias at a time one becomes its owner.
            whose = self.claim("alias", alias, mine)
        return whose in (asked, mine)

    def admit(self, owner: str, work: Work, quota: Quota) -> None:
        """Makes jobs, inspections or aliases, and their uploads, a key's, if it may have so many.

        Of requests at a time the second one sees what the first one has.

        Args:
            owner: the key.
            work: what it asks for.
            quota: of the key.

        Raises:
            QuotaExceeded: when it would have more; nothing is changed.
        """
        with self._engine.begin() as connection:
            _lock(connection, owner)
            new = check(connection, owner, work, quota)
            _claim(connection, work.kind, new, owner)
            for job_id, alias in work.aliases.items():
                _claim(connection, "destination", [job_id], alias)

    def collect_garbage(self, needed: set[str], models: set[str], kept: timedelta) -> None:
        """Forgets uploads that are not kept any more, models that are gone, and old claims.

        Args:
            needed: hashes of the uploads that unfinished jobs and inspections need.
            models: ids of all models.
            kept: how long other uploads are kept, which count until then.
        """
        unneeded, old = now() - kept, now() - _CLAIMED
        with self._engine.begin() as connection:
            there = connection.execute(
                sa.select(UPLOADS.c.sha256).where(UPLOADS.c.at < unneeded).distinct()
            ).scalars()
            for sha256 in set(there) - needed:
                connection.execute(
                    UPLOADS.delete().where(UPLOADS.c.sha256 == sha256, UPLOADS.c.at < unneeded)
                )
            known = sa.select(OWNERS.c.id).where(OWNERS.c.kind == "model", OWNERS.c.at < old)
            for model in set(connection.execute(known).scalars()) - models:
                _forget(connection, "model", model)
            for kind, table in (
                ("job", JOBS),
                ("promotion", JOBS),
                ("destination", JOBS),
                ("inspection", INSPECTIONS),
            ):
                connection.execute(
                    OWNERS.delete().where(
                        OWNERS.c.kind == kind,
                        OWNERS.c.at < old,
                        OWNERS.c.id.not_in(sa.select(table.c.id)),
                    )
                )


NOBODY = ""
"""In place of the owner of an alias that has none, where a job may move it."""


def _lock(connection: sa.Connection, owner: str) -> None:
    """Lets other transactions about a key wait for the end of this one."""
    _claim(connection, "key", [owner], owner)
    connection.execute(
        OWNERS.update().where(OWNERS.c.kind == "key", OWNERS.c.id == owner).values(at=now())
    )


def _claim(connection: sa.Connection, kind: Kind, names: Iterable[str], owner: str) -> None:
    for name in names:
        try:
            with connection.begin_nested():
                connection.execute(
                    OWNERS.insert().values(kind=kind, id=name, owner=owner, at=now())
                )
        except IntegrityError:  # it has an owner; its time is renewed, if that is the same
            mine = sa.and_(OWNERS.c.kind == kind, OWNERS.c.id == name, OWNERS.c.owner == owner)
            connection.execute(OWNERS.update().where(mine).values(at=now()))


def _forget(connection: sa.Connection, kind: Kind, name: str) -> None:
    connection.execute(OWNERS.delete().where(OWNERS.c.kind == kind, OWNERS.c.id == name))
