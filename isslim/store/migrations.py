"""The tables' versions: numbered changes, each made once in a database, in order.

A change only adds: tables, columns that may be null, indexes. So a process of the release before
goes on working beside one that has made it, and a database that is newer than the code is used as
it is. Definitions here are frozen: they say what a table was when its change was written. What the
code reads and writes is in the modules of the tables; a test compares both.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

VERSIONS = sa.Table(
    "iss_schema",
    sa.MetaData(),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("applied_at", sa.DateTime, nullable=False),
)
_LOCK = zlib.crc32(b"iss_schema") >> 1
"""Of Postgres's locks on two numbers, so that it is none of those on one, which workers hold."""


@dataclass(frozen=True)
class Migration:
    """A change of the tables; its number is its place in `MIGRATIONS`, from 1.

    Attributes:
        name: what it is for.
        apply: makes the change in an open transaction. What is there already is left.
    """

    name: str
    apply: Callable[[sa.Connection], None]


def migrate(engine: sa.Engine, migrations: Sequence[Migration] | None = None) -> int:
    """Makes every change that a database lacks, all or none of them.

    Of several processes that begin at a time one makes them, and the others wait for it.

    Args:
        engine: of the database.
        migrations: in place of the product's own.

    Returns:
        The version of the database, which may be newer than the code.
    """
    wanted = MIGRATIONS if migrations is None else migrations
    with engine.connect() as connection:
        if (found := _version(connection)) >= len(wanted):
            return found
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # The driver itself begins no transaction before it changes tables.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, 1)))
        VERSIONS.create(connection, checkfirst=True)
        found = _version(connection)
        for number, migration in enumerate(wanted, 1):
            if number > found:
                migration.apply(connection)
                connection.execute(
                    VERSIONS.insert().values(
                        version=number,
                        name=migration.name,
                        applied_at=datetime.now(UTC).replace(tzinfo=None),
                    )
                )
        connection.commit()
        return max(found, len(wanted))


def _version(connection: sa.Connection) -> int:
    """The last change that was made; 0 of a new database, or one of a release without versions."""
    if not sa.inspect(connection).has_table(VERSIONS.name):
        return 0
    return connection.execute(sa.select(sa.func.max(VERSIONS.c.version))).scalar() or 0


def add_table(connection: sa.Connection, name: str, *columns: sa.Column[Any]) -> None:
    """Makes a table, or adds the columns that it lacks, which are made without `NOT NULL`.

    Args:
        connection: in a transaction.
        name: of the table.
        columns: of the table.
    """
    if not sa.inspect(connection).has_table(name):
        sa.Table(name, sa.MetaData(), *columns).create(connection)
    else:
        add_columns(connection, name, *columns)


def add_columns(connection: sa.Connection, table: str, *columns: sa.Column[Any]) -> None:
    """Adds the columns that a table lacks.

    Args:
        connection: in a transaction.
        table: the table's name.
        columns: of them the type counts, and whether there is an index; rows that there are get
            null.
    """
    there = {column["name"] for column in sa.inspect(connection).get_columns(table)}
    for column in columns:
        if column.name not in there:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column.name} {kind}")
            if column.index:
                add_index(connection, table, column.name)


def add_index(connection: sa.Connection, table: str, *columns: str) -> None:
    """Adds an index, unless there is one of its name.

    Args:
        connection: in a transaction.
        table: the table's name.
        columns: that it is on.
    """
    name = f"ix_{table}_{'_'.join(columns)}"
    connection.exec_driver_sql(
        f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({', '.join(columns)})"
    )


def _first_tables(connection: sa.Connection) -> None:
    """The tables of the releases that kept no versions; some lacked the last columns of jobs."""
    text, moment = sa.Text, sa.DateTime
    add_table(
        connection,
        "iss_jobs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("state", sa.String(32), nullable=False, index=True),
        sa.Column("request", text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("message", text, nullable=False),
        sa.Column("log", text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("model_id", sa.String(64)),
        sa.Column("problem", text),
        sa.Column("curve", text, nullable=False),
        sa.Column("inspection", text),
        sa.Column("points", text),
        sa.Column("epochs", text),
    )
    add_table(
        connection,
        "iss_inspections",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("state", sa.String(32), nullable=False, index=True),
        sa.Column("request", text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("answer", text),
    )
    add_table(
        connection,
        "iss_sweeps",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("jobs", text, nullable=False),
    )
    add_table(
        connection,
        "iss_aliases",
        sa.Column("alias", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
    )
    add_table(
        connection,
        "iss_alias_changes",
        sa.Column("alias", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("remote", sa.String(200), nullable=False),
        sa.Column("note", text, nullable=False),
        sa.Column("state_before", text),
        sa.Column("state_after", text),
    )
    figures = ("difference", "change", "same", "log_time_ratio")
    sums = [f"{each}_{power}" for each in figures for power in ("sum", "squares")]
    add_table(
        connection,
        "iss_alias_comparisons",
        sa.Column("alias", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("candidate", sa.String(64), primary_key=True),
        *(
            sa.Column(each, sa.Integer, nullable=False)
            for each in ("requests", "failed", "dropped")
        ),
        *(sa.Column(each, sa.Float, nullable=False) for each in sums),
    )


def _leases(connection: sa.Connection) -> None:
    """Workers' leases, and what fences the attempts of jobs and inspections."""
    add_columns(
        connection,
        "iss_jobs",
        sa.Column("worker", sa.String(200)),
        sa.Column("deaths", sa.Integer),
        sa.Column("reached", sa.Float),
        sa.Column("staged", sa.String(64)),
        sa.Column("publishing", sa.String(64)),
    )
    add_columns(
        connection,
        "iss_inspections",
        sa.Column("worker", sa.String(200)),
        sa.Column("deaths", sa.Integer),
    )
    add_table(
        connection,
        "iss_workers",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("beat_at", sa.DateTime, nullable=False),
        sa.Column("server", sa.String(64), nullable=False),
    )


def _audit_trail(connection: sa.Connection) -> None:
    """Who changed what."""
    add_table(
        connection,
        "iss_audit",
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


def _owners(connection: sa.Connection) -> None:
    """Whose things are."""
    add_table(
        connection,
        "iss_owners",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False, index=True),
        sa.Column("at", sa.DateTime, nullable=False),
    )
    add_table(
        connection,
        "iss_owned_uploads",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )


def _time_left(connection: sa.Connection) -> None:
    """How long jobs are likely to go on."""
    add_columns(connection, "iss_jobs", sa.Column("seconds_left", sa.Float))


MIGRATIONS: tuple[Migration, ...] = (
    Migration("tables of the first releases", _first_tables),
    Migration("leases and publication", _leases),
    Migration("the audit trail", _audit_trail),
    Migration("owners", _owners),
    Migration("time left of jobs", _time_left),
)
"""In order. A new one is appended, and none is changed once it was released."""
