"""Notes who changed what: a line in the log, and an entry in the database."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool

from isslim.service.access.caller import Caller
from isslim.service.request_id import request_id
from isslim.store.audit import AuditStore
from isslim.store.errors import Unavailable
from isslim.types.schemas.audit import AuditEntry

_LOG = logging.getLogger("service.audit")
MAX_PATH = 300
"""Characters of a path that are kept."""
LEFT = 499
"""Status of what has none: the task ended before there was an answer."""


class Trail:
    """Notes requests that change something.

    Args:
        store: of the entries.
    """

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def note(
        self, caller: Caller | None, method: str, path: str, status: int, subject: str | None = None
    ) -> None:
        """Notes a request that was answered.

        Of those who were not let in there is a line alone: they would fill the table.

        Args:
            caller: who asked; None: it was refused before that was known.
            method: of the request.
            path: of the request.
            status: of the answer.
            subject: what it made.
        """
        is_known = caller is not None and (caller.name is None or bool(caller.scopes))
        entry = AuditEntry(
            id=0,
            at=datetime.now(UTC),
            key=caller.name if caller is not None and is_known else None,
            remote=caller.remote[:64] if caller is not None else "",
            request_id=request_id() or "",
            method=method[:16],
            path=_plain(path),
            subject=subject and _plain(subject),
            status=status,
        )
        facts = entry.model_dump(mode="json", exclude={"id", "at", "request_id"})
        _LOG.info("audit", extra=facts)
        if is_known:
            try:
                await run_in_threadpool(self._store.add, entry)
            except Unavailable as fault:
                # It was answered, and the line above says the same.
                reason = " ".join(fault.reason.split())
                _LOG.error("this request is in the log alone, not in the audit trail: %s", reason)
            except Exception:
                _LOG.exception("this request is in the log alone, not in the audit trail")


def _plain(text: str) -> str:
    """A text that every database and log takes."""
    return text[:MAX_PATH].encode("unicode_escape").decode()[:MAX_PATH]
