"""Whether the database's file is whole; a damaged page may lie where few statements read."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from isslim.store.errors import DamagedDatabase
from isslim.store.settings import StoreSettings

AGAIN_SECONDS = 60.0


def check_database(settings: StoreSettings) -> None:
    """Reads all of an SQLite file; that of a server is the server's business.

    Args:
        settings: with the database's location.

    Raises:
        DamagedDatabase: when a page of it is damaged, or it is something else.
    """
    url = sa.make_url(settings.database)
    if not url.drivername.startswith("sqlite") or not Path(str(url.database)).exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return  # locked, or not to be opened: the first statement says so
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        reason = " ".join(str(found).split())
        raise DamagedDatabase(f"{Path(str(url.database)).name}: {reason}")


class DatabaseCheck:
    """Checks now and then; in between the last result stands.

    Args:
        settings: with the database's location.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._checked = -AGAIN_SECONDS
        self._damage: DamagedDatabase | None = None

    def raise_damage(self) -> None:
        """Raises what the last check found.

        Raises:
            DamagedDatabase: when the file was damaged then.
        """
        if time.monotonic() - self._checked >= AGAIN_SECONDS:
            self._checked = time.monotonic()
            try:
                check_database(self._settings)
                self._damage = None
            except DamagedDatabase as damage:
                self._damage = damage
        if self._damage is not None:
            raise DamagedDatabase(self._damage.reason)
