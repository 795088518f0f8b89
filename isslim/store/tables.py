"""The tables that several modules use, as the code of this release knows them.

`isslim.store.migrations` makes them; DBOS keeps its own.
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()
"""Of all tables of this project."""
JOBS = sa.Table(
    "iss_jobs",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
    sa.Column("stage", sa.String(64), nullable=False, default=""),
    sa.Column("progress", sa.Float, nullable=False, default=0.0),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("log", sa.Text, nullable=False, default="[]"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("model_id", sa.String(64)),
    sa.Column("problem", sa.Text),
    sa.Column("curve", sa.Text, nullable=False, default="[]"),
    sa.Column("inspection", sa.Text),
    # Null in rows of earlier releases, which kept no such thing.
    sa.Column("points", sa.Text),
    sa.Column("epochs", sa.Text),
    # Of the present attempt: the token of its worker; attempts that ended by the end of a worker
    # since the job last got further; how far it was then; the bundle whose files it copies into
    # storage; the same once it is decided that this bundle is published; what the rest is likely
    # to take.
    sa.Column("worker", sa.String(200)),
    sa.Column("deaths", sa.Integer),
    sa.Column("reached", sa.Float),
    sa.Column("staged", sa.String(64)),
    sa.Column("publishing", sa.String(64)),
    sa.Column("seconds_left", sa.Float),
)
INSPECTIONS = sa.Table(
    "iss_inspections",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("answer", sa.Text),
    # Null in rows of earlier releases: token of the worker, and how many have died at it.
    sa.Column("worker", sa.String(200)),
    sa.Column("deaths", sa.Integer),
)
ALIASES = sa.Table(
    "iss_aliases",
    METADATA,
    sa.Column("alias", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("changed_at", sa.DateTime, nullable=False),
)
WORKERS = sa.Table(
    "iss_workers",
    METADATA,
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("beats", sa.BigInteger, nullable=False),
    sa.Column("beat_at", sa.DateTime, nullable=False),
    sa.Column("server", sa.String(64), nullable=False),
)
"""Leases of workers over Postgres."""
OWNERS = sa.Table(
    "iss_owners",
    METADATA,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False, index=True),
    sa.Column("at", sa.DateTime, nullable=False),
)
"""Whose jobs, models and other things are; see `isslim.store.owners`."""
