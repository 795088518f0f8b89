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
    """A server that lets go of followers of a job as soon as it is asked to end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the main thread when SIGTERM or SIGINT comes."""
        self.config.app.state.context.ending.set()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def main() -> None:
    """Serves until it is asked to stop, and then for a few seconds more at most."""
    settings = read_or_exit(ServiceSettings, "isslim service")
    logs.configure(settings.log_level)
    # Uploads are spooled where they will be kept: `/tmp` is memory in a read-only container.
    spool = settings.home.absolute() / "arriving"
    spool.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(spool)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        # Requests that are not done by then are cancelled: a stalled upload has no end of its own.
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    # What is there now stays: with each large body the collector would else look at all of it.
    gc.freeze()
    server = _Server(config)
    with suppress(KeyboardInterrupt):  # the server raises it again once it has ended
        server.run()
    logging.shutdown()
    # Not by returning: the interpreter would wait for all threads, and so for a run that nothing
    # stops.
    os._exit(0 if server.started else STARTUP_FAILURE)


if __name__ == "__main__":
    main()
