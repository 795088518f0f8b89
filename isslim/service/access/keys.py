"""The keys of a file, read again when it changes."""

from __future__ import annotations

import hmac
import logging
import threading
from pathlib import Path

from isslim.service.problems import RequestError
from isslim.types.access import KeyRecord, Scope, digest_of, read_keys

_LOG = logging.getLogger("service.access")
_Stamp = tuple[int, int, int]


class KeyRing:
    """Looks keys up.

    The file is looked at with every request: a line that was removed is refused at once.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self._keys: dict[str, KeyRecord] = {}
        self._lock = threading.Lock()

    def find(self, key: bytes) -> KeyRecord | None:
        """The line of a key; None: there is none.

        Raises:
            RequestError: (keys-unreadable) when the file cannot be read: then nobody is let in,
                since its owner may have meant to lock somebody out.
        """
        keys, digest = self._current(), digest_of(key)
        # How long the look-up takes depends on the hash alone, from which nothing of a key follows.
        found = keys.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None

    def check_readable(self) -> None:
        """Looks whether anybody can be let in.

        Raises:
            RequestError: (keys-unreadable) as of `find`.
        """
        self._current()

    def of_digest(self, digest: str) -> KeyRecord | None:
        """The line of a key that was let in before; None: it was removed since.

        Raises:
            RequestError: (keys-unreadable) as of `find`.
        """
        return self._current().get(digest)

    def administrators(self) -> set[str]:
        """Names of the keys that may do everything.

        Raises:
            RequestError: (keys-unreadable) as of `find`.
        """
        return {each.name for each in self._current().values() if Scope.ADMIN in each.scopes}

    def _current(self) -> dict[str, KeyRecord]:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                with self._lock:
                    self._keys, self._stamp = self._read(), stamp
        except (OSError, UnicodeDecodeError) as error:
            if self._stamp is not None:
                self._stamp = None
                _LOG.error("the file of keys cannot be read: %s", type(error).__name__)
            raise RequestError(
                "keys-unreadable", "the service cannot read its file of keys; ask its operator"
            ) from error
        return self._keys

    def _read(self) -> dict[str, KeyRecord]:
        keys, issues = read_keys(self._path.read_text(encoding="utf-8"))
        for issue in issues:  # the other lines are in force
            _LOG.error("the file of keys: %s", issue)
        return {each.digest: each for each in keys}
