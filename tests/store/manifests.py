"""The least manifest that there can be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from isslim.types.manifest import FileRecord, Manifest
from isslim.types.provenance import Provenance
from isslim.types.recipe import Recipe


def manifest_of(files: Sequence[FileRecord] = ()) -> Manifest:
    """A manifest of a model without variants, and of these files."""
    provenance = Provenance(
        upload_sha256="0" * 64,
        layout="l",
        calibration="c",
        held_out="h",
        versions={},
        machine="m",
        seconds={},
    )
    return Manifest(
        task="language-model",
        metric="perplexity",
        name="m",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        architecture="lstm-language-model",
        recipe=Recipe(),
        axes=[],
        variants=[],
        checks=[],
        provenance=provenance,
        files=list(files),
    )
