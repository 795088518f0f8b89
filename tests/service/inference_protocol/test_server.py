"""Health, repository and statistics of the protocol."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from isslim import __version__
from isslim.service.context import AppContext
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.inference_protocol.asking import binary
from tests.service.inference_protocol.test_language import VARIANTS, feed, model
from tests.service.test_error_shapes import inference_error

__all__ = ["model"]


@pytest.fixture
def client(published: Published) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(home=published.settings.home))
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def context_of(client: TestClient) -> AppContext:
    found: AppContext = client.app.state.context  # type: ignore[attr-defined]
    return found


def test_health_has_the_keys_that_clients_read(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True, "live": True}
    found = client.get("/v2").json()
    assert (found["name"], found["version"]) == ("isslim", __version__)
    assert {"model_repository", "binary_tensor_data"} <= set(found["extensions"])


def test_a_server_whose_storage_is_gone_is_not_ready(tmp_path: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        assert client.get("/v2/health/ready").status_code == 200
        storage = tmp_path / "artifacts"
        storage.rename(tmp_path / "away")
        answer = client.get("/v2/health/ready")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert "cannot be read: its folder: No such file" in answer.json()["error"]
        assert str(tmp_path) not in answer.json()["error"]
        assert client.get("/v2/health/live").status_code == 200


def test_a_port_for_grpc_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ValidationError, match=r"pip install 'isslim\[grpc\]'"):
        ServiceSettings(grpc_port=5001)
    assert ServiceSettings().grpc_port is None


def test_models_are_ready_and_configured(client: TestClient) -> None:
    for path in ("tiny", "tiny:original", "tiny%3Aoriginal", "tiny/versions/compressed"):
        name = path.split("/")[0].replace("%3A", ":").split(":")[0]
        assert client.get(f"/v2/models/{path}/ready").json() == {"name": name, "ready": True}
        found = client.get(f"/v2/models/{path}/config").json()
        assert found == {"name": name, "platform": "onnxruntime_onnx", "max_batch_size": 0}
    for path in ("nope", "tiny:nope", "tiny/versions/nope"):
        for what in ("ready", "config", "stats", ""):
            inference_error(client.get(f"/v2/models/{path}/{what}".rstrip("/")), 404)


def test_statistics_come_from_the_counters(client: TestClient, model: Any) -> None:
    assert client.get("/v2/models/stats").json() == {"model_stats": []}
    before = client.get("/v2/models/tiny/stats").json()["model_stats"]
    assert [each["version"] for each in before] == VARIANTS
    assert all(each["inference_count"] == 0 for each in before)
    for _ in range(3):
        client.post("/v2/models/tiny/versions/compressed/infer", **binary(feed(model)))
    client.post("/score", json={"model": "tiny", "texts": ["a"], "variants": ["compressed"]})
    (found,) = client.get("/v2/models/tiny/versions/compressed/stats").json()["model_stats"]
    assert found["inference_count"] == found["execution_count"] == 4
    stats = found["inference_stats"]
    assert stats["queue"]["count"] == stats["compute_infer"]["count"] == 4
    assert 0 < stats["compute_infer"]["ns"] < stats["success"]["ns"]
    (whole,) = client.get("/v2/models/stats").json()["model_stats"]
    assert whole == {**found, "name": model.id}


def test_models_are_loaded_and_unloaded(client: TestClient, model: Any) -> None:
    context = context_of(client)
    assert context.models.count() == 0
    answer = client.post("/v2/repository/models/tiny/load", json={})
    assert answer.json() == {"name": "tiny", "load": True}
    assert context.models.count() == 1
    sizes = {each.name: each.size_bytes for each in model.manifest.variants}
    assert context.models.memory_bytes() == sizes["compressed-int8"]
    client.post("/v2/repository/models/tiny:original/load")
    assert context.models.memory_bytes() == sizes["compressed-int8"] + sizes["original"]
    body = {"parameters": {"unload_dependents": False}}
    answer = client.post("/v2/repository/models/tiny/unload", json=body)
    assert answer.json() == {"name": "tiny", "unload": True}
    assert context.models.count() == 0
    infer = "/v2/models/tiny:original/infer"
    assert client.post(infer, **binary(feed(model, "original"))).status_code == 200
    for what in ("load", "unload"):
        inference_error(client.post(f"/v2/repository/models/nope/{what}"), 404)


def test_the_index_names_damaged_models(published: Published, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    with TestClient(create_app(ServiceSettings(home=home))) as client:
        whole = client.post("/v2/repository/index").json()
        assert whole == [
            {"name": "tiny", "version": variant, "state": "READY", "reason": ""}
            for variant in VARIANTS
        ]
        (graph,) = home.rglob("bundles/*/compressed.onnx")
        graph.write_bytes(graph.read_bytes()[:-10])
        damaged = client.post("/v2/repository/index", json={}).json()
        assert {each["state"] for each in damaged} == {"UNAVAILABLE"}
        assert "compressed.onnx" in damaged[0]["reason"]
        assert client.post("/v2/repository/index", json={"ready": True}).json() == []
        inference_error(client.get("/v2/models/tiny/ready"), 409)
    inference_error(client.post("/v2/repository/index", content=b"{"), 400)


def test_what_cannot_be_run_in_time_is_told_to_come_again(published: Published, model: Any) -> None:
    settings = ServiceSettings(home=published.settings.home, run_seconds=1e-6)
    with TestClient(create_app(settings)) as client:
        answer = client.post("/v2/models/tiny/infer", **binary(feed(model, "compressed-int8")))
        assert "try again" in inference_error(answer, 503)
        assert answer.headers["retry-after"] == "1"


def test_unknown_paths_and_methods_have_the_shape(client: TestClient) -> None:
    inference_error(client.get("/v2/nope"), 404)
    wrong = client.get("/v2/models/tiny/infer")
    inference_error(wrong, 405)
    assert wrong.headers["allow"] == "POST"
