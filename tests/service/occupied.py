"""A service whose only slot is taken, so that every further request has to wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.testclient import TestClient

from isslim.runtime.run_control import RunControl
from isslim.service.context import AppContext
from isslim.service.serving.admission import Ticket
from isslim.service.serving.batching import alone


@contextmanager
def occupied(client: TestClient) -> Iterator[threading.Event]:
    """Takes a slot until the event is set, or the block ends."""
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    begun, go = threading.Event(), threading.Event()

    def hold(control: RunControl) -> None:
        begun.set()
        assert go.wait(20)

    assert client.portal is not None
    holding = client.portal.start_task_soon(context.executor.submit, alone(hold), Ticket())
    assert begun.wait(20)
    try:
        yield go
    finally:
        go.set()
        holding.result(20)
