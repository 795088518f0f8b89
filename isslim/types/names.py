"""Names that service and workers must agree on: a workflow with an unknown name would never run."""

from __future__ import annotations

import re

WORKFLOW = "compress"
QUEUE = "compress"
INSPECTION_WORKFLOW = "inspect"
INSPECTION_QUEUE = "inspect"
"""A separate queue: inspections take seconds and must not wait behind jobs that take hours."""

APPLICATION_VERSION = "1"
"""Raised only when the order of the workflow's steps changes: a job in flight belongs to the
version it began with."""

CHECKPOINT_NOTE = "request.sha256"
"""File of a job's folder that says whose its checkpoints are; without it they count for nothing."""
CHECKPOINTS = ("learn", "finetune", "probes.json")
"""Files and folders that a search and its training leave there."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Of a model, and of an alias."""
_MODEL_ID = re.compile(r"[0-9a-f]{16}")
ALIAS = rf"^(?!{_MODEL_ID.pattern}$){NAME.removeprefix('^')}"
"""Of an alias, which has no form of a model's id, in one expression for documents."""


def is_model_id(name: str) -> bool:
    """Whether a name has the form of a model's id, as no alias may."""
    return _MODEL_ID.fullmatch(name) is not None
