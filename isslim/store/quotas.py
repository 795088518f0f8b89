"""How much a key may have at a time, and whether it has more; looked at in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from isslim.store.attempts import ACTIVE
from isslim.store.errors import InspectionsExceeded, JobsExceeded, QuotaExceeded
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
_BEING_MADE = timedelta(minutes=1)
"""How long what is claimed may take until it has a row, and counts until then."""


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


def check(connection: sa.Connection, owner: str, work: Work, quota: Quota) -> None:
    """Counts the uploads of a request as a key's, if it may have all that the request would add.

    Args:
        connection: of a transaction that others about the key wait for.
        owner: the key.
        work: what it asks for.
        quota: of the key.

    Raises:
        QuotaExceeded: when it would have more.
    """
    if work.kind == "job":
        _check_jobs(connection, owner, work.ids, quota)
    elif work.kind == "inspection":
        _check_inspections(connection, owner, work.ids, quota.inspections)
    elif work.kind == "alias":
        _check_aliases(connection, owner, work.ids, quota.aliases)
    _add_uploads(connection, owner, work.uploads, quota.upload_bytes)


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
