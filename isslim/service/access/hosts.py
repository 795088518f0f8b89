"""Where no keys are asked for: pages of other sites cannot use the service through a browser.

A page may send forms to any address (cross-site requests), and its own name may be made to point at
this one (DNS rebinding): its requests then name a `Host` that is not ours. An address in digits
cannot be rebound; the one that a connection came in by is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.types import Scope

from isslim.service.access.permissions import SAFE
from isslim.service.problems import RequestError
from isslim.settings.access import is_loopback
from isslim.settings.service import ServiceSettings

ANY = "*"
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]/?#@\s]+))(?::[0-9]+)?")


class HostRules:
    """Refuses requests that only a page of another site would send.

    Args:
        settings: with the address that is listened on, and further names.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._named = settings.hosts
        self._known = {"localhost", settings.host.lower(), *self._named}

    def refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> RequestError | None:
        """Why a request is not answered; None: it is.

        Args:
            scope: of the request.
            headers: of the request, those that name where it comes from and where it goes to.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._is_ours(name_of(host), scope):
            return RequestError(
                "unknown-host",
                f"the service is not known as '{host[:100]}': ask it as localhost or by its "
                "address, or name it in ISS_ALLOWED_HOSTS (or set ISS_API_KEYS_FILE: with keys "
                "every name will do)",
            )
        if scope["method"] in SAFE:
            return None
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if headers.get(b"sec-fetch-site") == b"cross-site" or self._is_foreign(origin, host):
            return RequestError(
                "cross-site",
                "a web page of another site may change nothing here; a program sends neither "
                "Origin nor Sec-Fetch-Site",
            )
        return None

    def _is_ours(self, name: str, scope: Scope) -> bool:
        if name in self._known or ANY in self._named:
            return True
        server = scope.get("server")  # the address that the connection came in by
        return is_loopback(name) or (server is not None and name == str(server[0]).lower())

    def _is_foreign(self, origin: str, host: str) -> bool:
        """Whether a page is of another site; none is where a request names no origin."""
        if not origin or ANY in self._named:
            return False
        _, separator, there = origin.partition("://")
        if not separator:
            return True  # "null", as of a file
        return there != host and name_of(there) not in self._named


def name_of(host: str) -> str:
    """A host without its port and brackets; empty where it is none."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found[1] or found[2]
