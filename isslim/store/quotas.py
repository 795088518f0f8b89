"""How much a key may have at a time, and whether it has more; looked at in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from isslim.store.attempts import ACTIVE
from isslim.store.errors import InspectionsExceeded, JobsExceeded, QuotaExceeded
from isslim.store.job_rows import aliases_in
from isslim.store.moments import now
from isslim.store.tables import ALIASES, INSPECTIONS, JOBS, METADATA, OWNERS
from isslim.types.jobs import JobState

Kind = Literal["job", "inspection", "sweep", "model", "alias", "promotion", "destination", "key"]
"""What is owned. A promotion is the leave of a job to move an alias of an owner, and a destination
names the alias in place of an owner; the entry of a key is locked while it is looked how much it
has."""
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
        aliases: that it has made, and those that its jobs would make.
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
        aliases: that jobs are to move once they have succeeded, by the ids of these.
    """

    kind: Kind
    ids: frozenset[str]
    uploads: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


def check(connection: sa.Connection, owner: str, work: Work, quota: Quota) -> frozenset[str]:
    """Counts the uploads of a request as a key's, if it may have all that the request would add.

    Args:
        connection: of a transaction that others about the key wait for.
        owner: the key.
        work: what it asks for.
        quota: of the key.

    Returns:
        The ids of the work that are to be claimed: of those that are active nothing begins.

    Raises:
        QuotaExceeded: when it would have more.
    """
    new = work.ids
    if work.kind == "job":
        new = _check_jobs(connection, owner, work.ids, quota)
        _check_aliases(connection, owner, frozenset(work.aliases.values()), quota.aliases)
    elif work.kind == "inspection":
        new = _check_inspections(connection, owner, work.ids, quota.inspections)
    elif work.kind == "alias":
        forget_unmade(connection, work.ids)
        _check_aliases(connection, owner, work.ids, quota.aliases)
    _add_uploads(connection, owner, work.uploads, quota.upload_bytes)
    return new


def forget_unmade(connection: sa.Connection, aliases: Collection[str]) -> None:
    """Forgets whose aliases are that were never made, or that an earlier release has deleted.

    Args:
        connection: of a transaction.
        aliases: their names.
    """
    unmade = sa.and_(
        OWNERS.c.kind == "alias",
        OWNERS.c.id.in_(aliases),
        OWNERS.c.at <= _since(_BEING_MADE),
        OWNERS.c.id.not_in(sa.select(ALIASES.c.alias)),
    )
    connection.execute(OWNERS.delete().where(unmade))


_JOB_TO_BEGIN = sa.or_(
    JOBS.c.state.in_([JobState.FAILED, JobState.CANCELLED]),
    sa.and_(JOBS.c.state == JobState.SUCCEEDED, JOBS.c.model_id.is_(None)),
)
"""Of a job that runs anew when it is asked for again."""
_INSPECTION_TO_BEGIN = INSPECTIONS.c.state.not_in(ACTIVE)
"""Of an inspection that does."""


def _active(
    connection: sa.Connection, owner: str, kind: Kind, to_begin: sa.ColumnElement[bool]
) -> set[str]:
    """Ids of a key's jobs or inspections that have not ended, and of those that are being made.

    Args:
        connection: in a transaction.
        owner: the key.
        kind: of what is counted.
        to_begin: of a row that has ended: being claimed, it is about to begin anew.
    """
    table = JOBS if kind == "job" else INSPECTIONS
    joined = OWNERS.outerjoin(table, table.c.id == OWNERS.c.id)
    unbegun = sa.and_(to_begin, table.c.created_at < OWNERS.c.at)
    being_made = sa.and_(
        sa.or_(table.c.state.is_(None), unbegun), OWNERS.c.at > _since(_BEING_MADE)
    )
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
) -> frozenset[str]:
    """Refuses too many inspections; returns those that are not among the active ones."""
    active = _active(connection, owner, "inspection", _INSPECTION_TO_BEGIN)
    new = ids - active
    if new and len(active) + len(new) > limit:
        raise InspectionsExceeded(
            f"the key '{owner}' has {len(active)} of {limit} inspections queued or running: wait "
            "until some have ended, which takes seconds each where a worker is free"
        )
    return new


def _check_aliases(connection: sa.Connection, owner: str, ids: frozenset[str], limit: int) -> None:
    """Refuses new aliases beyond the limit; those of jobs that have not ended count as made."""
    if not ids:
        return
    # Of jobs first: the alias of one that ends meanwhile was claimed before it did.
    of_jobs = _of_jobs(connection, owner)
    joined = OWNERS.outerjoin(ALIASES, ALIASES.c.alias == OWNERS.c.id)
    counts = sa.or_(ALIASES.c.alias.is_not(None), OWNERS.c.at > _since(_BEING_MADE))
    mine = sa.and_(OWNERS.c.kind == "alias", OWNERS.c.owner == owner)
    found = set(
        connection.execute(sa.select(OWNERS.c.id).select_from(joined).where(mine, counts)).scalars()
    )
    of_jobs -= found
    there = sa.select(ALIASES.c.alias).where(ALIASES.c.alias.in_(of_jobs | ids))
    others = set(connection.execute(there).scalars()) - found
    of_jobs -= others
    new = ids - found - of_jobs - others
    if new and len(found) + len(of_jobs) + len(new) > limit:
        jobs = f", and {len(of_jobs)} more are on their way" if of_jobs else ""
        cancel = ", or cancel jobs that are to make some (DELETE /jobs/<id>)" if of_jobs else ""
        raise QuotaExceeded(
            f"the key '{owner}' has {len(found)} of {limit} aliases{jobs}: delete some "
            f"(DELETE /aliases/<name>){cancel}"
        )


def _of_jobs(connection: sa.Connection, owner: str) -> set[str]:
    """The aliases that a key's jobs are to move which have not ended, or are being made."""
    mine = sa.and_(OWNERS.c.kind == "job", OWNERS.c.id == JOBS.c.id, OWNERS.c.owner == owner)
    query = sa.select(JOBS.c.request).select_from(JOBS.join(OWNERS, mine))
    asked = aliases_in(connection.execute(query.where(JOBS.c.state.in_(ACTIVE))).scalars())
    # Requests at a time would otherwise not see what the others are about to ask for.
    active = _active(connection, owner, "job", _JOB_TO_BEGIN)
    of_active = sa.and_(OWNERS.c.kind == "destination", OWNERS.c.id.in_(active))
    return asked.union(connection.execute(sa.select(OWNERS.c.owner).where(of_active)).scalars())


def _check_jobs(
    connection: sa.Connection, owner: str, ids: frozenset[str], quota: Quota
) -> frozenset[str]:
    """Refuses too many jobs; returns those that are to begin."""
    active = _active(connection, owner, "job", _JOB_TO_BEGIN)
    done = sa.select(JOBS.c.id).where(JOBS.c.id.in_(ids), sa.not_(_JOB_TO_BEGIN))
    new = ids - active - set(connection.execute(done).scalars())
    if new and len(active) + len(new) > quota.jobs:
        raise JobsExceeded(
            f"the key '{owner}' has {len(active)} of {quota.jobs} jobs queued or running, and this "
            f"is {len(new)} more: cancel some (DELETE /jobs/<id>), or wait until some have ended"
        )
    models = _count(connection, owner, "model")
    if new and models + len(active) + len(new) > quota.models:
        raise QuotaExceeded(
            f"the key '{owner}' has {models} of {quota.models} models, {len(active)} more are on "
            f"their way, and this would be {len(new)} more: delete some (DELETE /models/<id>)"
        )
    return new


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
            "more: uploads that no unfinished job needs are removed some time after they were last "
            "sent (an hour, or as the operator has set ISS_KEEP_UPLOADS_HOURS); cancel jobs "
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
