"""How stages report what they are doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

ProgressCallback = Callable[[float, str], None]


class StageReport(Protocol):
    """Receives the progress of a job."""

    def enter(self, name: str, message: str) -> None:
        """Begins a stage.

        Args:
            name: one of the pipeline's stages, such as `search`.
            message: what it is about to do.
        """

    def progress(self, done: float, message: str) -> None:
        """Reports progress within the current stage.

        Args:
            done: share of the stage that is done, 0 to 1.
            message: what is being done.
        """
