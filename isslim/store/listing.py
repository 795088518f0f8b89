"""Which bundles remote storage holds: listed in the background, known to requests at once.

A listing takes milliseconds, or seconds when the storage is slow, and none of it keeps a request
for a model in memory waiting: what was known last counts while the storage does not answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from isslim.store.errors import StorageUnavailable

LISTING_SECONDS = 0.25
"""How long a listing counts as new."""
PATIENCE_SECONDS = 0.5
"""How long after its beginning a new listing is waited for, where there is an older one."""
READERS = 16
"""Manifests that are read at a time."""
_LOG = logging.getLogger("store.listing")


class RemoteListing:
    """The ids of the bundles in remote storage, as they were a moment ago.

    Args:
        ids: lists the folders of bundles, whole or not.
        is_whole: looks whether there is a manifest, and reads it.
    """

    def __init__(self, ids: Callable[[], Iterable[str]], is_whole: Callable[[str], bool]) -> None:
        self._ids, self._is_whole = ids, is_whole
        self._known: frozenset[str] | None = None
        self._begun = float("-inf")
        self._fault: StorageUnavailable | None = None
        self._lock = threading.Lock()
        self._listing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="listing")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="manifests")

    @property
    def fault(self) -> StorageUnavailable | None:
        """Why the last listing failed; None: it did not."""
        return self._fault

    def known(self) -> frozenset[str]:
        """The ids.

        Raises:
            StorageUnavailable: when the storage has not answered yet since this process began.
        """
        with self._lock:
            is_new = time.monotonic() < self._begun + LISTING_SECONDS
            if self._listing is None or (self._listing.done() and not is_new):
                self._begun = time.monotonic()
                self._listing = self._thread.submit(self._refresh)
            listing = self._listing
            patience = max(0.0, self._begun + PATIENCE_SECONDS - time.monotonic())
        if self._known is None:
            listing.result()
        elif self._fault is None:
            try:
                listing.result(patience)
            except (TimeoutError, StorageUnavailable):
                _LOG.warning("the storage does not answer; models are those that were known last")
        if self._known is None:
            raise self._fault or StorageUnavailable("it was not listed")
        return self._known

    def forget(self, bundle_id: str) -> None:
        """Leaves out a bundle that this process has deleted, and lists anew for who asks next."""
        with self._lock:
            if self._known is not None:
                self._known -= {bundle_id}
            self._begun = float("-inf")

    def renew(self) -> None:
        """Lists anew for who asks next: this process has published something."""
        self._begun = float("-inf")

    def _refresh(self) -> None:
        try:
            listed = frozenset(self._ids())
            known = self._known or frozenset()
            new = sorted(listed - known)
            whole = {each for each, is_it in zip(new, self._read(new), strict=True) if is_it}
            self._known, self._fault = (listed & known) | whole, None
        except StorageUnavailable as fault:
            self._fault = fault
            raise

    def _read(self, ids: list[str]) -> list[bool]:
        return list(self._readers.map(self._is_whole, ids))
