"""What trials of aliases have shown, summed up in the database over all processes and restarts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from isslim.store.tables import METADATA
from isslim.types.schemas.aliases import Alias

FIGURES = ("difference", "change", "same", "log_time_ratio")
"""What is known of every request that was compared."""
_COUNTS = ("requests", "failed", "dropped")
_SUMS = tuple(f"{each}_{power}" for each in FIGURES for power in ("sum", "squares"))
COMPARISONS = sa.Table(
    "iss_alias_comparisons",
    METADATA,
    sa.Column("alias", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("candidate", sa.String(64), primary_key=True),
    *(sa.Column(each, sa.Integer, nullable=False) for each in _COUNTS),
    *(sa.Column(each, sa.Float, nullable=False) for each in _SUMS),
)


@dataclass
class Tally:
    """Sums over the requests that were compared.

    Attributes:
        requests: how many were.
        failed: how many the candidate failed to answer.
        dropped: how many were left out, as others waited.
        sums: of each figure and of its square, by column.
    """

    requests: int = 0
    failed: int = 0
    dropped: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0.0))

    def note(self, figures: Mapping[str, float]) -> None:
        """Adds a request by its `FIGURES`."""
        self.requests += 1
        for name, value in figures.items():
            self.sums[f"{name}_sum"] += value
            self.sums[f"{name}_squares"] += value * value

    def add(self, other: Tally) -> None:
        """Adds the requests of another."""
        self.requests += other.requests
        self.failed += other.failed
        self.dropped += other.dropped
        for name, value in other.sums.items():
            self.sums[name] += value

    def columns(self) -> dict[str, float]:
        """All sums by the names of their columns."""
        return {each: getattr(self, each) for each in _COUNTS} | self.sums


@dataclass(frozen=True)
class Key:
    """What is counted together: a change of an alias begins anew.

    Attributes:
        alias: its name.
        version: of the alias.
        candidate: as its `Target` is written.
    """

    alias: str
    version: int
    candidate: str


class ComparisonStore:
    """Adds and reads sums.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, key: Key, tally: Tally) -> None:
        """Adds what one process has found since it last did.

        Args:
            key: of the comparison.
            tally: its sums.
        """
        found = tally.columns()
        more = COMPARISONS.update().where(*_is(key)).values(
            {name: COMPARISONS.c[name] + value for name, value in found.items()}
        )  # fmt: skip
        with self._engine.begin() as connection:
            if connection.execute(more).rowcount:
                return
            try:
                with connection.begin_nested():
                    connection.execute(COMPARISONS.insert().values(**vars(key), **found))
            except IntegrityError:
                connection.execute(more)  # another process was first

    def read(self, key: Key) -> Tally:
        """What all processes have found."""
        with self._engine.connect() as connection:
            row = connection.execute(COMPARISONS.select().where(*_is(key))).one_or_none()
        if row is None:
            return Tally()
        return Tally(
            row.requests, row.failed, row.dropped, {each: getattr(row, each) for each in _SUMS}
        )


def key_of(alias: Alias, candidate: object) -> Key:
    """The key of an alias's comparison.

    Args:
        alias: as it is.
        candidate: its shadow or canary.
    """
    return Key(alias.alias, alias.version, str(candidate))


def _is(key: Key) -> list[sa.ColumnElement[bool]]:
    return [COMPARISONS.c[name] == value for name, value in vars(key).items()]
