"""A bundle of format 2, as the release that wrote it left it: read, listed and served.

`tests/store/bundle-2` was written by that release; its two plots were left out. Its graphs call
the input `positions` by the name `places`, and its JSON has fields that were renamed since.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.integrity import MANIFEST

WRITTEN = Path(__file__).parents[1] / "store" / "bundle-2"
BUNDLE_ID = hashlib.sha256((WRITTEN / MANIFEST).read_bytes()).hexdigest()[:16]
SCORES = {
    "original": (-16.097453, -6.719730),
    "compressed": (-16.113083, -6.729355),
    "compressed-int8": (-16.110212, -6.727228),
}
"""Log-probabilities of `IDS` by the runtime of that release."""
IDS = [[3, 4, 5, 6, 2], [7, 8]]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    shutil.copytree(WRITTEN, tmp_path / "artifacts" / "bundles" / BUNDLE_ID)
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as made:
        yield made


def test_it_is_listed_without_issues(client: TestClient) -> None:
    (found,) = client.get("/models").json()
    assert (found["id"], found["issues"], found["not_evaluated"]) == (BUNDLE_ID, [], None)


def test_its_graphs_answer_as_they_did(client: TestClient) -> None:
    asked = {"model": "tiny", "token_ids": IDS, "variants": list(SCORES)}
    body = client.post("/score", json=asked | {"per_token": True, "top_k": 2}).json()
    for variant in body["variants"]:
        found = [text["log_prob"] for text in variant["texts"]]
        assert found == pytest.approx(SCORES[variant["variant"]], abs=2e-3)
        for token in variant["texts"][0]["tokens"]:
            assert token["top"][0]["log_prob"] >= token["log_prob"]
            assert len(token["top"]) == 2


def test_its_json_is_answered_with_the_names_of_today(client: TestClient) -> None:
    manifest = client.get(f"/models/{BUNDLE_ID}").json()["manifest"]
    assert manifest["format_version"] == 2
    origin = manifest["provenance"]
    assert (origin["not_evaluated"], origin["evaluated_outputs"]) == (None, {})
    assert {"not_judged", "judged_by"}.isdisjoint(origin)
    marked = [
        (each["steps"], each["batch"])
        for each in manifest["variants"][0]["latency"]
        if each["primary"]
    ]
    assert marked == [(30, 1)]
    inspection = client.get("/models/tiny/report").json()["inspection"]
    assert inspection["calibrated_on"].startswith("uploaded text (1,500 of 2,573 tokens")
    assert inspection["evaluated_on"].startswith("uploaded text (1,289 tokens")
    assert "judged_on" not in inspection
