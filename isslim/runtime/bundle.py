"""A loaded bundle: sessions of its variants, opened on demand and warmed up.

This is common to all bundles; each kind has its own class (`isslim/runtime/registry.py`).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from isslim.runtime.errors import UnknownVariant
from isslim.runtime.opening import OrtSession
from isslim.runtime.shape import Shape
from isslim.store.folders import OpenBundle
from isslim.types.manifest import LatencyRecord, Manifest, Task, VariantName, VariantRecord
from isslim.types.recommendation import recommended

Key = tuple[str, str, int]
Session = TypeVar("Session", bound=OrtSession)


class Process(Protocol):
    """A process of a variant's own, see `isslim/runtime/graphs/isolation.py`."""

    def close(self) -> None:
        """Ends it."""


class LoadedModel(ABC, Generic[Session]):
    """A verified bundle in memory. One subclass for each task.

    Sessions are opened once, even when several threads request them at the same time.

    Args:
        bundle: verified, on local disk.

    Attributes:
        task: the task of its bundles.
        processes: of variants that run in a process of their own.
        starting: held while one of them is started.
    """

    task: ClassVar[Task]

    def __init__(self, bundle: OpenBundle) -> None:
        self.id, self.manifest = bundle.id, bundle.manifest
        self._bundle = bundle
        self._sessions: dict[Key, Session] = {}
        self._lock = threading.Lock()
        self.processes: dict[Key, Process] = {}
        self.starting = threading.Lock()

    @classmethod
    @abstractmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> Session:
        """Opens a variant's graph.

        Args:
            path: the graph's file.
            threads: how many one run may use.
            device: one of `isslim.runtime.opening.devices()`.

        Raises:
            DeviceUnavailable: when the device is not there.
            GraphRefused: when the file is no graph of the task.
        """

    @classmethod
    @abstractmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, Session], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """Times sessions against each other.

        Args:
            manifest: of their bundle.
            sessions: by the names of their variants; `original` among them.
            shape: of the run that is timed.

        Returns:
            A record for each session.

        Raises:
            InputsRefused: when a graph cannot be run at that shape.
        """

    @classmethod
    @abstractmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """Approximate bytes of one run besides the weights.

        Args:
            manifest: of the bundle.
            shape: of the run.
        """

    @abstractmethod
    def _warm(self, session: Session) -> None:
        """Runs once, so that allocation does not slow down the first answer."""

    def default_variants(self, device: str) -> list[VariantName]:
        """The variants compared by default: the original and the recommended one.

        On a GPU the float32 ones: ONNX Runtime has no 8-bit recurrent layers for it, and runs them
        on the CPU.
        """
        found = [
            each
            for each in self.manifest.variants
            if device == "cpu" or each.precision == "float32"
        ]
        best = recommended(found)
        return [found[0].name, *([] if best is None else [best.name])]

    def record(self, variant: str) -> VariantRecord:
        """The manifest's record of a variant.

        Raises:
            UnknownVariant: when there is none of that name.
        """
        found = self.manifest.variant(variant)
        if found is None:
            raise UnknownVariant(variant, [each.name for each in self.manifest.variants])
        return found

    def session(self, variant: str, device: str = "cpu", threads: int = 1) -> Session:
        """The warmed session of a variant.

        Args:
            variant: its name.
            device: one of `isslim.runtime.opening.devices()`.
            threads: how many one run may use.

        Raises:
            UnknownVariant: when there is none of that name.
            DeviceUnavailable: when the device is not there.
        """
        key = (variant, device, threads)
        session = self._sessions.get(key)
        # First without the lock, which is held for seconds while another variant is being opened.
        if session is not None:
            return session
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                session = self.open_session(self.path(variant), threads=threads, device=device)
                self._warm(session)
                self._sessions[key] = session
        return session

    def path(self, variant: str) -> Path:
        """The file of a variant's graph.

        Raises:
            UnknownVariant: when there is none of that name.
        """
        return self._bundle.path(self.record(variant).file)

    def first_inputs(self) -> dict[str, NDArray[Any]] | None:
        """Inputs on which a process of its own is warmed up; None: the bundle has none."""
        return None

    def close(self) -> None:
        """Ends the processes; a model that is used again starts them anew."""
        with self.starting:
            for process in self.processes.values():
                process.close()
            self.processes.clear()

    def is_open(self, variant: str, device: str, threads: int) -> bool:
        """Whether `session` returns without opening a graph.

        Args:
            variant: its name.
            device: on which it runs.
            threads: how many one run may use.
        """
        return (variant, device, threads) in self._sessions

    @property
    def memory_bytes(self) -> int:
        """Bytes of the graphs open in this process and in its children.

        A session's memory consists mostly of weights.
        """
        opened = [*self._sessions, *self.processes]
        return sum(self.record(variant).size_bytes for variant, _, _ in opened)
