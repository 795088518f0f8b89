"""`/audit`: who changed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from isslim.service.context import Context
from isslim.service.routing import checked_router
from isslim.types.schemas.audit import AuditEntry

router = checked_router(tag="audit")


@router.get("/audit", summary="Who changed what")
def list_audit(
    context: Context,
    limit: Annotated[
        int, Query(ge=1, le=1000, description="entries at most", examples=[100])
    ] = 100,
    before: Annotated[
        int | None,
        Query(
            ge=1,
            le=1 << 62,
            description="only entries with a smaller `id`; none: the newest",
            examples=[4711],
        ),
    ] = None,
) -> list[AuditEntry]:
    """Requests that changed something, or were to, the newest first.

    They are kept for a time and up to a number (`ISS_KEEP_AUDIT_DAYS`, `ISS_KEEP_AUDIT_ENTRIES`).
    Who was not let in at all is in the service's log alone.
    """
    return context.audit.newest(limit, before)
