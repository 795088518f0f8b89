"""The models in memory: opened on demand, verified, kept up to a memory limit, noticed when they change on disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeVar

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.graphs.model import LoadedGraph
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.opening import OrtSession
from isslim.runtime.registry import class_of, load
from isslim.service.problems import RequestError
from isslim.service.serving.executor import load_outside_run
from isslim.store.bundles import BundleStore
from isslim.store.errors import CorruptBundle, NotFound
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import Manifest, VariantName

Kind = TypeVar("Kind", bound=LoadedModel[Any])
Session = TypeVar("Session", bound=OrtSession)


class ModelRegistry:
    """Loaded models over the bundle store; safe to use from several threads.

    Args:
        bundles: where bundles lie.
        memory_limit_bytes: open graphs above this close the least recently used model; the one
            asked for stays.
    """

    def __init__(self, bundles: BundleStore, memory_limit_bytes: int) -> None:
        self.bundles = bundles
        self._limit = memory_limit_bytes
        self._loaded: OrderedDict[str, LoadedModel[Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def resolve(self, name: str) -> str:
        """The id of a model by id or name; of equal names the newest.

        Raises:
            NotFound: when there is no such model.
        """
        known = self.bundles.manifests()
        with self._lock:
            for gone in self._loaded.keys() - {bundle_id for bundle_id, _ in known}:
                self._loaded.pop(gone)  # deleted by another process: its memory goes too
        if name in dict(known):
            return name  # an id first: another model may bear it as its name
        for bundle_id, manifest in known:
            if name == manifest.name:
                return bundle_id
        if self.bundles.exists(name):
            return name  # its manifest cannot be read: it can be deleted, and opening it says what is wrong
        raise NotFound(
            "model", name, [f"{manifest.name} ({bundle_id})" for bundle_id, manifest in known]
        )

    def get(self, name: str, kind: type[Kind]) -> Kind:
        """A model by id or name, opened if need be. New bundles and deletions are seen without a restart.

        Args:
            name: id or name.
            kind: what it is wanted for.

        Raises:
            NotFound: when there is no such model.
            CorruptBundle: when it was changed on disk; it is closed and others still answer.
            RequestError: (wrong-task) when it is a model of another kind.
        """
        bundle_id, model = (
            name,
            self._unchanged(name),
        )  # an id comes before all names, so none is looked at
        if model is None:
            bundle_id = self.resolve(name)
            model = self._unchanged(bundle_id)
        if not isinstance(model, kind):
            model = load_outside_run((bundle_id, kind), lambda: self._open(bundle_id, kind))
        else:
            self._kept(model)
        if not isinstance(model, kind):
            raise TypeError(f"'{name}' was opened as a {type(model).__name__}")
        return model

    def sessions(
        self, model: LoadedModel[Session], variants: Sequence[str], device: str, threads: int
    ) -> dict[str, Session]:
        """Sessions of a model, opened if need be.

        Raises:
            UnknownVariant: when the model has no such variant.
            DeviceUnavailable: when the device is not there.
        """

        def opened() -> dict[str, Session]:
            return {variant: model.session(variant, device, threads) for variant in variants}

        if all(model.is_open(variant, device, threads) for variant in variants):
            return opened()
        return load_outside_run((model.id, tuple(variants), device, threads), opened)

    def processes(
        self,
        model: LoadedGraph,
        variants: Sequence[VariantName],
        device: str,
        threads: int,
        memory_bytes: int,
    ) -> dict[VariantName, SubprocessGraphSession]:
        """Processes of a graph, started if need be.

        Raises:
            UnknownVariant: when the model has no such variant.
            DeviceUnavailable: when the device is not there.
        """

        def started() -> dict[VariantName, SubprocessGraphSession]:
            return {
                variant: model.isolated(variant, device, threads, memory_bytes)
                for variant in variants
            }

        if all(model.is_isolated(variant, device, threads) for variant in variants):
            return started()
        return load_outside_run((model.id, "isolated", tuple(variants), device, threads), started)

    def _unchanged(self, bundle_id: str) -> LoadedModel[Any] | None:
        """The model of an id if it is in memory and its files are as they were."""
        model = self._loaded.get(bundle_id)
        return (
            model if model is not None and self.bundles.unchanged(bundle_id) is not None else None
        )

    def _open(self, bundle_id: str, kind: type[LoadedModel[Any]]) -> LoadedModel[Any]:
        with self._alone(bundle_id):
            try:
                bundle = self.bundles.open(bundle_id)
            except (CorruptBundle, NotFound):
                with self._lock:
                    self._loaded.pop(bundle_id, None)
                raise
            if not issubclass(class_of(bundle.manifest), kind):
                task = bundle.manifest.task
                raise RequestError(
                    "wrong-task",
                    f"'{bundle.manifest.name}' is of the kind {task}, not {kind.task}; ask it at {kind_named(task).endpoint}",
                )
            with self._lock:
                model = self._loaded.get(bundle_id)
            return self._kept(load(bundle) if model is None else model)

    def _kept(self, model: LoadedModel[Any]) -> LoadedModel[Any]:
        """The model, now the last used, without those that are too many."""
        with self._lock:
            self._loaded[model.id] = model
            self._loaded.move_to_end(model.id)
            while self.memory_bytes() > self._limit and len(self._loaded) > 1:
                self._loaded.popitem(last=False)
        return model

    def _alone(self, bundle_id: str) -> threading.Lock:
        """The lock on one model: it is loaded once, and others meanwhile."""
        return self._locks.setdefault(bundle_id, threading.Lock())

    def manifest(self, name: str) -> tuple[str, Manifest]:
        """Id and manifest of a model by id or name."""
        bundle = self.bundles.open(self.resolve(name))
        return bundle.id, bundle.manifest

    def delete(self, name: str) -> str:
        """Removes a model from disk and memory; returns its id."""
        bundle_id = self.resolve(name)
        with self._alone(bundle_id):
            self.bundles.delete(bundle_id)
            with self._lock:
                self._loaded.pop(bundle_id, None)
        self._locks.pop(bundle_id, None)
        return bundle_id

    def close(self) -> None:
        """Forgets all models."""
        with self._lock:
            for model in self._loaded.values():
                model.close()
            self._loaded.clear()

    def count(self) -> int:
        """How many models are in memory."""
        return len(self._loaded)

    def memory_bytes(self) -> int:
        """Bytes of all open graphs."""
        return sum(model.memory_bytes for model in list(self._loaded.values()))
