"""Moments as the tables hold them: in UTC, without a zone."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present."""
    return datetime.now(UTC).replace(tzinfo=None)
