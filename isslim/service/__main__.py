"""Runs the service: `python -m isslim.service`."""

from __future__ import annotations

import tempfile

import uvicorn

from isslim.service import logs
from isslim.service.main import create_app
from isslim.settings.environment import read_or_exit
from isslim.settings.service import ServiceSettings


def main() -> None:
    """Serves until it is told to stop."""
    settings = read_or_exit(ServiceSettings, "isslim service")
    logs.configure(settings.log_level)
    # Uploads are spooled where they will be kept: `/tmp` is memory in a read-only container.
    spool = settings.home.absolute() / "arriving"
    spool.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(spool)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
    )


if __name__ == "__main__":
    main()
