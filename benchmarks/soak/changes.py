"""What an operator does during a soak: publishes, promotes, rolls back, loads, unloads, deletes."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable
from typing import Any

from benchmarks.soak.models import Copies
from benchmarks.soak.traffic import PROD, VARIANTS, Client, Counts, due

MOST_COPIES = 4
"""Of each first model: more are deleted, the oldest first."""
PAUSE_SECONDS = 0.3


class Operator:
    """Changes a service's models, one change after the other.

    Args:
        url: of the service.
        copies: makes new models.
        counts: of the answers.

    Attributes:
        changes: how many of each kind were made.
    """

    def __init__(self, url: str, copies: Copies, counts: Counts) -> None:
        self._client, self._copies, self._counts = Client(url), copies, counts
        self._chance = random.Random(0)
        self._lock = threading.Lock()
        self._live: dict[str, list[str]] = {name: [] for name in PROD}
        self.changes: dict[str, int] = {}

    def begin(self) -> None:
        """Points every alias at the first model."""
        for name, alias in PROD.items():
            self._put(alias, model=self._copies.firsts[name])

    def short_lived(self, name: str) -> str | None:
        """Id of a copy that may be deleted at any time.

        Args:
            name: of the first model.
        """
        with self._lock:
            live = self._live[name]
            return live[len(live) // 2] if live else None

    def run(self, done: threading.Event) -> None:
        """Makes changes until it is told to end.

        Args:
            done: ends it.
        """
        actions: list[Callable[[str], None]] = [
            self._publish, self._promote, self._try, self._roll_back, self._load, self._unload,
            self._delete,
        ]  # fmt: skip
        while not done.wait(PAUSE_SECONDS):
            action, name = self._chance.choice(actions), self._chance.choice(list(PROD))
            kind = action.__name__.strip("_")
            self.changes[kind] = self.changes.get(kind, 0) + 1
            action(name)
        self._client.close()

    def _publish(self, name: str) -> None:
        made = self._copies.publish(name)
        with self._lock:
            self._live[name].append(made)
        if len(self._live[name]) > MOST_COPIES:
            self._delete(name)

    def _promote(self, name: str) -> None:
        variant = self._chance.choice([None, *VARIANTS])
        self._put(PROD[name], model=self._any(name), variant=variant)

    def _try(self, name: str) -> None:
        """A shadow or a canary; of a graph's answers none is compared, but both run."""
        role, own, tried = (
            self._chance.choice(("shadow", "canary")),
            self._any(name),
            self._any(name),
        )
        candidate = {"model": tried, "variant": "compressed", "share": 0.3}
        self._put(PROD[name], model=own, variant="original", **{role: candidate})

    def _roll_back(self, name: str) -> None:
        self._ask("POST", f"/aliases/{PROD[name]}/rollback", "rollback", allowed=(409,))

    def _load(self, name: str) -> None:
        self._ask("POST", f"/v2/repository/models/{self._any(name)}/load", "load")

    def _unload(self, name: str) -> None:
        self._ask("POST", f"/v2/repository/models/{PROD[name]}/unload", "unload")

    def _delete(self, name: str) -> None:
        """The oldest copy; one that an alias needs stays."""
        with self._lock:
            oldest = self._live[name][:1]
        for each in oldest:
            status = self._ask("DELETE", f"/models/{each}", "delete", allowed=(409,))
            with self._lock:
                self._live[name].remove(each)
                if status == 409:
                    self._live[name].append(each)

    def _any(self, name: str) -> str:
        with self._lock:
            return self._chance.choice([self._copies.firsts[name], *self._live[name]])

    def _put(self, alias: str, **body: Any) -> None:
        self._ask("PUT", f"/aliases/{alias}", "promote", body)

    def _ask(
        self,
        method: str,
        path: str,
        kind: str,
        body: dict[str, Any] | None = None,
        allowed: tuple[int, ...] = (),
    ) -> int:
        try:
            status, said = self._client.ask(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self._counts.add(kind, type(error).__name__, f"{type(error).__name__}: {error}")
            return 0
        good = status in (200, 204) or due(status, said, allowed)
        self._counts.add(kind, str(status), None if good else f"{status} {said[:500]}")
        return status
