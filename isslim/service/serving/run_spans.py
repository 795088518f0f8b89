"""Spans of a request's runs: `queue`, `tokenize`, `run <variant>`, below the request's own."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from isslim.store.tracing import is_tracing, span, start_span, trace_context


class RunSpans:
    """Made before a job is submitted, and used by it in whatever threads it is resumed.

    Args:
        model: id of the model.
    """

    def __init__(self, model: str) -> None:
        self._model, self._parent = model, trace_context()
        self._asked = time.time_ns() if is_tracing() else 0

    def begin(self) -> None:
        """Ends the wait: the job has begun."""
        waited = start_span("queue", self._parent, began_ns=self._asked)
        if waited is not None:
            waited.end()

    def step(self, name: str) -> AbstractContextManager[None]:
        """A span for the duration of the block; a step that waits for its turns includes them.

        Args:
            name: such as `tokenize`.
        """
        return span(name, self._parent, {"isslim.model": self._model})
