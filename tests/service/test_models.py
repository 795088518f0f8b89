"""Models in memory: which one a name means, and that one that loads keeps no other waiting."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from rich.console import Console

import isslim.service.serving.registry
from isslim.client.show import models_table
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.folders import OpenBundle
from isslim.store.integrity import MANIFEST
from isslim.types.schemas.models import ModelSummary
from tests.conftest import Published
from tests.service.copies import publish_as
from tests.service.test_routes import problem

WAIT_SECONDS = 30


@pytest.fixture
def two(published: Published, tmp_path: Path) -> Iterator[tuple[TestClient, str, str]]:
    """A service that runs one inference at a time, with the models `slow` and `other`."""
    slow, other = (publish_as(name, published, tmp_path) for name in ("slow", "other"))
    with TestClient(create_app(ServiceSettings(home=tmp_path, runs_at_once=1))) as client:
        yield client, slow, other


def ask(client: TestClient, model: str) -> int:
    return client.post("/score", json={"model": model, "texts": ["the cat"]}).status_code


@pytest.mark.parametrize("part", ["bundle", "session"])
def test_model_that_loads_slowly_keeps_no_other_from_answering(
    part: str, two: tuple[TestClient, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, slow, _ = two
    reached, go = threading.Event(), threading.Event()

    class Held(LoadedLanguageModel):
        """Really loads, once it may."""

        def __init__(self, bundle: OpenBundle) -> None:
            self._hold(bundle.id == slow and part == "bundle")
            super().__init__(bundle)

        def session(self, variant: str, device: str = "cpu", threads: int = 1):  # type: ignore[no-untyped-def]
            self._hold(self.id == slow and part == "session")
            return super().session(variant, device, threads)

        def _hold(self, held: bool) -> None:
            if held and not go.is_set():
                reached.set()
                assert go.wait(WAIT_SECONDS)

    monkeypatch.setattr(isslim.service.serving.registry, "load", Held)
    with ThreadPoolExecutor(9) as threads:
        waiting = [
            threads.submit(ask, client, name) for name in ("slow", slow) * 4
        ]  # more than there are threads to load
        try:
            assert reached.wait(WAIT_SECONDS)
            assert threads.submit(ask, client, "other").result(timeout=WAIT_SECONDS / 2) == 200
            assert not any(each.done() for each in waiting)
        finally:
            go.set()
        assert [each.result(timeout=WAIT_SECONDS) for each in waiting] == [200] * 8
    assert client.app.state.context.models.count() == 2  # type: ignore[attr-defined]


def test_id_comes_before_a_name_that_equals_it(published: Published, tmp_path: Path) -> None:
    first = publish_as("first", published, tmp_path)
    named_after_it = publish_as(first, published, tmp_path)
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        answer = client.post("/score", json={"model": first, "texts": ["the cat"]}).json()
        assert (answer["model_id"], answer["model"]) == (first, "first")
        assert client.delete(f"/models/{first}").status_code == 204
        assert client.get(f"/models/{first}").json()["id"] == named_after_it


def test_waits_are_counted_by_model_variant_and_device(two: tuple[TestClient, str, str]) -> None:
    client, _, other = two
    body = {"model": "other", "texts": ["the cat"], "variants": ["original", "compressed"]}
    assert client.post("/score", json=body).status_code == 200
    assert client.post("/score", json=body | {"model": "nope"}).status_code == 404
    assert client.post("/score", json=body | {"device": "abacus"}).status_code == 422
    counts = [
        line
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("isslim_inference_queue_seconds_count")
    ]
    expected = [
        f'device="cpu",model="other",model_id="{other}",protocol="isslim",variant="original"',
        f'device="cpu",model="other",model_id="{other}",protocol="isslim",variant="compressed"',
        'device="",model="",model_id="",protocol="isslim",variant=""',
        f'device="",model="other",model_id="{other}",protocol="isslim",variant=""',
    ]
    assert sorted(counts) == sorted(
        f"isslim_inference_queue_seconds_count{{{labels}}} 1.0" for labels in expected
    )


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_models_are_listed_with_what_is_wrong_and_can_be_deleted(
    two: tuple[TestClient, str, str], tmp_path: Path
) -> None:
    client, slow, other = two
    bundles = tmp_path / "artifacts" / "bundles"
    assert [model["issues"] for model in client.get("/models").json()] == [[], []]
    change_a_byte(bundles / slow / "original.onnx")
    (bundles / other / MANIFEST).write_text("{}")
    (bundles / "not-a-bundle").mkdir()
    (bundles / "not-a-bundle" / MANIFEST).write_text("{}")
    found = {model["id"]: model for model in client.get("/models").json()}
    assert found.keys() == {slow, other}
    assert found[slow]["issues"] == ["original.onnx has another SHA-256"]
    assert found[other]["issues"] == ["manifest.json is not the one that the id names"]
    assert (found[slow]["name"], found[other]["name"]) == ("slow", other)
    told = io.StringIO()
    Console(file=told, width=140).print(
        models_table([ModelSummary.model_validate(each) for each in found.values()])
    )
    assert "damaged: original.onnx has another SHA-256" in told.getvalue()
    for model in ("slow", other):
        problem(client.get(f"/models/{model}"), 409, "corrupt-bundle")
        problem(
            client.post("/score", json={"model": model, "texts": ["the cat"]}),
            409,
            "corrupt-bundle",
        )
        assert client.delete(f"/models/{model}").status_code == 204
    assert client.get("/models").json() == []
    assert not (bundles / slow).exists()


def test_repaired_model_answers_again(two: tuple[TestClient, str, str], tmp_path: Path) -> None:
    client, slow, _ = two
    graph = tmp_path / "artifacts" / "bundles" / slow / "original.onnx"
    for expected in (409, 200):
        change_a_byte(graph)
        assert [ask(client, "slow") for _ in range(2)] == [expected] * 2


def test_files_that_change_between_two_requests_are_noticed_within_a_moment(
    two: tuple[TestClient, str, str], tmp_path: Path
) -> None:
    client, slow, _ = two
    assert ask(client, "slow") == 200
    change_a_byte(tmp_path / "artifacts" / "bundles" / slow / "original.onnx")
    time.sleep(isslim.service.serving.registry.LOOK_SECONDS)
    assert ask(client, "slow") == 409
