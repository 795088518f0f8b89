"""The figures of card and terminal come from the API's JSON alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console

from isslim.client.show import comparison_table
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.types.manifest import Manifest
from isslim.types.schemas.figures import manifest_view
from isslim.types.schemas.models import ModelDetail
from tests.conftest import Published

Json = dict[str, Any]


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as made:
        yield made


@pytest.fixture(scope="module")
def detail(client: TestClient) -> Json:
    found: Json = client.get("/models/tiny").json()["manifest"]
    return found


@pytest.fixture(scope="module")
def manifest(published: Published) -> Manifest:
    return BundleStore(published.settings).open(published.bundle_id).manifest


def row_of(card: str, variant: str) -> list[str]:
    """The cells of a variant's row in the card's table of variants."""
    (line,) = re.findall(rf"^\| `{variant}` \|.*$", card, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rows_of_the_card_are_written_from_the_answer(client: TestClient, detail: Json) -> None:
    card = client.get("/models/tiny/card").text
    for variant in detail["variants"]:
        quality, is_original = variant["quality"], variant["name"] == "original"
        interval = (
            ""
            if is_original
            else f"{quality['low']:+.2%} to {quality['high']:+.2%}, {quality['count']:,} "
            f"{quality['unit']}"
        )
        speed = (
            f"{variant['speedup']:.2f}x ({variant['speedup_low']:.2f} to "
            f"{variant['speedup_high']:.2f})"
            if variant["speedup"] is not None
            else "not steady"
        )
        row = row_of(card, variant["name"])
        assert row[1] == f"{variant['parameters']:,}"
        assert row[2] == f"{variant['size_bytes'] / 1e6:.2f} MB"
        assert row[3] == f"{quality['value']:.2f}"
        assert is_original or row[4] == f"{quality['loss']:+.2%}"
        assert row[5] == interval
        assert row[-1] == speed


def test_figures_are_those_of_the_records(detail: Json, manifest: Manifest) -> None:
    first = manifest.variants[0]
    for shown, record in zip(detail["variants"], manifest.variants, strict=True):
        assert shown["parameters"] == sum(part.parameters for part in record.parts)
        assert shown["mult_adds"] == sum(part.mult_adds for part in record.parts)
        assert shown["size_ratio"] == record.size_bytes / first.size_bytes
        assert shown["quality"]["metric"] == "perplexity"
        assert shown["quality"]["count"] > 100
    labels = {axis["name"]: axis["label"] for axis in detail["axes"]}
    assert labels["units:lstm0"] == "LSTM layer 1"
    assert labels["units:lstm1"] == "LSTM layer 2"


def test_list_has_the_same_figures(client: TestClient, detail: Json) -> None:
    (listed,) = client.get("/models").json()
    assert listed["variants"] == detail["variants"]


def test_terminal_shows_the_same_from_the_answer_as_from_the_bundle(
    client: TestClient, manifest: Manifest
) -> None:
    read = ModelDetail.model_validate_json(client.get("/models/tiny").content).manifest
    texts = []
    for each in (read, manifest):
        console = Console(file=io.StringIO(), width=140, record=True)
        console.print(comparison_table(each))
        texts.append(console.export_text())
    assert texts[0] == texts[1]


def test_what_is_not_known_is_null_and_not_a_number(manifest: Manifest) -> None:
    unknown = manifest.model_copy(
        update={
            "provenance": manifest.provenance.model_copy(update={"not_evaluated": "few runs"}),
            "variants": [
                each.model_copy(
                    update={
                        "latency": [
                            record.model_copy(update={"steady": False}) for record in each.latency
                        ]
                    }
                )
                for each in manifest.variants
            ],
        }
    )
    first, *others = manifest_view(unknown).variants
    assert first.quality is not None
    assert [each.quality for each in others] == [None] * len(others)
    assert all(each.speedup is each.speedup_low is each.speedup_high is None for each in others)
