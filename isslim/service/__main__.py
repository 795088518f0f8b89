"""Runs the service: `python -m isslim.service`."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from contextlib import suppress
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from isslim.service import logs
from isslim.service.main import create_app
from isslim.settings.environment import read_or_exit
from isslim.settings.service import ServiceSettings


class _Server(uvicorn.Server):
    """A server that ends event streams of jobs as soon as it is asked to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the main thread on SIGTERM or SIGINT. See `uvicorn.Server.handle_exit`."""
        self.config.app.state.context.ending.set()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def main() -> None:
    """Serves until it is asked to stop, and then for at most a few seconds more."""
    settings = read_or_exit(ServiceSettings, "isslim service")
    logs.configure(settings.log_level)
    # Uploads are spooled where they will be stored: `/tmp` is memory in a read-only container.
    spool = settings.home.absolute() / "arriving"
    spool.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(spool)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        # Requests that have not finished by then are cancelled: a stalled upload would never end.
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    # What is there now stays: with each large body the collector would else look at all of it.
    gc.freeze()
    server = _Server(config)
    with suppress(KeyboardInterrupt):  # the server raises it again once it has ended
        server.run()
    logging.shutdown()
    # Not by returning: the interpreter would wait for all threads, and so for a run that cannot
    # be stopped.
    os._exit(0 if server.started else STARTUP_FAILURE)


if __name__ == "__main__":
    main()
