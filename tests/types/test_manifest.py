"""Recipes and manifests: what is refused, what stays readable, and which requests are one job."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from isslim.store.queue import job_id_of
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest, UploadRef
from isslim.types.manifest import LatencyRecord, Manifest
from isslim.types.provenance import Provenance
from isslim.types.recipe import Budget, Recipe
from isslim.types.schemas.models import ModelSummary

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


def test_manifest_is_written_in_the_format_of_today() -> None:
    written = json.loads(WRITTEN.read_bytes())
    assert Manifest.model_validate(written).format_version == 2
    del written["format_version"]
    assert Manifest.model_validate(written).format_version == 3
    with pytest.raises(ValidationError, match="format_version"):
        Manifest.model_validate(written | {"format_version": 4})


def test_names_of_earlier_releases_are_read_and_not_written() -> None:
    written = json.loads(WRITTEN.read_bytes())
    latency = written["variants"][0]["latency"][0] | {"spoken": True}
    origin = written["provenance"] | {"not_judged": "one run", "judged_by": {"y": 2}}
    earlier = {"understood": True, "observed_on": "a", "judged_on": "b", "not_judged": "c"}
    summary = {"id": "0", "name": "m", "created_at": None, "task": None, "metric": None}
    read: list[tuple[BaseModel, dict[str, object]]] = [
        (LatencyRecord.model_validate(latency), {"primary": True}),
        (
            Provenance.model_validate(origin),
            {"not_evaluated": "one run", "evaluated_outputs": {"y": 2}},
        ),
        (
            Inspection.model_validate(earlier),
            {"calibrated_on": "a", "evaluated_on": "b", "not_evaluated": "c"},
        ),
        (
            ModelSummary.model_validate(summary | {"variants": [], "not_judged": "d"}),
            {"not_evaluated": "d"},
        ),
    ]
    for found, expected in read:
        dumped = found.model_dump(mode="json")
        assert dumped == dumped | expected
        assert not [name for name in dumped if re.search("judged|observed|spoken", name)]
        assert type(found).model_validate(dumped) == found
        assert type(found).model_json_schema()["properties"].keys() == dumped.keys()


def test_field_under_both_of_its_names_is_refused() -> None:
    with pytest.raises(ValidationError, match="judged_on"):
        Inspection.model_validate({"understood": True, "evaluated_on": "a", "judged_on": "b"})


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
        (
            "c891ec71e415d9b312bb",
            CompressionRequest(model=reference("0"), recipe=Recipe(minutes=0)),
        ),
        (
            "54048c04618b8dcff43c",
            CompressionRequest(
                model=reference("0"),
                vocabulary=reference("1"),
                recipe=Recipe(
                    name="mine", budget=Budget(perplexity_rise=0.05, confident=True), minutes=0
                ),
            ),
        ),
        (
            "2d487eb2c3c21af040eb",
            CompressionRequest(
                model=reference("0"),
                calibration=reference("2"),
                recipe=Recipe(
                    budget=Budget(output_change=0.02),
                    metric="argmax",
                    outputs=["logits"],
                    minutes=0,
                ),
            ),
        ),
    ],
)
def test_request_keeps_the_job_that_it_always_was(
    job_id: str, request_: CompressionRequest
) -> None:
    assert job_id_of(request_) == job_id


def test_request_that_says_nothing_of_minutes_is_not_the_closed_form_of_before() -> None:
    said = CompressionRequest(model=reference("0"), recipe=Recipe(minutes=0))
    assert job_id_of(CompressionRequest(model=reference("0"))) != job_id_of(said)


def test_former_name_of_an_option_is_read_and_not_written() -> None:
    recipe = Recipe.model_validate({"finetune_minutes": 2})
    assert recipe == Recipe(minutes=2)
    assert "finetune_minutes" not in recipe.model_dump()
    with pytest.raises(ValidationError, match="`finetune_minutes` is the former name of `minutes`"):
        Recipe.model_validate({"finetune_minutes": 2, "minutes": 1})


def test_form_of_the_upload_is_not_for_learners_that_size_every_layer() -> None:
    assert Recipe(form="same", mode="learn").form == "same"
    with pytest.raises(ValidationError, match="ask for the learner 'calibrated'"):
        Recipe(form="same", mode="learn", learner="group_lasso")
