"""The tables' versions: every database ends with the same tables, whatever it was before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.cluster.postgres import Postgres
from isslim.store import aliases, audit, comparisons, inspections, owners, sweeps, tables
from isslim.store.migrations import (
    MIGRATIONS,
    VERSIONS,
    Migration,
    add_columns,
    add_index,
    add_table,
    migrate,
)

Shape = dict[str, dict[str, tuple[str, bool, bool]]]
USING = (tables, inspections, sweeps, aliases, comparisons, audit, owners)
"""The modules that define what the code reads and writes."""
TABLES = set(tables.METADATA.tables)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    else:
        started: Postgres = request.getfixturevalue("postgres_server")
        yield started.new_database().replace("postgresql:", "postgresql+psycopg:")


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(url)
    yield made
    made.dispose()


def shape(engine: sa.Engine, names: set[str] = TABLES) -> Shape:
    """Type of each column, whether it is part of the key, and whether there is an index on it."""
    seen, found = sa.inspect(engine), Shape()
    for table in names:
        keys = seen.get_pk_constraint(table)["constrained_columns"]
        indexed = {name for each in seen.get_indexes(table) for name in each["column_names"]}
        found[table] = {
            each["name"]: (str(each["type"]), each["name"] in keys, each["name"] in indexed)
            for each in seen.get_columns(table)
        }
    return found


def test_new_database_has_the_tables_that_the_code_uses(engine: sa.Engine, tmp_path: Path) -> None:
    assert USING
    assert migrate(engine) == len(MIGRATIONS)
    if engine.dialect.name == "sqlite":
        expected = sa.create_engine(f"sqlite:///{tmp_path / 'expected.sqlite'}")
        tables.METADATA.create_all(expected)
        assert shape(engine) == shape(expected)
        expected.dispose()
    for table in tables.METADATA.tables.values():
        found = {
            each["name"]: each["nullable"] for each in sa.inspect(engine).get_columns(table.name)
        }
        assert found == {column.name: column.nullable for column in table.columns}
    with engine.connect() as connection:
        rows = connection.execute(sa.select(VERSIONS).order_by(VERSIONS.c.version)).all()
    assert [(row.version, row.name) for row in rows] == [
        (number, each.name) for number, each in enumerate(MIGRATIONS, 1)
    ]


def test_database_of_a_release_without_versions_gets_what_it_lacks(engine: sa.Engine) -> None:
    migrate(engine, MIGRATIONS[:1])
    with engine.begin() as connection:
        for statement in (
            "drop table iss_schema",
            "drop table iss_sweeps",
            "alter table iss_jobs drop column epochs",
            "insert into iss_aliases values ('prod', 1, '{}', '2026-11-30 12:00:00')",
        ):
            connection.exec_driver_sql(statement)
    migrate(engine)
    after = shape(engine)
    assert after.keys() == TABLES
    assert "epochs" in after["iss_jobs"]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select alias from iss_aliases").scalar() == "prod"


def test_each_change_is_made_once_and_in_order(engine: sa.Engine) -> None:
    made: list[str] = []

    def change(name: str) -> Migration:
        return Migration(name, lambda connection: made.append(name))

    assert migrate(engine, [change("a")]) == 1
    assert migrate(engine, [change("a"), change("b"), change("c")]) == 3
    assert migrate(engine, [change("a"), change("b"), change("c")]) == 3
    assert made == ["a", "b", "c"]
    # An older release beside a newer one uses the database as it is.
    assert migrate(engine, [change("a")]) == 3


def test_change_that_fails_leaves_nothing(engine: sa.Engine) -> None:
    def half(connection: sa.Connection) -> None:
        add_table(connection, "half", sa.Column("id", sa.Integer, primary_key=True))
        raise RuntimeError("in its middle")

    good = Migration("good", lambda connection: add_table(
        connection, "whole", sa.Column("id", sa.Integer, primary_key=True)
    ))  # fmt: skip
    with pytest.raises(RuntimeError, match="in its middle"):
        migrate(engine, [good, Migration("half", half)])
    assert sa.inspect(engine).get_table_names() == []
    assert migrate(engine, [good]) == 1
    assert sa.inspect(engine).has_table("whole")


def test_columns_and_indexes_are_added_once(engine: sa.Engine) -> None:
    number = sa.Column("id", sa.Integer, primary_key=True)
    with engine.begin() as connection:
        add_table(connection, "things", number)
        connection.exec_driver_sql("insert into things values (1)")
        for _ in range(2):
            owner = sa.Column("owner", sa.String(8), index=True)
            add_columns(connection, "things", owner, sa.Column("size", sa.Integer))
            add_index(connection, "things", "size", "owner")
        assert connection.exec_driver_sql("select * from things").all() == [(1, None, None)]
    names = {each["name"] for each in sa.inspect(engine).get_indexes("things")}
    assert names == {"ix_things_owner", "ix_things_size_owner"}


def test_processes_that_begin_at_a_time_make_each_change_once(url: str) -> None:
    engines = [sa.create_engine(url) for _ in range(4)]
    found: list[int] = []
    threads = [threading.Thread(target=lambda e=e: found.append(migrate(e))) for e in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [len(MIGRATIONS)] * 4
    with engines[0].connect() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(VERSIONS)).scalar()
    assert count == len(MIGRATIONS)
    for engine in engines:
        engine.dispose()
