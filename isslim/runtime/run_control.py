"""Stops a run from another thread: at its deadline, or when nobody waits for its result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import onnxruntime

from isslim.runtime.errors import RunStopped


class RunControl:
    """Stops the runs of the sessions that are bound to it. Any thread may stop it, for good.

    Attributes:
        options: run options of ONNX Runtime, which checks them between two operators, and between
            two iterations of a loop.
    """

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        # The default. Where the entry is missing, ONNX Runtime's Python interface finds that out by
        # an exception in C++, which takes 20 microseconds and more in each run.
        self.options.add_run_config_entry("gpu_graph_id", "0")
        self._lock = threading.Lock()
        self._stopped = False
        self._actions: list[Callable[[], object]] = []

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """Stops the current runs, and any that would start under this control."""
        # Under the lock, so that no action is called after its run left `on_stop`: it would stop
        # another caller's run.
        with self._lock:
            self._stopped = True
            self.options.terminate = True
            for action in self._actions:
                action()

    @contextmanager
    def on_stop(self, action: Callable[[], object]) -> Iterator[None]:
        """Registers an action that stops a run outside of this process.

        Args:
            action: stops the run; callable from any thread.

        Raises:
            RunStopped: when it was stopped before.
        """
        with self._lock:
            if self._stopped:
                raise RunStopped
            self._actions.append(action)
        try:
            yield
        finally:
            with self._lock:
                self._actions.remove(action)


@contextmanager
def stopped_after(seconds: float) -> Iterator[RunControl]:
    """A control that is stopped by the clock, where no event loop watches it."""
    control = RunControl()
    timer = threading.Timer(seconds, control.stop)
    timer.daemon = True
    timer.start()
    try:
        yield control
    finally:
        timer.cancel()
