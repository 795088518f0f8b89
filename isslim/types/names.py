"""Names that service and workers must agree on: a workflow with an unknown name would never run."""

from __future__ import annotations

WORKFLOW = "compress"
QUEUE = "compress"
INSPECTION_WORKFLOW = "inspect"
INSPECTION_QUEUE = "inspect"
"""A separate queue: inspections take seconds and must not wait behind jobs that take hours."""

APPLICATION_VERSION = "1"
"""Raised only when the order of the workflow's steps changes: a job in flight belongs to the
version it began with."""
