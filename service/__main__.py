"""Runs the service: `python -m service`."""

from __future__ import annotations

import uvicorn

from service.main import create_app
from service.settings import ServiceSettings


def main() -> None:
    """Serves until it is told to stop."""
    settings = ServiceSettings()
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
