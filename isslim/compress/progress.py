"""How a compression reports what it is doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from isslim.types.manifest import CurvePoint, EpochPoint

ProgressCallback = Callable[[float, str], None]
"""Called with the share of a step that is done, 0 to 1, and a line to show. A `Progress` is one."""


class Progress:
    """Receives what a compression is doing, and ignores it: subclasses override what they need.

    A stage is entered, and then called for with the share of it that is done. Points of the curve
    and epochs arrive as soon as they are known; a search that is repeated may send a point again.
    """

    def enter(self, stage: str, message: str) -> None:
        """Begins a stage and ends the one before it.

        Args:
            stage: one of the pipeline's stages, such as `search`.
            message: what it is about to do.
        """

    def __call__(self, done: float, message: str) -> None:
        """Reports progress within the current stage.

        Args:
            done: share of the stage that is done, 0 to 1.
            message: what is being done.
        """

    def on_minutes(self, minutes: float) -> None:
        """Receives how long may be distilled.

        Args:
            minutes: at most, over all candidates together.
        """

    def on_point(self, point: CurvePoint) -> None:
        """Receives a candidate that was evaluated, as a point of the trade-off curve."""

    def on_epoch(self, epoch: EpochPoint) -> None:
        """Receives an epoch of learn mode that has ended."""


class Lines(Progress):
    """Passes lines on, and no points or epochs: of a search that is a step of something else.

    Args:
        report: called with the share of the stage and a message.
    """

    def __init__(self, report: ProgressCallback) -> None:
        self._report = report

    def __call__(self, done: float, message: str) -> None:
        """Reports progress within the current stage; see `Progress`."""
        self._report(done, message)


class CallbackProgress(Progress):
    """Passes every line on to a function, with the share of the whole compression that is done.

    Args:
        report: called with the stage, the share of the whole that is done (0 to 1) and a message.
    """

    # Start and end of each stage as shares of the whole; rough, for progress bars only.
    SHARES: ClassVar = {
        "ingest": (0.0, 0.05),
        "calibrate": (0.05, 0.15),
        "search": (0.15, 0.4),
        "fine-tune": (0.4, 0.7),
        "learn": (0.05, 0.7),
        "export": (0.7, 0.75),
        "measure": (0.75, 0.97),
        "publish": (0.97, 1.0),
    }

    def __init__(self, report: Callable[[str, float, str], None]) -> None:
        self._report = report
        self._stage = "ingest"

    def enter(self, stage: str, message: str) -> None:
        """Begins a stage; see `Progress.enter`."""
        self._stage = stage
        self(0.0, message)

    def __call__(self, done: float, message: str) -> None:
        """Reports progress within the current stage; see `Progress`."""
        start, end = self.SHARES[self._stage]
        self._report(self._stage, start + done * (end - start), message)
