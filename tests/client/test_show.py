"""Tables of the terminal whose figures have a direction."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from isslim.client.show import curve_table, front_table, jobs_table, prospect
from isslim.types.jobs import CompressionRequest, FrontPoint, Job, JobState, Sweep, UploadRef
from isslim.types.manifest import CurvePoint
from isslim.types.recipe import Recipe

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def shown(table: Table) -> str:
    terminal = Console(width=200, record=True, file=io.StringIO())
    terminal.print(table)
    return terminal.export_text()


def job_in(state: JobState, **values: Any) -> Job:
    model = UploadRef(sha256="0" * 64, size_bytes=1, filename="model.pt")
    request = CompressionRequest(model=model, recipe=Recipe(name="one"))
    return Job(
        id="1", state=state, name="one", created_at=NOW, updated_at=NOW, request=request, **values
    )


@pytest.mark.parametrize(
    ("loss", "words"), [(0.58, "0.58 worse"), (-0.58, "0.58 better"), (0.0421, "0.0421 worse")]
)
def test_what_was_tried_is_told_as_better_or_worse(loss: float, words: str) -> None:
    point = CurvePoint(
        sizes={},
        removed_share=0.4,
        parameters=10,
        mult_adds=10,
        value=70.0,
        loss=loss,
        within_budget=False,
    )
    job = job_in(JobState.FAILED, curve=[point])
    assert words in shown(curve_table(job))
    front = FrontPoint(job_id="1", model_id=None, parameters=10, mult_adds=10, loss=loss)
    sweep = Sweep(
        id="2",
        name="some",
        created_at=NOW,
        state=JobState.SUCCEEDED,
        progress=1.0,
        jobs=[job],
        front=[front],
    )
    assert words in shown(front_table(sweep))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"queue_position": 3}, "number 3 in the queue"),
        ({"seconds_left": 0.2}, "about 1 s left"),
        ({"seconds_left": 71.4}, "about 71 s left"),
        ({"seconds_left": 200.0}, "about 3 min left"),
        ({"seconds_left": 7300.0}, "about 2 h 2 min left"),
        ({}, ""),
    ],
)
def test_place_in_the_queue_and_time_left_are_told(values: dict[str, Any], words: str) -> None:
    state = JobState.QUEUED if "queue_position" in values else JobState.RUNNING
    job = job_in(state, message="busy", **values)
    assert prospect(job) == words
    assert (f"{words}; busy" if words else "busy") in shown(jobs_table([job]))
