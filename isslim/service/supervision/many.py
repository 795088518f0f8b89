"""Runs the service as several processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socket

from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE

from isslim.service.siblings import Siblings
from isslim.service.supervision.supervisor import Supervisor
from isslim.settings.service import ServiceSettings

_LOG = logging.getLogger("service.processes")


@dataclass(frozen=True)
class _Share:
    """What one process runs.

    Attributes:
        settings: of the whole service.
        processes: of it.
        listeners: its bound sockets, shared: a connection that one process no longer takes, another
            one does. (With SO_REUSEPORT each would have its own, and lose what waits there.)
        folder: of the files that they share.
    """

    settings: ServiceSettings
    processes: int
    listeners: Sequence[socket]
    folder: Path

    def __call__(self, place: int, connection: Connection) -> None:
        """Serves, in a process of its own."""
        # Imported here, since the supervisor needs nothing of it: 80 MB.
        from isslim.service.server import serve

        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # meant for the supervisor
        serve(
            self.settings.share(place, self.processes),
            Siblings(connection, self.folder),
            self.listeners,
        )


def serve_many(settings: ServiceSettings, processes: int) -> None:
    """Runs the service until it is asked to stop; ends this process as a single one would end.

    Args:
        settings: of the whole service.
        processes: of it.
    """
    try:
        listeners = asyncio.run(_bound(settings.host, settings.port))
    except OSError as error:
        _LOG.error("%s", error)
        sys.exit(STARTUP_FAILURE)
    with tempfile.TemporaryDirectory(prefix="isslim-", ignore_cleanup_errors=True) as name:
        # Read by prometheus_client: what each process counts is in files there, which all add up.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = name
        result = Supervisor(
            target=_Share(settings, processes, listeners, Path(name)),
            count=processes,
            stop_seconds=settings.shutdown_seconds,
            hang_seconds=settings.hang_seconds,
            stopping=lambda: _close(listeners),
            gone=lambda pid: mark_process_dead(pid, name),  # type: ignore[no-untyped-call]
        ).run()
    if result == signal.SIGTERM:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    sys.exit(-min(result, 0))


def _close(listeners: Sequence[socket]) -> None:
    """Lets go of the port: while this is open, the system takes connections for nobody."""
    for each in listeners:
        each.close()


async def _bound(host: str, port: int) -> list[socket]:
    """Sockets bound to all addresses of a host; they do not listen yet."""
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, host, port, start_serving=False
    )
    listeners = [each.dup() for each in server.sockets]
    server.close()
    return listeners
