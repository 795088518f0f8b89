"""`/status`: workers, jobs, models, disk and versions at one glance."""

from __future__ import annotations

import platform
import shutil

import fastapi

from isslim import __version__
from isslim.runtime.opening import devices, runtime_version
from isslim.service.context import Context
from isslim.service.routing import checked_router
from isslim.types.schemas.problems import ProblemDocument
from isslim.types.schemas.status import ServiceStatus

router = checked_router("/status", tag="health")


@router.get(
    "", summary="Workers, jobs, models, disk, versions", responses={503: {"model": ProblemDocument}}
)
def get_status(context: Context) -> ServiceStatus:
    """What a person looks at first when something does not go on; it names no path of the host."""
    settings = context.settings
    counts = context.check_readable()
    home = settings.home
    disk = shutil.disk_usage(
        next(each for each in (home, *home.absolute().parents) if each.exists())
    )
    storage = settings.artifacts_url
    return ServiceStatus(
        version=__version__,
        versions={
            "ONNX Runtime": runtime_version(),
            "FastAPI": fastapi.__version__,
            "Python": platform.python_version(),
        },
        workers=context.locks.held(),
        jobs=counts,
        oldest_queued_seconds=context.queue.records.oldest_queued_seconds(),
        models=len(context.models.bundles.manifests()),
        models_in_memory=context.models.count(),
        memory_bytes=context.models.memory_bytes(),
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
        devices=devices(),
        storage="a folder" if storage is None else storage.partition("://")[0],
        database="SQLite" if settings.database.startswith("sqlite") else "Postgres",
        warnings=[] if settings.exposure is None else [settings.exposure],
    )
