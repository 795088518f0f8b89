"""Decides whether a request is answered, over HTTP and gRPC alike."""

from __future__ import annotations

from pathlib import Path

from isslim.service.access.caller import Caller
from isslim.service.access.hosts import HostRules
from isslim.service.access.keys import KeyRing
from isslim.service.access.permissions import Permissions
from isslim.service.access.rates import Allowance, Rates
from isslim.service.problems import RequestError
from isslim.settings.service import ServiceSettings
from isslim.types.access import Scope

UNKNOWN = "?"
"""Name of a caller whose key is not known; no key has it."""
_EVERYTHING = frozenset(Scope)
_NOTHING: frozenset[Scope] = frozenset()


class AccessControl:
    """The rules of a service.

    Args:
        settings: of the service.
        folder: that all of its processes share; None: there is one.

    Attributes:
        hosts: the rules where no keys are asked for; None: they are.
        permissions: which scope each request needs.
    """

    def __init__(self, settings: ServiceSettings, folder: Path | None) -> None:
        self._keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)
        self.hosts = HostRules(settings) if self._keys is None else None
        self.permissions = Permissions(metrics_open=settings.metrics_open)
        self._rates = Rates(settings.rate, folder)

    def caller(self, authorization: bytes, key: bytes, remote: str) -> Caller:
        """Who asks.

        Args:
            authorization: the header of this name; empty: none.
            key: the header `X-API-Key`; empty: none.
            remote: address of the sender.

        Returns:
            The caller; without a name and scopes where a key is asked for, and none was sent, or
            one that is not known.

        Raises:
            RequestError: (keys-unreadable) when nobody can be let in.
        """
        if self._keys is None:
            return Caller(None, _EVERYTHING, remote)
        scheme, _, token = authorization.partition(b" ")
        sent = token.strip() if scheme.lower() == b"bearer" else b""
        if not (sent or key):
            return Caller("", _NOTHING, remote)
        found = self._keys.find(sent or key)
        if found is None:
            return Caller(UNKNOWN, _NOTHING, remote)
        return Caller(found.name, found.scopes, remote, found.limits, found.digest)

    def check_readable(self) -> None:
        """Looks whether the file of keys, if there is one, can be read.

        Raises:
            RequestError: (keys-unreadable) when nobody can be let in.
        """
        if self._keys is not None:
            self._keys.check_readable()

    def is_current(self, caller: Caller) -> bool:
        """Whether the key of a caller who was let in is still in force, with the same scopes.

        Raises:
            RequestError: (keys-unreadable) when nobody can be let in.
        """
        if self._keys is None:
            return True
        found = self._keys.of_digest(caller.digest)
        return found is not None and (found.name, found.scopes) == (caller.name, caller.scopes)

    def administrators(self) -> set[str]:
        """Names of the keys that may do everything; none where no keys are asked for.

        Raises:
            RequestError: (keys-unreadable) when nobody can be let in.
        """
        return set() if self._keys is None else self._keys.administrators()

    def admit(self, caller: Caller, scopes: frozenset[Scope]) -> Allowance | None:
        """Counts a request, and refuses what a caller may not ask.

        Args:
            caller: who asks.
            scopes: of which one is needed; none: no key is, and nothing is counted.

        Returns:
            What is left of the limit on requests; None: there is none.

        Raises:
            RateExceeded: when it is one too many.
            RequestError: (unauthenticated) without a known key; (missing-scope) with one that does
                not have any of them.
        """
        if not scopes:
            return None
        left = self._rates.spend(caller)
        if scopes & caller.scopes:
            return left
        if caller.name == UNKNOWN:
            raise RequestError(
                "unauthenticated", "the key is not known here: it may be mistyped, or was withdrawn"
            )
        if caller.name == "":
            raise RequestError(
                "unauthenticated",
                "send a key as `Authorization: Bearer <key>` or `X-API-Key: <key>`; its operator "
                "makes one with `isslim keys new`",
            )
        needed = " or ".join(each for each in Scope if each in scopes)
        held = ", ".join(each for each in Scope if each in caller.scopes)
        raise RequestError(
            "missing-scope",
            f"the key '{caller.name}' has the scopes {held}, and this needs {needed}: use a key "
            "that has it",
        )
