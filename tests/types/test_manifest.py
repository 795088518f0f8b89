"""Recipes and manifests: what is refused, what stays readable, and which requests are one job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from isslim.store.queue import job_id_of
from isslim.types.jobs import CompressionRequest, UploadRef
from isslim.types.manifest import Manifest
from isslim.types.recipe import Budget, Recipe

WRITTEN = Path(__file__).with_name("manifest-2.json")
"""As the worker wrote it before kinds had descriptions of their own; two variants were left out."""


@pytest.mark.parametrize("seed", [-1, 2**63, 1e23])
def test_seed_that_no_generator_takes_is_refused(seed: float) -> None:
    with pytest.raises(ValidationError, match="seed"):
        Recipe.model_validate({"seed": seed})


def test_largest_seed_is_taken() -> None:
    assert Recipe(seed=2**63 - 1).seed == 9_223_372_036_854_775_807


def test_manifest_that_was_written_before_is_read() -> None:
    manifest = Manifest.model_validate_json(WRITTEN.read_bytes())
    assert (manifest.task, manifest.metric) == ("language-model", "perplexity")
    assert manifest.architecture == "lstm-language-model"
    assert manifest.recipe.budget == Budget(perplexity_rise=0.1)
    assert [variant.name for variant in manifest.variants] == ["original", "compressed-int8"]
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.mark.parametrize("field", ["task", "metric", "architecture"])
def test_manifest_does_not_guess_what_its_model_is(field: str) -> None:
    written = json.loads(WRITTEN.read_bytes())
    del written[field]
    with pytest.raises(ValidationError, match=field):
        Manifest.model_validate(written)


def reference(digit: str) -> UploadRef:
    return UploadRef(sha256=digit * 64, filename="file", size_bytes=1)


@pytest.mark.parametrize(
    ("job_id", "request_"),
    [
        ("c891ec71e415d9b312bb", CompressionRequest(model=reference("0"))),
        (
            "54048c04618b8dcff43c",
            CompressionRequest(
                model=reference("0"),
                vocabulary=reference("1"),
                recipe=Recipe(name="mine", budget=Budget(perplexity_rise=0.05, confident=True)),
            ),
        ),
        (
            "2d487eb2c3c21af040eb",
            CompressionRequest(
                model=reference("0"),
                calibration=reference("2"),
                recipe=Recipe(
                    budget=Budget(output_change=0.02), metric="argmax", outputs=["logits"]
                ),
            ),
        ),
    ],
)
def test_request_keeps_the_job_that_it_always_was(
    job_id: str, request_: CompressionRequest
) -> None:
    assert job_id_of(request_) == job_id
