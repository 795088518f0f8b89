"""Data exchanged with the service besides JSON: files, a run of a graph, problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class GraphRun:
    """One run of a graph by one variant.

    Attributes:
        outputs: by name.
        run_ms: milliseconds of this run in ONNX Runtime.
    """

    outputs: dict[str, NDArray[Any]]
    run_ms: float


class ProblemError(Exception):
    """The service answered with a problem document (RFC 9457).

    Attributes:
        status: HTTP status.
        kind: its slug.
        detail: what is wrong and what to do.
        errors: every issue.
    """

    def __init__(self, status: int, kind: str, detail: str, errors: list[dict[str, Any]]) -> None:
        self.status, self.kind, self.detail, self.errors = status, kind, detail, errors
        super().__init__(f"{detail} ({kind}, {status})")


class Unreachable(Exception):
    """Nothing answers at the address, or it is not this service."""


class WrongSetting(Unreachable):
    """An address or a key cannot be one: nothing was asked."""


class DamagedDownload(Exception):
    """What arrived is not the file that the service listed; nothing was kept of it."""
