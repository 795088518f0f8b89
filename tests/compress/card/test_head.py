"""The head of a card as the Hugging Face Hub's own library reads it, whatever names are in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from pydantic import ValidationError

from isslim.card.head import head, number, quoted, without_head
from isslim.store.bundles import BundleStore
from isslim.types.manifest import Manifest
from isslim.types.recipe import Recipe
from tests.conftest import Published

HOSTILE = [
    'a "quoted" name: with - signs',
    "ends\n---\nlicense: stolen",
    "back\\slash \\n \\u0041",
    "#comment, {flow: [1]}, *alias, !tag, %directive, `tick`",
    "\x00\x07\x1b\x7f\x85\u2028\ufeff\ud800",
    "żółw 亀 🐢 \U000e0041",
    "",
    "yes",
]


@pytest.fixture(scope="module")
def manifest(published: Published) -> Manifest:
    return BundleStore(published.settings).open(published.bundle_id).manifest


def loaded(text: str, folder: Path) -> ModelCard:
    """A card with this head, as the Hub's library loads it from a file."""
    path = folder / "README.md"
    path.write_text(f"{text}\n\n# A title\n", encoding="utf-8")
    return ModelCard.load(path)


def with_texts(manifest: Manifest, text: str) -> Manifest:
    origin = manifest.provenance.model_copy(update={"held_out": text})
    return manifest.model_copy(update={"name": text, "provenance": origin})


def test_the_hub_reads_kind_tags_and_a_metric_of_each_variant(
    published: Published, manifest: Manifest
) -> None:
    card = ModelCard.load(
        BundleStore(published.settings).open(published.bundle_id).path("README.md")
    )
    data: Any = card.data
    assert data.library_name == "onnx"
    assert data.pipeline_tag == "text-generation"
    assert data.tags == ["isslim", "lstm", "structured-pruning", "onnx", "int8"]
    assert data.model_name == "tiny"
    assert [(each.metric_type, each.metric_name) for each in data.eval_results] == [
        ("perplexity", f"perplexity of {variant.name}") for variant in manifest.variants
    ]
    values = [each.metric_value for each in data.eval_results]
    assert values == [variant.metrics["perplexity"] for variant in manifest.variants]
    assert {each.dataset_name for each in data.eval_results} == {manifest.provenance.held_out}
    assert (data.license, data.base_model) == (None, None)
    assert card.text.lstrip().startswith("# tiny\n\n**")


def test_licence_and_base_model_are_those_of_the_recipe(manifest: Manifest, tmp_path: Path) -> None:
    recipe = manifest.recipe.model_copy(update={"license": "no", "base_model": "user/1.0"})
    data: Any = loaded(head(manifest.model_copy(update={"recipe": recipe})), tmp_path).data
    assert (data.license, data.base_model) == ("no", "user/1.0")
    assert data.to_dict()["base_model_relation"] == "quantized"


@pytest.mark.parametrize("name", ["user/żółw", "żółw", "user/", "a/b/c", "-a", "a" * 97])
def test_names_that_the_hub_cannot_have_are_refused(name: str) -> None:
    assert Recipe(name="x", base_model="user/model_1.0-b").base_model
    with pytest.raises(ValidationError, match="base_model"):
        Recipe(name="x", base_model=name)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_breaks_the_head(text: str, manifest: Manifest, tmp_path: Path) -> None:
    written = head(with_texts(manifest, text))
    assert all(line.isprintable() for line in written.split("\n"))
    data: Any = loaded(written, tmp_path).data
    assert data.license is None
    assert {each.dataset_name for each in data.eval_results} == {text}
    plain = yaml.safe_load(written.removeprefix("---\n").removesuffix("---"))
    assert plain["model-index"][0]["name"] == text
    assert yaml.safe_load(f"key: {quoted(text)}") == {"key": text}


@pytest.mark.parametrize("value", [1e-05, 1.5e-05, 1e22, 33.4, 0.0, -2.0, 5e-324])
def test_numbers_are_numbers(value: float) -> None:
    assert yaml.safe_load(number(value)) == value


def test_metrics_that_are_not_known_are_left_out(manifest: Manifest, tmp_path: Path) -> None:
    unknown = manifest.provenance.model_copy(update={"not_evaluated": "one run was sent"})
    data: Any = loaded(head(manifest.model_copy(update={"provenance": unknown})), tmp_path).data
    assert data.eval_results is None
    original, *others = manifest.variants
    broken = original.model_copy(update={"metrics": {"perplexity": float("nan")}})
    data = loaded(head(manifest.model_copy(update={"variants": [broken, *others]})), tmp_path).data
    assert len(data.eval_results) == len(others)


def test_a_terminal_shows_the_card_without_its_head(manifest: Manifest) -> None:
    card = f"{head(manifest)}\n\n# tiny\n\n---\n\nmore"
    assert without_head(card) == "# tiny\n\n---\n\nmore"
    assert without_head("# of an earlier release\n\n---\n") == "# of an earlier release\n\n---\n"
