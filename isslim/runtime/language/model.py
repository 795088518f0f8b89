"""A language model's bundle, loaded into memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.runtime.shape import Shape, usual_size
from isslim.store.folders import OpenBundle
from isslim.types.kinds.language import LANGUAGE
from isslim.types.manifest import LatencyRecord, Manifest


class LoadedLanguageModel(LoadedModel[LanguageSession]):
    """A language model: scores texts through `isslim/runtime/language/scoring.py`.

    Attributes:
        codec: texts to token ids.
    """

    task = LANGUAGE.name

    def __init__(self, bundle: OpenBundle) -> None:
        super().__init__(bundle)
        self.codec = TextCodec.from_folder(bundle.folder, bundle.manifest.contract)

    @classmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> LanguageSession:
        """A scoring graph.

        Args:
            path: its file.
            threads: how many one run may use.
            device: one of `isslim.runtime.opening.devices()`.
        """
        return LanguageSession(path, threads=threads, device=device)

    @classmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, LanguageSession], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """Times sessions on random tokens.

        Args:
            manifest: of their bundle.
            sessions: by the names of their variants; `original` among them.
            shape: of the run that is timed.
        """
        steps, batch = usual_size(shape)
        return compare(sessions, steps=steps, batch=batch)

    @classmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """Memory of a run, which always computes all log-probabilities, (T, B, V) in float32.

        Args:
            manifest: of the bundle.
            shape: of the run.
        """
        steps, batch = usual_size(shape)
        return 4 * steps * batch * manifest.contract.vocabulary

    def _warm(self, session: LanguageSession) -> None:
        ids = np.zeros((2, 1), np.int64)
        session.run(ids, ids, np.full(1, 2, np.int32), session.zero_state(1))
