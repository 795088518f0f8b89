"""The service's logs: which loggers print what, and the id of the request in every line."""

from __future__ import annotations

from isslim.service.request_id import request_id
from isslim.settings import logs
from isslim.settings.service import ServiceSettings


def configure(settings: ServiceSettings) -> None:
    """Begins to log, as the settings say."""
    levels = {
        "service": settings.log_level,
        "uvicorn.error": settings.log_level,
        "service.jobs": settings.job_log_level,
        # Whatever else is printed: of who was not let in, the line is the only record.
        "service.audit": "INFO",
    }
    logs.configure(settings, levels, lambda: {"request_id": request_id()})
