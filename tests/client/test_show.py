"""Tables of the terminal whose figures have a direction."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console
from rich.table import Table

from isslim.client.show import curve_table, front_table
from isslim.types.jobs import CompressionRequest, FrontPoint, Job, JobState, Sweep, UploadRef
from isslim.types.manifest import CurvePoint
from isslim.types.recipe import Recipe


def shown(table: Table) -> str:
    terminal = Console(width=200, record=True, file=io.StringIO())
    terminal.print(table)
    return terminal.export_text()


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
    now = datetime(2026, 1, 1, tzinfo=UTC)
    model = UploadRef(sha256="0" * 64, size_bytes=1, filename="model.pt")
    job = Job(
        id="1", state=JobState.FAILED, name="one", created_at=now, updated_at=now, curve=[point],
        request=CompressionRequest(model=model, recipe=Recipe(name="one")),
    )  # fmt: skip
    assert words in shown(curve_table(job))
    front = FrontPoint(job_id="1", model_id=None, parameters=10, mult_adds=10, loss=loss)
    sweep = Sweep(
        id="2",
        name="some",
        created_at=now,
        state=JobState.SUCCEEDED,
        progress=1.0,
        jobs=[job],
        front=[front],
    )
    assert words in shown(front_table(sweep))
