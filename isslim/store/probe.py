"""Looks at database and artifact storage without changing anything: nothing is made or migrated."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from isslim.store.artifacts import Artifacts
from isslim.store.errors import Unavailable
from isslim.store.private import shown_database
from isslim.store.settings import StoreSettings
from isslim.types.hiding import shown_address, without_credentials


def database_state(settings: StoreSettings) -> str:
    """What the job database is, in a line; a password in its URL is left out.

    Raises:
        Unavailable: when it cannot be read.
    """
    url = sa.make_url(settings.database)
    shown = shown_database(settings.database)
    is_file = url.drivername.startswith("sqlite")
    if is_file and not Path(str(url.database)).exists():
        return f"{shown}: not made yet; the first service or worker makes it"
    engine = sa.create_engine(url, connect_args={} if is_file else {"connect_timeout": 5})
    try:
        # The names of the tables are read from its content, so that no other file passes.
        tables = sa.inspect(engine).get_table_names()
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Unavailable(f"{shown}: {reason}") from error
    finally:
        engine.dispose()
    return f"{shown}: {len(tables)} tables"


def storage_state(settings: StoreSettings) -> str:
    """Where uploads and bundles lie, in a line.

    Raises:
        Unavailable: when it cannot be read, or a local folder not written.
    """
    if settings.artifacts_url is None:
        folder = settings.home.absolute() / "artifacts"
        if not folder.exists():
            return f"{folder}: not made yet; the first service or worker makes it"
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise Unavailable(f"{folder}: this user may not read and write it")
        return f"{folder}: {_bundles(settings)} models"
    shown = shown_address(settings.artifacts_url)
    try:
        return f"{shown}: {_bundles(settings)} models"
    except Exception as error:  # obstore has no common root of its errors
        reason = without_credentials(str(error).replace(settings.artifacts_url, shown))
        raise Unavailable(f"{shown}: {reason}") from error


def _bundles(settings: StoreSettings) -> int:
    names = Artifacts(settings).names("bundles")
    return sum(name.endswith("/manifest.json") for name in names)
