"""An opened bundle ready to answer: its codec, and a session per variant and device, opened on demand and warmed."""

from __future__ import annotations

import threading

import numpy as np

from runtime.errors import UnknownVariant
from runtime.session import VariantSession
from runtime.text import TextCodec
from store.bundles import OpenBundle
from store.manifest import VariantRecord

Key = tuple[str, str, int]


class LoadedModel:
    """A verified bundle in memory.

    Sessions are opened once, also when several threads ask at the same time.

    Args:
        bundle: verified, on local disk.
    """

    def __init__(self, bundle: OpenBundle) -> None:
        self.id, self.manifest = bundle.id, bundle.manifest
        self.codec = TextCodec.from_folder(bundle.folder, bundle.manifest.contract)
        self._bundle = bundle
        self._sessions: dict[Key, VariantSession] = {}
        self._lock = threading.Lock()

    def record(self, variant: str) -> VariantRecord:
        """What the manifest says of a variant.

        Raises:
            UnknownVariant: when there is none of that name.
        """
        found = self.manifest.variant(variant)
        if found is None:
            raise UnknownVariant(variant, [each.name for each in self.manifest.variants])
        return found

    def session(self, variant: str, device: str = "cpu", threads: int = 1) -> VariantSession:
        """The warmed session of a variant.

        Raises:
            UnknownVariant: when there is none of that name.
            DeviceUnavailable: when the device is not there.
        """
        record, key = self.record(variant), (variant, device, threads)
        session = self._sessions.get(key)
        if session is not None:  # without the lock, which is held for seconds while another variant is opened
            return session
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                session = VariantSession(self._bundle.path(record.file), threads=threads, device=device)
                warm(session)
                self._sessions[key] = session
        return session

    def is_open(self, variant: str, device: str, threads: int) -> bool:
        """Whether `session` answers at once."""
        return (variant, device, threads) in self._sessions

    @property
    def memory_bytes(self) -> int:
        """Bytes of the graphs that are open: weights are what a session's memory is made of."""
        return sum(self.record(variant).size_bytes for variant, _, _ in list(self._sessions))


def warm(session: VariantSession) -> None:
    """Runs once, so that the first answer does not pay for allocation."""
    ids = np.zeros((2, 1), np.int64)
    session.run(ids, ids, np.full(1, 2, np.int32), session.zero_state(1))
