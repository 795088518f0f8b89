"""Which scope each request needs. A test compares the table with all routes of the app."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from isslim.types.access import Scope
from isslim.types.kinds.registry import kinds

OPEN: frozenset[Scope] = frozenset()
READ, SCORE = frozenset({Scope.READ}), frozenset({Scope.SCORE})
COMPRESS, ADMIN = frozenset({Scope.COMPRESS}), frozenset({Scope.ADMIN})
EITHER = READ | SCORE
"""Lists that clients of a protocol ask for before they run anything."""
_TABLE: tuple[tuple[str, str, frozenset[Scope]], ...] = (
    ("GET", "/", OPEN),
    ("GET", "/ui", OPEN),
    ("GET", "/ui/", OPEN),
    ("GET", "/ui/**", OPEN),
    ("GET", "/docs", OPEN),
    ("GET", "/static/*", OPEN),
    ("GET", "/openapi.json", OPEN),
    ("GET", "/health/*", OPEN),
    ("GET", "/v2/health/*", OPEN),
    ("GET", "/metrics", READ),
    ("POST", "/score", SCORE),
    ("POST", "/generate", SCORE),
    ("POST", "/qa", SCORE),
    ("POST", "/models/*/run", SCORE),
    ("GET", "/models/*/latency", SCORE),
    ("GET", "/v1/models", EITHER),
    ("GET", "/v1/models/*", EITHER),
    ("POST", "/v1/completions", SCORE),
    ("GET", "/tokenizer_info", EITHER),
    ("POST", "/tokenize", SCORE),
    ("POST", "/detokenize", SCORE),
    ("GET", "/models/*/v1/models", EITHER),
    ("GET", "/models/*/v1/models/*", EITHER),
    ("POST", "/models/*/v1/completions", SCORE),
    ("GET", "/models/*/tokenizer_info", EITHER),
    ("POST", "/models/*/tokenize", SCORE),
    ("POST", "/models/*/detokenize", SCORE),
    ("GET", "/v2", EITHER),
    ("GET", "/v2/models/**", EITHER),
    ("POST", "/v2/models/*/infer", SCORE),
    ("POST", "/v2/models/*/versions/*/infer", SCORE),
    ("POST", "/v2/repository/index", EITHER),
    ("POST", "/v2/repository/models/*/load", SCORE),
    ("POST", "/v2/repository/models/*/unload", ADMIN),
    ("POST", "/compress", COMPRESS),
    ("POST", "/inspect", COMPRESS),
    ("GET", "/inspections/*", READ),
    ("POST", "/sweeps", COMPRESS),
    ("GET", "/sweeps", READ),
    ("GET", "/sweeps/*", READ),
    ("DELETE", "/sweeps/*", COMPRESS),
    ("GET", "/jobs", READ),
    ("GET", "/jobs/*", READ),
    ("GET", "/jobs/*/events", READ),
    ("POST", "/jobs/*/again", COMPRESS),
    ("DELETE", "/jobs/*", COMPRESS),
    ("GET", "/kinds", READ),
    ("GET", "/status", READ),
    ("GET", "/models", READ),
    ("GET", "/models/*", READ),
    ("GET", "/models/*/report", READ),
    ("GET", "/models/*/card", READ),
    ("GET", "/models/*/files", READ),
    ("GET", "/models/*/files/**", READ),
    ("DELETE", "/models/*", COMPRESS),
    ("GET", "/aliases", READ),
    ("GET", "/aliases/*", READ),
    ("GET", "/aliases/*/shadow", READ),
    ("PUT", "/aliases/*", COMPRESS),
    ("POST", "/aliases/*/rollback", COMPRESS),
    ("DELETE", "/aliases/*", COMPRESS),
    ("GET", "/audit", ADMIN),
)
"""Method, path, and the scopes of which a key needs one. `*` is a part of a path, `**` its rest,
which may be empty.
`GET` is `HEAD` as well."""
GRPC: dict[str, frozenset[Scope]] = {
    "ServerLive": OPEN,
    "ServerReady": OPEN,
    "ServerMetadata": EITHER,
    "ModelReady": EITHER,
    "ModelMetadata": EITHER,
    "ModelConfig": EITHER,
    "ModelStatistics": EITHER,
    "ModelInfer": SCORE,
    "ModelStreamInfer": SCORE,
    "RepositoryIndex": EITHER,
    "RepositoryModelLoad": SCORE,
    "RepositoryModelUnload": ADMIN,
}
"""The methods of the Open Inference Protocol over gRPC, as their paths over HTTP."""
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
_CHANGING = (COMPRESS, ADMIN)
"""Scopes of what changes something: running a model does not."""
GRPC_CHANGES = frozenset(method for method, scopes in GRPC.items() if scopes in _CHANGING)
"""Methods over gRPC that change something, as over HTTP."""


@dataclass(frozen=True)
class _Rule:
    method: str
    path: re.Pattern[str]
    scopes: frozenset[Scope]


class Permissions:
    """The table, with what settings and plug-ins add to it.

    Args:
        metrics_open: whether `/metrics` needs no key.
    """

    def __init__(self, *, metrics_open: bool) -> None:
        table = [("GET", "/metrics", OPEN)] if metrics_open else []
        # A kind's own endpoint, which a plug-in may bring.
        for kind in kinds():
            method, path = kind.endpoint.split(" ")
            table.append((method, re.sub(r"\{[^}]*\}", "*", path), SCORE))
        self._rules = [
            _Rule(method, _pattern(path), scopes) for method, path, scopes in (*table, *_TABLE)
        ]
        self.scopes_of = lru_cache(maxsize=4096)(self._scopes_of)

    def listed(self, method: str, path: str) -> frozenset[Scope] | None:
        """The scopes that the table names for a request; None: the request is not in it.

        Args:
            method: of the request.
            path: of the request.
        """
        asked = "GET" if method == "HEAD" else method
        # The `$` of the framework's patterns is before a line feed at the end as well.
        path = path.removesuffix("\n")
        for rule in self._rules:
            if rule.method == asked and rule.path.fullmatch(path):
                return rule.scopes
        return None

    def changes(self, method: str, path: str) -> bool:
        """Whether a request changes what is stored, or would; running a model does not.

        Args:
            method: of the request.
            path: of the request.
        """
        return method not in SAFE and self.scopes_of(method, path) in _CHANGING

    def _scopes_of(self, method: str, path: str) -> frozenset[Scope]:
        """The scopes of which a key needs one; none: no key is needed.

        What is not listed, such as what does not exist, is answered to those who may read, where it
        changes nothing, and else to administrators.
        """
        found = self.listed(method, path)
        if found is None:
            return READ | SCORE | COMPRESS if method in SAFE else ADMIN
        return found


def _pattern(path: str) -> re.Pattern[str]:
    escaped = re.escape(path).replace(r"\*\*", r".*").replace(r"\*", r"[^/]+")
    return re.compile(escaped, re.DOTALL)
