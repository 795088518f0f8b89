"""A bundle opened for answering: its codec, and a session for each variant, opened when first asked for."""

from __future__ import annotations

import threading

import numpy as np

from runtime.errors import UnknownVariant
from runtime.session import VariantSession
from runtime.text import TextCodec
from store.bundles import OpenBundle
from store.manifest import VariantRecord

_WARM_STEPS = (1, 30)


class LoadedModel:
    """A verified bundle with its sessions. Safe to use from several threads.

    Args:
        bundle: as the store opened and verified it.

    Attributes:
        id: the bundle's id.
        manifest: its manifest.
        codec: texts to tokens and back.
    """

    def __init__(self, bundle: OpenBundle) -> None:
        self.id, self.manifest, self.folder = bundle.id, bundle.manifest, bundle.folder
        self.codec = TextCodec.from_bundle(bundle.folder, bundle.manifest.text)
        self._sessions: dict[tuple[str, str, int], VariantSession] = {}
        self._lock = threading.Lock()

    @property
    def variants(self) -> list[str]:
        """The names of the variants there are."""
        return [variant.name for variant in self.manifest.variants]

    def session(self, variant: str, device: str = "cpu", threads: int = 1) -> VariantSession:
        """The session of a variant, opened and warmed by the first call.

        Raises:
            UnknownVariant: when the bundle has no such variant.
            DeviceUnavailable: when ONNX Runtime does not offer the device.
            GraphRefused: when the file is not a scoring graph.
        """
        record = self._record(variant)
        key = (variant, device, threads)
        with self._lock:
            if key not in self._sessions:
                session = VariantSession(self.folder / record.file, threads=threads, device=device)
                _warm(session)
                self._sessions[key] = session
            return self._sessions[key]

    @property
    def memory_bytes(self) -> int:
        """About the memory of the sessions that are open: the bytes of their files."""
        with self._lock:
            return sum(self._record(name).size_bytes for name, _, _ in self._sessions)

    def close(self) -> None:
        """Forgets the sessions; one that still runs ends its run first."""
        with self._lock:
            self._sessions.clear()

    def _record(self, variant: str) -> VariantRecord:
        record = self.manifest.variant(variant)
        if record is None:
            raise UnknownVariant(variant, self.variants)
        return record


def _warm(session: VariantSession) -> None:
    """Runs once at the shapes to come, so that the first answer does not pay for the memory arena."""
    for steps in _WARM_STEPS:
        tokens = np.zeros((steps, 1), np.int64)
        session.run(tokens, tokens, np.full(1, steps, np.int32), session.zero_state(1))
