"""Places of the server that no answer and no log of a job names: its folders, its database.

A path says who runs the service and how; the host of a database is the first thing that an attacker
looks for. Errors of libraries hold both, so that texts are looked through before they leave.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

import isslim
from isslim.store.settings import StoreSettings

_SECRETS = re.compile(r"pass|secret|key|token")
"""In names of a database URL's options whose values are secrets."""
_COMMON = ("", "localhost", "127.0.0.1", "::1")
"""Hosts that say nothing."""
_ROOTS = ("/", "/usr", "/usr/local")
"""Folders that every system has."""


def shown_database(url: str) -> str:
    """A database's URL as a log and `isslim doctor` show it: without passwords."""
    parsed = sa.make_url(url)
    secrets = [name for name in parsed.query if _SECRETS.search(name.lower())]
    return parsed.difference_update_query(secrets).render_as_string(hide_password=True)


class Private:
    """Hides the places of one process's settings.

    Args:
        settings: with folders and database.
        others: further paths.
    """

    def __init__(self, settings: StoreSettings, *others: Path | None) -> None:
        folders = {settings.home.absolute(): "<ISS_HOME>", settings.home.resolve(): "<ISS_HOME>"}
        for path in others:
            if path is not None:
                folders |= dict.fromkeys((path.absolute(), path.resolve()), f"<{path.name}>")
        for path in _folders():
            folders.setdefault(path, "<...>")
        self._shown = {str(path): name for path, name in folders.items() if str(path) not in _ROOTS}
        url = sa.make_url(settings.database)
        host = None if url.host in _COMMON else url.host
        word = host if host is not None and host.isalpha() else None
        secrets = _of_database(url, host if word is None else None)
        self._shown |= dict.fromkeys(secrets, "<database>")
        # The longest first: folders lie in each other.
        names = sorted(map(re.escape, self._shown), key=len, reverse=True)
        pattern = rf"(?<![\w.])(?:{'|'.join(names)})(?![\w-])"
        if word is not None:
            # Such as `database`, which may mean itself: only where a host is named.
            self._shown[word] = "<database>"
            pattern += rf"|(?<=[\"'@]){word}(?=[\"':/])|(?<![\w.-]){word}(?=:\d)"
        self._pattern = re.compile(pattern)

    def hide(self, text: str) -> str:
        """The text with other words in place of what it should not name."""
        return self._pattern.sub(lambda found: self._shown[found[0]], text)


def _folders() -> Iterator[Path]:
    yield from (Path(sys.prefix), Path(sys.base_prefix))
    yield Path(isslim.__file__).parents[1]
    with suppress(RuntimeError, OSError):  # a user without a home; a folder that is gone
        yield Path.home()
        yield Path.cwd()


def _of_database(url: sa.URL, host: str | None) -> Iterator[str]:
    """What a database's address holds that should not be named anywhere, and its host if given."""
    if url.drivername.startswith("sqlite"):
        return
    options = [value for name, value in url.query.items() if _SECRETS.search(name.lower())]
    for part in (host, url.password, *options):
        if isinstance(part, str) and part not in _COMMON and len(part) > 3:
            yield part
    yield url.render_as_string(hide_password=False)
    yield url.render_as_string(hide_password=True)
