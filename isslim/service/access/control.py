"""Decides whether a request is answered, over HTTP and gRPC alike."""

from __future__ import annotations

from isslim.service.access.caller import Caller
from isslim.service.access.hosts import HostRules
from isslim.service.access.keys import KeyRing
from isslim.service.access.permissions import Permissions
from isslim.service.problems import RequestError
from isslim.settings.service import ServiceSettings
from isslim.types.access import Scope

_EVERYTHING = frozenset(Scope)
_NOTHING: frozenset[Scope] = frozenset()


class AccessControl:
    """The rules of a service.

    Args:
        settings: of the service.

    Attributes:
        hosts: the rules where no keys are asked for; None: they are.
        permissions: which scope each request needs.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)
        self.hosts = HostRules(settings) if self._keys is None else None
        self.permissions = Permissions(metrics_open=settings.metrics_open)

    def caller(self, authorization: bytes, key: bytes, remote: str) -> Caller:
        """Who asks.

        Args:
            authorization: the header of this name; empty: none.
            key: the header `X-API-Key`; empty: none.
            remote: address of the sender.

        Returns:
            The caller; without a name and scopes where a key is asked for, and none was sent.

        Raises:
            RequestError: (unauthenticated) when there is no such key.
        """
        if self._keys is None:
            return Caller(None, _EVERYTHING, remote)
        scheme, _, token = authorization.partition(b" ")
        sent = token.strip() if scheme.lower() == b"bearer" else b""
        if not (sent or key):
            return Caller("", _NOTHING, remote)
        found = self._keys.find(sent or key)
        if found is None:
            raise RequestError(
                "unauthenticated", "the key is not known here: it may be mistyped, or was withdrawn"
            )
        return Caller(found.name, found.scopes, remote, found.limits)

    def check(self, caller: Caller, scopes: frozenset[Scope]) -> None:
        """Refuses what a caller may not ask.

        Args:
            caller: who asks.
            scopes: of which one is needed; none: no key is.

        Raises:
            RequestError: (unauthenticated) without a key; (missing-scope) with one that does not
                have any of them.
        """
        if not scopes or scopes & caller.scopes:
            return
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
            f"the key '{caller.name}' has the scopes {held}, and this needs {needed}",
        )
