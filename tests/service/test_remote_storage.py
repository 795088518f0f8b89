"""The service while the storage of its models refuses or is slow."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import obstore
import pytest
from fastapi.testclient import TestClient
from obstore.store import ObjectStore, S3Store, from_url

from benchmarks.cluster.object_storage import BUCKET, ObjectStorage
from benchmarks.cluster.proxy import Proxy
from isslim.demo.ports import free_port
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.store.listing import LISTING_SECONDS, PATIENCE_SECONDS
from isslim.store.settings import StoreSettings
from tests.conftest import Published

MODEL = {"model": ("m.pt", b"weights"), "vocabulary": ("w.txt", b"a\nb\n")}


def test_storage_that_refuses_is_503_at_every_address_and_never_500(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    settings = ServiceSettings(home=tmp_path, artifacts_url="s3://b/p", storage_seconds=0.2)
    text = {"model": "0" * 16, "texts": ["the cat"]}
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        answers = {
            "ready": client.get("/health/ready"),
            "v2 ready": client.get("/v2/health/ready"),
            "score by id": client.post("/score", json=text),
            "score by name": client.post("/score", json={**text, "model": "mine"}),
            "models": client.get("/models"),
            "v1 models": client.get("/v1/models"),
            "manifest": client.get(f"/models/{'0' * 16}"),
            "file": client.get(f"/models/{'0' * 16}/files/README.md"),
            "delete": client.delete(f"/models/{'0' * 16}"),
            "completions": client.post("/v1/completions", json={"model": "mine", "prompt": "a"}),
            "compress": client.post("/compress", files=MODEL, data={"options": "{}"}),
        }
        assert {name: each.status_code for name, each in answers.items()} == dict.fromkeys(
            answers, 503
        )
        for name, each in answers.items():
            assert int(each.headers["retry-after"]) > 0, name
            assert "127.0.0.1" not in each.text
        assert client.get("/jobs").json() == []  # nothing was queued without its files
        assert [each for each in (tmp_path / "arriving").glob("*") if each.is_file()] == []


def _bucket(bucket: str) -> ObjectStore:
    return from_url(f"s3://{bucket}", client_options={"allow_http": True})


def _remove(store: ObjectStore) -> None:
    """Removes a bucket with all that is in it."""
    assert isinstance(store, S3Store)
    obstore.delete(store, [each["path"] for each in obstore.list(store).collect()])
    signed = obstore.sign(store, "DELETE", "", expires_in=timedelta(minutes=1))
    assert httpx.delete(signed).status_code == 204


@pytest.mark.parametrize("kind", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_storage_that_was_removed_whole_is_503_and_no_model_is_said_to_be_deleted(
    kind: str, published: Published, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bucket = f"b{uuid4().hex}"
    if kind == "bucket":
        request.getfixturevalue("object_storage")
        url = f"s3://{bucket}/x"
        obstore.put(_bucket(bucket), "made", b"yes")  # this server makes one of its name
    else:
        (tmp_path / "artifacts").mkdir()
        url = (tmp_path / "artifacts").as_uri()
    before = StoreSettings(home=tmp_path / "other", artifacts_url=url)
    BundleStore(before).publish(BundleStore(published.settings).open(published.bundle_id).folder)
    settings = ServiceSettings(home=tmp_path / "home", artifacts_url=url, storage_seconds=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert client.get(f"/models/{published.bundle_id}").status_code == 200
        assert client.put("/aliases/prod", json={"model": "tiny"}).status_code == 200
        if kind == "bucket":
            _remove(_bucket(bucket))
        else:
            shutil.rmtree(tmp_path / "artifacts")
        time.sleep(LISTING_SECONDS)
        client.get("/models")  # which begins a new listing
        time.sleep(LISTING_SECONDS)
        model, gone = published.bundle_id, "0" * 16
        text = {"texts": ["the cat"], "variants": ["compressed"]}
        answers = {
            "ready": client.get("/health/ready"),
            "by an alias": client.get("/models/prod"),
            "no such id": client.get(f"/models/{gone}"),
            "no such name": client.get("/models/nobody"),
            "file": client.get(f"/models/{gone}/files/README.md"),
            "score no such id": client.post("/score", json={"model": gone, **text}),
            "score no such name": client.post("/score", json={"model": "nobody", **text}),
            "completions": client.post("/v1/completions", json={"model": gone, "prompt": "a"}),
            "promote": client.put("/aliases/next", json={"model": gone}),
            "promote an alias": client.put("/aliases/next", json={"model": "prod"}),
            "delete": client.delete(f"/models/{gone}"),
        }
        assert {name: each.status_code for name, each in answers.items()} == dict.fromkeys(
            answers, 503
        )
        kinds = {each.json().get("type") for name, each in answers.items() if name != "completions"}
        assert kinds == {"storage-unavailable"}
        # A copy is served while the storage is away: it is what was there last.
        assert client.post("/score", json={"model": model, **text}).status_code == 200
    if kind == "folder":
        return  # no process starts without it
    shutil.rmtree(settings.cache)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        for name in (published.bundle_id, "prod", "tiny"):
            answer = client.post("/score", json={"model": name, **text})
            assert (answer.status_code, answer.json()["type"]) == (503, "storage-unavailable")


@pytest.mark.slow
def test_models_in_memory_answer_while_the_storage_is_gone(
    published: Published,
    object_storage: ObjectStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"s3://{BUCKET}/{uuid4().hex}"
    BundleStore(StoreSettings(home=tmp_path, artifacts_url=url)).publish(
        BundleStore(published.settings).open(published.bundle_id).folder
    )
    with Proxy(object_storage.port) as proxy:
        for name, value in object_storage.variables(proxy.port).items():
            monkeypatch.setenv(name, value)
        settings = ServiceSettings(home=tmp_path / "home", artifacts_url=url, storage_seconds=1)
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:

            def score(model: str) -> int:
                body = {"model": model, "texts": ["the cat"], "variants": ["compressed"]}
                return client.post("/score", json=body).status_code

            assert score(published.bundle_id) == score("tiny") == 200
            for trouble in (proxy.refuse, lambda: setattr(proxy, "delay", 30.0)):
                trouble()
                time.sleep(3 * LISTING_SECONDS)
                for _ in range(3):
                    began = time.monotonic()
                    assert score(published.bundle_id) == score("tiny") == 200
                    assert time.monotonic() - began < 4 * PATIENCE_SECONDS
                    time.sleep(LISTING_SECONDS)
                limit = time.monotonic() + 20
                while score("nobody") != 503:
                    assert time.monotonic() < limit
                proxy.accept()
            proxy.delay = 0.0
            assert client.get("/health/ready").status_code == 200
