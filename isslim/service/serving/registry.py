"""The models in memory: loaded on demand, verified, kept up to a memory limit.

New bundles, deleted ones, moved aliases and files that change on disk are noticed without a
restart. Slow steps are done in separate threads and awaited: no run starts before everything that
it needs is loaded, and loading a large model does not delay other models' answers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.errors import RuntimeFault
from isslim.runtime.graphs.isolation import is_isolated, isolated
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.opening import OrtSession
from isslim.runtime.registry import class_of, load
from isslim.service.problems import RequestError
from isslim.service.serving.admission import Ticket
from isslim.service.serving.destinations import destination
from isslim.service.serving.freed_memory import FreedMemory
from isslim.service.serving.model_names import ModelNames
from isslim.store.aliases import AliasStore
from isslim.store.bundles import BundleStore
from isslim.store.errors import CorruptBundle, ModelGone, NotFound
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import Manifest, VariantName
from isslim.types.schemas.aliases import Alias

Kind = TypeVar("Kind", bound=LoadedModel[Any])
Session = TypeVar("Session", bound=OrtSession)
Opened = TypeVar("Opened")
REMOVED = "model-removed"
"""What siblings are told of a model that was deleted or is not to stay in memory: its id."""
LOADS_AT_ONCE = 4
"""Models loaded in parallel; each may exceed the memory limit before others are closed for it."""
NAME_SECONDS, LOOK_SECONDS = 0.1, 0.1
"""How long the meaning of a name is cached: a lookup reads the aliases, or lists all bundles; and
how long a model's files pass for unchanged: a look at them takes longer than a request's JSON."""
LOOKUPS_AT_ONCE = 4
"""Threads for name lookups in the bundle store, which may be remote: they never load models."""


class ModelRegistry:
    """Loaded models over the bundle store; safe to use from several threads.

    Args:
        bundles: the bundle store.
        aliases: names that point at models.
        memory_limit_bytes: size of open graphs above which the least recently used model is closed;
            the requested one stays open.
        threads: of one run.
        graph_memory_bytes: memory limit of a graph's run in its own process.
        observe_load: called with the name of a step and the seconds that it took.
    """

    def __init__(
        self,
        bundles: BundleStore,
        aliases: AliasStore,
        memory_limit_bytes: int,
        threads: int,
        graph_memory_bytes: int,
        observe_load: Callable[[str, float], object] = lambda step, seconds: None,
    ) -> None:
        self.bundles, self.aliases = bundles, aliases
        self.names = ModelNames(bundles, aliases)
        self._limit, self._threads = memory_limit_bytes, threads
        self._graph_memory_bytes, self._observe_load = graph_memory_bytes, observe_load
        self._loaded: OrderedDict[str, LoadedModel[Any]] = OrderedDict()
        self._lock, self._freed = threading.Lock(), FreedMemory()
        self._locks: dict[str, threading.Lock] = {}
        self._loading = ThreadPoolExecutor(LOADS_AT_ONCE, thread_name_prefix="load")
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")
        self._loads: dict[Hashable, asyncio.Future[Any]] = {}
        self._meanings: dict[str, tuple[Alias | str, float]] = {}
        self._looked: dict[str, float] = {}

    async def load(
        self, name: str, kind: type[Kind], ticket: Ticket, continued: str | None = None
    ) -> Kind:
        """A model by id, alias or name, loaded if necessary.

        Args:
            name: id, alias or name.
            kind: the class of the required kind.
            ticket: of the request; the wait, the model and where an alias sent the request are
                recorded in it.
            continued: id of the model whose text the request goes on with; None: it begins one.

        Raises:
            NotFound: when there is no such model.
            CorruptBundle: when it was changed on disk; it is closed, and others remain available.
            RequestError: (wrong-task) when it is a model of another kind.
        """
        with ticket.waiting():
            meaning = self._remembered(name)
            found = None if meaning is None else destination(meaning, ticket.key, continued)
            model = None if found is None else self._unchanged(found.model)
            if found is None or model is None:
                meaning = await asyncio.get_running_loop().run_in_executor(
                    self._lookups, self.meaning, name
                )
                self._meanings[name] = (meaning, time.monotonic() + NAME_SECONDS)
                found = destination(meaning, ticket.key, continued)
                model = self._unchanged(found.model)
            bundle_id, ticket.destination = found.model, found
            if isinstance(model, kind):
                self._keep(model)
            else:
                opening = partial(self._timed, "files", lambda: self._open(bundle_id, kind))
                with found.there():
                    model = await self._once((bundle_id, kind), opening)
        if not isinstance(model, kind):
            raise TypeError(f"'{name}' was opened as a {type(model).__name__}")
        ticket.model, ticket.name = model.id, model.manifest.name
        return model

    async def open(
        self,
        model: LoadedModel[Session],
        variants: Sequence[VariantName],
        device: str,
        ticket: Ticket,
    ) -> dict[VariantName, Session]:
        """Sessions of a model, opened and warmed up if necessary.

        Args:
            model: as `load` returned it.
            variants: names; none: the alias's, or the model's defaults.
            device: where they are to run.
            ticket: of the request; its wait is added to, its device and variants are filled in.

        Raises:
            NotFound: when the model was deleted since.
            UnknownVariant: when the model has no such variant.
            DeviceUnavailable: when the device is not there.
        """
        names = _chosen(model, variants, device, ticket)

        def opened() -> dict[VariantName, Session]:
            return {each: model.session(each, device, self._threads) for each in names}

        ready = all(model.is_open(each, device, self._threads) for each in names)
        found = await self._opened(model.id, (tuple(names), device), opened, ready, ticket)
        ticket.device, ticket.variants = device, names
        return found

    async def open_processes(
        self, model: LoadedModel[Any], variants: Sequence[VariantName], device: str, ticket: Ticket
    ) -> dict[VariantName, SubprocessGraphSession]:
        """Processes of a model's variants, started if necessary; otherwise as `open`.

        Args:
            model: as `load` returned it.
            variants: names; none: the alias's, or the model's defaults.
            device: where they are to run.
            ticket: of the request; its wait is added to, its device and variants are filled in.

        Raises:
            NotFound: when the model was deleted since.
            UnknownVariant: when the model has no such variant.
            DeviceUnavailable: when the device is not there.
        """
        names = _chosen(model, variants, device, ticket)

        def started() -> dict[VariantName, SubprocessGraphSession]:
            return {
                each: isolated(model, each, device, self._threads, self._graph_memory_bytes)
                for each in names
            }

        ready = all(is_isolated(model, each, device, self._threads) for each in names)
        found = await self._opened(model.id, (tuple(names), device, "own"), started, ready, ticket)
        ticket.device, ticket.variants = device, names
        return found

    async def followed(self, ticket: Ticket, opened: Callable[[], Awaitable[Opened]]) -> Opened:
        """What a request loads and opens; once more where its alias was moved meanwhile.

        Who moves an alias may delete the model that it pointed at, on its way to a request.

        Args:
            ticket: of the request.
            opened: calls `load`, and `open` or `open_processes`.

        Raises:
            NotFound: when there is no such model, or the alias still points at one that is gone.
        """
        try:
            return await opened()
        except NotFound:
            if ticket.destination is None or ticket.destination.alias is None:
                raise
            self.forget_meanings()
            return await opened()

    async def _opened(
        self,
        model_id: str,
        what: Hashable,
        open_all: Callable[[], Opened],
        ready: bool,
        ticket: Ticket,
    ) -> Opened:
        if ready:
            return open_all()
        with ticket.waiting():
            opening = partial(self._timed, "graphs", lambda: self._present(model_id, open_all))
            found = await self._once((model_id, what), opening)
        self._make_room(model_id)
        return found

    def _timed(self, step: str, load_it: Callable[[], Opened]) -> Opened:
        began = time.perf_counter()
        found = load_it()
        self._observe_load(step, time.perf_counter() - began)
        return found

    def _present(self, model_id: str, open_all: Callable[[], Opened]) -> Opened:
        """What opens, unless the model was deleted since it was loaded: its files are gone then.

        Raises:
            NotFound: when it was.
        """
        try:
            return open_all()
        except RuntimeFault as error:
            if self.bundles.exists(model_id):
                raise
            raise NotFound("model", model_id) from error

    def resolve(self, name: str) -> str:
        """The id of a model by id, alias or name; of an alias what it points at, not its canary.

        Raises:
            NotFound: when there is no such model.
        """
        meaning = self.meaning(name)
        if isinstance(meaning, Alias) and not self.bundles.exists(meaning.model):
            raise ModelGone(meaning.alias, meaning.model)
        return meaning if isinstance(meaning, str) else meaning.model

    def meaning(self, name: str) -> Alias | str:
        """What a name means: an alias, or the id of a model.

        Raises:
            NotFound: when there is no such model.
        """
        if (alias := self.names.alias(name)) is not None and not self.bundles.is_remote:
            return alias
        known = self.bundles.manifests()
        with self._lock:
            for gone in self._loaded.keys() - {bundle_id for bundle_id, _ in known}:
                self._drop(gone)  # deleted by another process: its memory is freed too
        return alias or self.names.model(name, known)

    def forget_meanings(self) -> None:
        """Looks up every name anew: an alias was moved, or a model deleted."""
        self._meanings.clear()

    def _remembered(self, name: str) -> Alias | str | None:
        """What a name meant a moment ago; None: unknown."""
        # A copy of a remote bundle does not show its removal: its id is looked up like a name.
        if name in self._loaded and not self.bundles.is_remote:
            return name  # an id first: another model may bear it as its name
        meaning, until = self._meanings.get(name, (None, 0.0))
        if time.monotonic() > until:
            self._meanings.pop(name, None)
            return None
        return meaning

    def _unchanged(self, bundle_id: str) -> LoadedModel[Any] | None:
        """The model with an id if it is in memory and its files had not changed a moment ago."""
        model, now = self._loaded.get(bundle_id), time.monotonic()
        if model is None or now < self._looked.get(bundle_id, 0.0) + LOOK_SECONDS:
            return model
        if self.bundles.unchanged(bundle_id) is None:
            self._looked.pop(bundle_id, None)
            return None
        self._looked[bundle_id] = now
        return model

    async def _once(self, what: Hashable, load_it: Callable[[], Opened]) -> Opened:
        """Loads something in the loading pool; concurrent requests for the same share one load."""
        loading = self._loads.get(what)
        if loading is None:
            loading = asyncio.get_running_loop().run_in_executor(self._loading, load_it)
            self._loads[what] = loading
            loading.add_done_callback(lambda _: self._loads.pop(what))
        # Not cancelled with this request: others may wait for it, or need it next.
        await asyncio.wait((loading,))
        result: Opened = loading.result()
        return result

    def _open(self, bundle_id: str, kind: type[LoadedModel[Any]]) -> LoadedModel[Any]:
        with self._alone(bundle_id):
            try:
                bundle = self.bundles.open(bundle_id)
            except (CorruptBundle, NotFound):
                with self._lock:
                    self._drop(bundle_id)
                raise
            if not issubclass(class_of(bundle.manifest), kind):
                task = bundle.manifest.task
                raise RequestError(
                    "wrong-task",
                    f"'{bundle.manifest.name}' is of the kind {task}, not {kind.task}; ask it at "
                    f"{kind_named(task).endpoint}",
                )
            with self._lock:
                model = self._loaded.get(bundle_id)
            return self._keep(load(bundle) if model is None else model)

    def _keep(self, model: LoadedModel[Any]) -> LoadedModel[Any]:
        """The model, marked as most recently used; closes models beyond the limit."""
        with self._lock:
            self._loaded[model.id] = model
            self._loaded.move_to_end(model.id)
        self._make_room(model.id)
        return model

    def _make_room(self, kept: str) -> None:
        """Closes the least recently used models, down to the limit on memory."""
        with self._lock:
            while self.memory_bytes() > self._limit and len(self._loaded) > 1:
                oldest = next(each for each in self._loaded if each != kept)
                self._drop(oldest)

    def _drop(self, bundle_id: str) -> LoadedModel[Any] | None:
        """Removes a model from memory, with the lock; it is gone once its runs have ended."""
        model = self._loaded.pop(bundle_id, None)
        if model is not None:
            self._freed.follows(model)
        return model

    def _alone(self, bundle_id: str) -> threading.Lock:
        """The lock of one model: it is loaded once, and others can be loaded meanwhile."""
        return self._locks.setdefault(bundle_id, threading.Lock())

    def manifest(self, name: str) -> tuple[str, Manifest]:
        """Id and manifest of a model by id, alias or name."""
        bundle = self.bundles.open(self.resolve(name))
        return bundle.id, bundle.manifest

    def forget(self, bundle_id: str) -> None:
        """Removes a model from memory once its runs have ended; the next request loads it again."""
        with self._lock:
            self._drop(bundle_id)

    def delete(self, bundle_id: str) -> None:
        """Removes a model from disk and memory, and ends its processes.

        Raises:
            NotFound: when there is no such model.
        """
        with self._alone(bundle_id):
            self.bundles.delete(bundle_id)
            with self._lock:
                model = self._drop(bundle_id)
        self._locks.pop(bundle_id, None)
        self._looked.pop(bundle_id, None)
        self.forget_meanings()
        if model is not None:
            # In the background: one of its processes may still be starting, which takes a while.
            self._loading.submit(model.close)

    def close(self) -> None:
        """Forgets all models, and ends their processes."""
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._lookups.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            models = list(self._loaded.values())
            self._loaded.clear()
        for model in models:
            model.close()

    def count(self) -> int:
        """How many models are in memory."""
        return len(self._loaded)

    def memory_bytes(self) -> int:
        """Bytes of all open graphs."""
        return sum(model.memory_bytes for model in list(self._loaded.values()))


def _chosen(
    model: LoadedModel[Any], variants: Sequence[VariantName], device: str, ticket: Ticket
) -> list[VariantName]:
    """The variants that a request asks for, or else those of the alias that it asks."""
    named = [] if ticket.variant is None else [ticket.variant]
    return list(variants) or named or model.default_variants(device)
