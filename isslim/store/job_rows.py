"""Rows of jobs as values, whichever release wrote them.

A row of a later release may hold fields, states or kinds that this one does not know. It must not
take the others with it, so a list leaves out what is not known and says so; only who runs a job
reads its request to the letter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError

from isslim.store.attempts import CURVE, EPOCHS
from isslim.store.errors import AnotherRelease
from isslim.store.leniency import issues_of, read_leniently
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest, Job, JobState, UploadRef
from isslim.types.problem import Problem

_INSPECTION, _PROBLEM = TypeAdapter(Inspection), TypeAdapter(Problem)
_REQUEST = TypeAdapter(CompressionRequest)
_UNREADABLE = CompressionRequest(model=UploadRef(sha256="0" * 64, filename="?", size_bytes=0))
"""In place of a request of which nothing can be read."""
_HASH = re.compile(r'"sha256":\s*"([0-9a-f]{64})"')
KIND = "another-release"
"""Of the problem of a job that cannot be read here."""


def job_of(row: sa.Row[Any], *, whole: bool = True, position: int | None = None) -> Job:
    """The job of a row.

    Args:
        row: of the table.
        whole: with its log, inspection, points and epochs.
        position: its place among the jobs that wait; None: it does not wait.
    """
    request, issues = read_leniently(_REQUEST, row.request, _UNREADABLE)
    state = row.state if row.state in list(JobState) else JobState.FAILED
    if state != row.state:
        issues = [f"state: '{row.state}'", *issues]
    problem = read_leniently(_PROBLEM, row.problem, None)[0] if row.problem else None
    if issues and problem is None:
        problem = of_another_release(issues)
    return Job(
        id=row.id,
        state=JobState(state),
        name=request.recipe.name,
        created_at=row.created_at.replace(tzinfo=UTC),
        updated_at=row.updated_at.replace(tzinfo=UTC),
        stage=row.stage,
        progress=min(1.0, max(0.0, row.progress)),
        seconds_left=row.seconds_left if state == JobState.RUNNING else None,
        queue_position=position,
        message=row.message,
        log=json.loads(row.log) if whole else [],
        attempts=row.attempts,
        model_id=row.model_id,
        problem=problem,
        curve=read_leniently(CURVE, row.curve, [])[0],
        inspection=read_leniently(_INSPECTION, row.inspection, None)[0]
        if whole and row.inspection
        else None,
        points=read_leniently(CURVE, row.points, [])[0] if whole and row.points else [],
        epochs=read_leniently(EPOCHS, row.epochs, [])[0] if whole and row.epochs else [],
        request=request,
    )


def request_of(text: str) -> CompressionRequest:
    """A request, to the letter: what is not known here might change what is to be done.

    Args:
        text: JSON of a row.

    Raises:
        AnotherRelease: when there is anything that this release does not know.
    """
    try:
        return _REQUEST.validate_json(text)
    except ValidationError as error:
        raise AnotherRelease(issues_of(error)) from error


def hashes_in(requests: Iterable[str]) -> set[str]:
    """Hashes of the uploads that requests name, of whichever release they are.

    Args:
        requests: JSON of rows.
    """
    return {found for text in requests for found in _HASH.findall(text)}


def aliases_in(requests: Iterable[str]) -> set[str]:
    """The aliases that jobs are to move once they have succeeded, by requests of any release.

    Args:
        requests: JSON of rows.
    """
    named = (json.loads(text).get("recipe", {}).get("promote") for text in requests)
    return {each for each in named if isinstance(each, str)}


def of_another_release(issues: Sequence[str]) -> Problem:
    """The problem of a job that holds what this release does not know.

    Args:
        issues: what that is.
    """
    return Problem(
        kind=KIND,
        title="The job is of another release",
        detail="its record holds what this release does not know (`issues`): run a worker of the "
        "release that it was sent to, or send the request again",
        issues=list(issues)[:20],
    )
