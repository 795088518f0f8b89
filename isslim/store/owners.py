"""Whose jobs, models and other things are, and how many of them a key may have.

Ids of jobs, inspections and sweeps are derived from what was sent and from whose it is, so that
who owns them is written before they are made, and stays true. What is not in the table belongs to
nobody: it was made while no keys were asked for, or by an earlier release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from isslim.store.attempts import ACTIVE
from isslim.store.errors import InspectionsExceeded, JobsExceeded, QuotaExceeded
from isslim.store.migrations import migrate
from isslim.store.moments import now
from isslim.store.tables import ALIASES, INSPECTIONS, JOBS, METADATA, OWNERS

Kind = Literal["job", "inspection", "sweep", "model", "alias", "promotion", "key"]
"""What is owned. A promotion is the leave of a job to move an alias of an owner; the entry of a key
is locked while it is looked how much it has."""
UPLOADS = sa.Table(
    "iss_owned_uploads",
    METADATA,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("at", sa.DateTime, nullable=False),
)
_BEING_MADE, _CLAIMED = timedelta(minutes=1), timedelta(hours=1)
"""How long what is claimed may take until it has a row, and counts until then; how long a claim
stays without what it names, which is made after it, and whose maker's clock may be off."""


@dataclass(frozen=True)
class Quota:
    """What a key may have at a time.

    Attributes:
        upload_bytes: of uploads that are kept.
        jobs: queued and running.
        models: published, and those that its jobs would publish.
        inspections: queued and running.
        aliases: that it has made.
    """

    upload_bytes: int
    jobs: int
    models: int
    inspections: int
    aliases: int


@dataclass(frozen=True)
class Work:
    """What a request would add.

    Attributes:
        kind: of what is made.
        ids: of the jobs, inspections or aliases.
        uploads: sizes in bytes by hash.
    """

    kind: Kind
    ids: frozenset[str]
    uploads: Mapping[str, int] = field(default_factory=dict)


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

    def may_promote(self, job_id: str, alias: str) -> bool:
        """Whether a job may move an alias: whose it is has not changed since it was asked for.

        Args:
            job_id: which job.
            alias: its name.
        """
        if self.owner_of("job", job_id) is None:
            return True  # no keys were asked for
        whose = self.owner_of("promotion", job_id)
        return whose is not None and whose == (self.owner_of("alias", alias) or NOBODY)

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
            if work.kind == "job":
                _check_jobs(connection, owner, work.ids, quota)
            elif work.kind == "inspection":
                _check_inspections(connection, owner, work.ids, quota.inspections)
            elif work.kind == "alias":
                _check_aliases(connection, owner, work.ids, quota.aliases)
            _add_uploads(connection, owner, work.uploads, quota.upload_bytes)
            _claim(connection, work.kind, work.ids, owner)

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
            for kind, table in (("job", JOBS), ("promotion", JOBS), ("inspection", INSPECTIONS)):
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


def _active(connection: sa.Connection, owner: str, kind: Kind, table: sa.Table) -> set[str]:
    """Ids of a key's jobs or inspections that have not ended, and of those that are being made."""
    joined = OWNERS.outerjoin(table, table.c.id == OWNERS.c.id)
    being_made = sa.and_(table.c.state.is_(None), OWNERS.c.at > _since(_BEING_MADE))
    rows = connection.execute(
        sa.select(OWNERS.c.id)
        .select_from(joined)
        .where(
            OWNERS.c.kind == kind,
            OWNERS.c.owner == owner,
            sa.or_(table.c.state.in_(ACTIVE), being_made),
        )
    ).scalars()
    return set(rows)


def _check_inspections(
    connection: sa.Connection, owner: str, ids: frozenset[str], limit: int
) -> None:
    active = _active(connection, owner, "inspection", INSPECTIONS)
    if ids - active and len(active) + len(ids - active) > limit:
        raise InspectionsExceeded(
            f"the key '{owner}' has {len(active)} of {limit} inspections queued or running: wait "
            "until some have ended, which takes seconds each where a worker is free"
        )


def _check_aliases(connection: sa.Connection, owner: str, ids: frozenset[str], limit: int) -> None:
    joined = OWNERS.outerjoin(ALIASES, ALIASES.c.alias == OWNERS.c.id)
    counts = sa.or_(ALIASES.c.alias.is_not(None), OWNERS.c.at > _since(_BEING_MADE))
    mine = sa.and_(OWNERS.c.kind == "alias", OWNERS.c.owner == owner)
    found = set(
        connection.execute(sa.select(OWNERS.c.id).select_from(joined).where(mine, counts)).scalars()
    )
    if ids - found and len(found) + len(ids - found) > limit:
        raise QuotaExceeded(
            f"the key '{owner}' has {len(found)} of {limit} aliases: delete some "
            "(DELETE /aliases/<name>)"
        )


def _check_jobs(connection: sa.Connection, owner: str, ids: frozenset[str], quota: Quota) -> None:
    active = _active(connection, owner, "job", JOBS)
    new = len(ids - active)
    if new and len(active) + new > quota.jobs:
        raise JobsExceeded(
            f"the key '{owner}' has {len(active)} of {quota.jobs} jobs queued or running, and this "
            f"is {new} more: cancel some (DELETE /jobs/<id>), or wait until some have ended"
        )
    models = _count(connection, owner, "model")
    if new and models + len(active) + new > quota.models:
        raise QuotaExceeded(
            f"the key '{owner}' has {models} of {quota.models} models, {len(active)} more are on "
            f"their way, and this would be {new} more: delete some (DELETE /models/<id>)"
        )


def _count(connection: sa.Connection, owner: str, kind: Kind) -> int:
    counted = sa.select(sa.func.count()).where(OWNERS.c.kind == kind, OWNERS.c.owner == owner)
    return connection.execute(counted).scalar_one()


def _add_uploads(
    connection: sa.Connection, owner: str, uploads: Mapping[str, int], limit: int
) -> None:
    mine = {
        row.sha256: row.size_bytes
        for row in connection.execute(sa.select(UPLOADS).where(UPLOADS.c.owner == owner))
    }
    new = {sha256: size for sha256, size in uploads.items() if sha256 not in mine}
    used, more = sum(mine.values()), sum(new.values())
    if new and used + more > limit:
        raise QuotaExceeded(
            f"the key '{owner}' keeps {used:,} of {limit:,} bytes of uploads, and this is {more:,} "
            "more: uploads are removed some time after the end of the last job that needs them (an "
            "hour, or as the operator has set ISS_KEEP_UPLOADS_HOURS); cancel jobs "
            "(DELETE /jobs/<id>)"
        )
    for sha256, size in new.items():
        connection.execute(
            UPLOADS.insert().values(sha256=sha256, owner=owner, size_bytes=size, at=now())
        )
    again = sa.and_(UPLOADS.c.owner == owner, UPLOADS.c.sha256.in_(uploads.keys() & mine.keys()))
    connection.execute(UPLOADS.update().where(again).values(at=now()))


def _since(span: timedelta) -> datetime:
    return now() - span
