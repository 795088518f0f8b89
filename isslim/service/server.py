"""One service process: it serves until it is asked to stop, and then ends within seconds."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from socket import socket
from types import FrameType
from typing import NoReturn

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from isslim.service import logs
from isslim.service.main import create_app
from isslim.service.siblings import READY, Siblings
from isslim.settings.service import ServiceSettings
from isslim.store.errors import Unavailable
from isslim.store.tracing import begin_tracing, end_tracing

LINGER_SECONDS = 0.3
"""How long a process that takes no more connections answers requests on those that it has: one that
is closed at once loses the request that is on its way."""
COLLECTED_AFTER = 20_000
"""Objects after which the collector looks for those that only refer to each other. Of a request
there are next to none; by its default of 700 it looks at every request under way, again and again,
which took a tenth of the time of a busy service."""


class _Server(uvicorn.Server):
    """A server that says when it is ready, and leaves no request unanswered when it stops.

    Args:
        config: as `uvicorn.Server` takes it.
        siblings: whose supervisor is told.
    """

    def __init__(self, config: uvicorn.Config, siblings: Siblings) -> None:
        super().__init__(config)
        self._siblings = siblings

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the main thread on SIGTERM or SIGINT. See `uvicorn.Server.handle_exit`."""
        # Event streams of jobs end as soon as the server is asked to stop.
        self.config.app.state.context.ending.set()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listens. See `uvicorn.Server.startup`."""
        await super().startup(sockets)
        self._siblings.tell(READY)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stops listening, and closes connections after their next answer, or after a moment."""
        for server in self.servers:
            server.close()
        if self.server_state.connections:
            # In place: it is what responses under way have as well.
            self.server_state.default_headers.append((b"connection", b"close"))
            await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)


def serve(
    settings: ServiceSettings,
    siblings: Siblings | None = None,
    listeners: Sequence[socket] | None = None,
) -> NoReturn:
    """Runs this process as the service, or as one of its processes, and ends it.

    Args:
        settings: of this process.
        siblings: the other processes; None: there are none.
        listeners: bound sockets; None: it binds its own.
    """
    siblings = siblings or Siblings()
    logs.configure(settings)
    begin_tracing("isslim")
    # Uploads are spooled where they will be stored: `/tmp` is memory in a read-only container.
    spool = settings.home.absolute() / "arriving"
    spool.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(spool)
    try:
        app = create_app(settings, siblings)
    except Unavailable as fault:
        sys.stderr.write(f"isslim service: the database does not answer: {fault.reason}\n")
        sys.exit(STARTUP_FAILURE)
    app.prepare()
    context = app.state.context

    async def note_life() -> None:
        siblings.beat()
        context.note_own()  # for those whose `/metrics` is asked for

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        # By default the library believes whoever asks from this machine.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        access_log=False,
        # Requests that have not finished by then are cancelled: a stalled upload would never end.
        timeout_graceful_shutdown=settings.shutdown_seconds,
        callback_notify=note_life if siblings.are_there else None,
        timeout_notify=0,  # seconds beyond the one that uvicorn always waits
    )
    # What is there now stays: with each large body the collector would else look at all of it.
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER)
    server = _Server(config, siblings)
    siblings.listen(context.heard())
    with suppress(KeyboardInterrupt):  # the server raises it again once it has ended
        server.run(None if listeners is None else list(listeners))
    end_tracing()
    logging.shutdown()
    # Not by returning: the interpreter would wait for all threads, and so for a run that cannot
    # be stopped.
    os._exit(0 if server.started else STARTUP_FAILURE)
