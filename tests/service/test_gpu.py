"""The service on a GPU answers as on the CPU, for every kind of model; run where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from isslim.runtime.opening import devices
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests import reader, tagger
from tests.compress.test_devices import NOT_FLAT
from tests.conftest import Published

pytestmark = [
    pytest.mark.skipif("cuda" not in devices(), reason="ONNX Runtime offers no GPU here"),
    pytest.mark.filterwarnings(f"ignore:{NOT_FLAT}"),
]


def numbers(value: Any) -> list[float]:
    """All fractions in a body, in order, but for its times."""
    if isinstance(value, dict):
        return [
            each
            for key, under in value.items()
            if key not in ("timing", "speedup")
            for each in numbers(under)
        ]
    if isinstance(value, list):
        return [each for under in value for each in numbers(under)]
    return [value] if isinstance(value, float) else []


def alike(client: TestClient, path: str, body: dict[str, Any]) -> None:
    found = []
    for device in ("cuda", "cpu"):
        response = client.post(
            path, json=body | {"device": device, "variants": ["original", "compressed"]}
        )
        assert response.status_code == 200, response.text
        assert response.json()["device"] == device
        found.append(numbers(response.json()["variants"]))
    assert len(found[0]) > 2
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
    unnamed = client.post(path, json=body | {"device": "cuda"}).json()["variants"]
    assert [each["variant"] for each in unnamed] == [
        "original",
        "compressed",
    ]  # nothing there in 8 bits


def compared(client: TestClient, model: str) -> None:
    response = client.get(f"/models/{model}/latency", params={"steps": 10, "batch": 2})
    assert response.status_code == 200, response.text
    for variant, records in response.json()["results"].items():
        assert [record["device"] for record in records] == ["cpu", "cuda"], variant
        assert all(record["median_ms"] > 0 for record in records)


def test_texts(published: Published) -> None:
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as client:
        texts = ["the cat sees the river", "a dog likes nothing\nno bird hears its shadow\n", "my"]
        alike(client, "/score", {"model": "tiny", "texts": texts, "per_token": True})
        compared(client, "tiny")


def test_questions(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("questions")
    reader.publish(home)
    with TestClient(create_app(ServiceSettings(home=home))) as client:
        pair = {
            "question": "who sat on the mat ?",
            "context": "the cat sat on the mat . a dog slept under a tree .",
        }
        alike(client, "/qa", {"model": "reader", **pair, "top_k": 3})
        compared(client, "reader")


def test_graphs(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("graphs")
    tagger.publish(home)
    with TestClient(create_app(ServiceSettings(home=home))) as client:
        alike(client, "/models/tagger/run", {"inputs": {"ids": [[3, 17], [5, 0], [39, 2]]}})
        compared(client, "tagger")
