"""What the command line prints is whole, however narrow the terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from isslim.client import show
from isslim.store.bundles import BundleStore
from isslim.types.jobs import CompressionRequest, Job, JobState, UploadRef
from isslim.types.recipe import Recipe
from isslim.types.schemas.figures import variant_views
from isslim.types.schemas.models import ModelSummary
from tests.conftest import Published

VERDICT = (
    "published 9e0f95b09709d4a3: Worth pruning for size, not for speed: it is [not] much faster. "
    "compressed-int8 is 1.05x (1.03 to 1.07) as fast as int8 alone, for one text "
    "of 30 tokens on one thread. Its file is 0.8 MB. The end."
)


def job() -> Job:
    now = datetime.now(UTC)
    upload = UploadRef(sha256="0" * 64, filename="model.pt", size_bytes=1)
    return Job(
        id="1" * 32,
        state=JobState.SUCCEEDED,
        name="mine",
        created_at=now,
        updated_at=now,
        stage="publish",
        progress=1.0,
        message=VERDICT,
        model_id="9e0f95b09709d4a3",
        request=CompressionRequest(model=upload, recipe=Recipe()),
    )


def squeezed(text: str) -> str:
    return "".join(each for each in text if not each.isspace() and each not in "│┃")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_verdict_is_never_cut_off(width: int) -> None:
    terminal = Console(width=width, file=io.StringIO(), record=True)
    show.outcome(job(), terminal)
    assert squeezed(VERDICT) in squeezed(terminal.export_text())
    terminal.print(show.jobs_table([job()]))
    # Cells of a row stand side by side: the message is what the last column says.
    lines = [
        line.split("│")[-2] for line in terminal.export_text().splitlines() if line.startswith("│")
    ]
    assert squeezed(VERDICT) in squeezed("".join(lines))


def test_ids_and_names_of_variants_are_whole_in_80_columns(published: Published) -> None:
    manifest = BundleStore(published.settings).open(published.bundle_id).manifest
    listed = {
        "name": "mine",
        "id": "9e0f95b09709d4a3",
        "created_at": None,
        "issues": [],
        "task": manifest.task,
        "metric": manifest.metric,
        "variants": variant_views(manifest),
    }
    damaged = {**listed, "issues": ["original.onnx has another SHA-256"]}
    terminal = Console(width=80, file=io.StringIO(), record=True)
    terminal.print(
        show.models_table([ModelSummary.model_validate(each) for each in (listed, damaged)])
    )
    shown = terminal.export_text(clear=False)
    assert shown.count(" 9e0f95b09709d4a3 ") == 2
    terminal.print(show.comparison_table(manifest))
    shown += terminal.export_text()
    for variant in manifest.variants:
        assert shown.count(f" {variant.name} ") >= 2
        assert f" {variant.parameters:,} " in shown
    assert "…" not in shown
