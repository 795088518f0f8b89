"""The service over HTTP on a real bundle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.scoring import score_batch
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from tests.conftest import Published, Trained
from tests.service.copies import publish_as

TEXTS = ["the cat sees the river", "a dog likes nothing\nno bird hears its shadow\n", "my"]


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    with TestClient(
        create_app(ServiceSettings(home=published.settings.home, upload_limit_bytes=100_000))
    ) as made:
        yield made


def problem(response: object, status: int, kind: str) -> dict[str, object]:
    assert response.status_code == status, response.text  # type: ignore[attr-defined]
    assert response.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    body: dict[str, object] = response.json()  # type: ignore[attr-defined]
    assert (body["status"], body["type"]) == (status, kind)
    assert body["detail"]
    return body


def test_score_compares_variants_and_equals_the_runtime(
    client: TestClient, published: Published
) -> None:
    response = client.post(
        "/score", json={"model": "tiny", "texts": TEXTS, "per_token": True, "top_k": 2}
    )
    assert response.status_code == 200, response.text
    body = response.json()
    model = LoadedLanguageModel(BundleStore(published.settings).open(published.bundle_id))
    ids = [model.codec.encode(text) for text in TEXTS]
    verdict = client.get("/models/tiny/report").json()["conclusions"]
    assert [each["variant"] for each in body["variants"]] == ["original", verdict["variant"]]
    for variant in body["variants"]:
        expected = score_batch(model.session(variant["variant"]), ids, model.codec.start_id)
        for found, score in zip(variant["texts"], expected, strict=True):
            assert found["log_prob"] == pytest.approx(score.total, abs=1e-6)
            assert found["perplexity"] == pytest.approx(score.perplexity)
            assert [token["log_prob"] for token in found["tokens"]] == pytest.approx(
                score.log_probs.tolist(), abs=1e-6
            )
            assert all(len(token["top"]) == 2 for token in found["tokens"])
            best = found["tokens"][0]["top"]
            assert best[0]["log_prob"] >= best[1]["log_prob"] >= -1e9
        assert set(variant["timing"]) == {"queue_ms", "tokenize_ms", "run_ms"}
    assert body["variants"][1]["speedup"] > 0
    assert "serialize;dur=" in response.headers["server-timing"]


def test_unequal_texts_in_one_request_equal_one_by_one(client: TestClient) -> None:
    for variant in ("original", "compressed-int8"):
        together = client.post(
            "/score", json={"model": "tiny", "texts": TEXTS, "variants": [variant]}
        ).json()
        for text, found in zip(TEXTS, together["variants"][0]["texts"], strict=True):
            alone = client.post(
                "/score", json={"model": "tiny", "texts": [text], "variants": [variant]}
            ).json()
            assert alone["variants"][0]["texts"][0]["log_prob"] == pytest.approx(
                found["log_prob"], abs=1e-5
            )


def test_token_ids_score_as_their_text(client: TestClient, published: Published) -> None:
    model = LoadedLanguageModel(BundleStore(published.settings).open(published.bundle_id))
    by_ids = client.post(
        "/score", json={"model": published.bundle_id, "token_ids": [model.codec.encode(TEXTS[1])]}
    )
    by_text = client.post("/score", json={"model": "tiny", "texts": [TEXTS[1]]})
    first, second = (each.json()["variants"][0]["texts"][0] for each in (by_ids, by_text))
    assert first == second


def test_bad_requests_get_clear_problems(client: TestClient) -> None:
    ask = {"model": "tiny", "texts": ["the cat"]}
    assert "tiny" in str(
        problem(client.post("/score", json={**ask, "model": "nope"}), 404, "not-found")["detail"]
    )
    problem(client.post("/score", json={**ask, "texts": []}), 422, "invalid-request")
    problem(client.post("/score", json={"model": "tiny"}), 422, "invalid-request")
    problem(client.post("/score", json={**ask, "texts": [""]}), 422, "text-refused")
    problem(client.post("/score", json={**ask, "texts": ["xyzzy plugh"]}), 422, "text-refused")
    problem(client.post("/score", json={**ask, "variants": ["huge"]}), 422, "invalid-request")
    problem(client.post("/score", json={**ask, "device": "abacus"}), 422, "device-unavailable")
    problem(
        client.post("/score", json={"model": "tiny", "token_ids": [[1, 99999]]}),
        422,
        "token-out-of-range",
    )
    problem(
        client.post("/score", json={"model": "tiny", "token_ids": [[]]}), 422, "invalid-request"
    )
    problem(client.post("/score", json={**ask, "texts": ["the "] * 300}), 413, "too-large")
    problem(client.post("/score", json={**ask, "surprise": 1}), 422, "invalid-request")
    problem(
        client.post("/score", content=b"{", headers={"content-type": "application/json"}),
        422,
        "invalid-request",
    )
    problem(client.post("/score", content=b"x" * (9 << 20)), 413, "too-large")
    problem(client.get("/nothing/here"), 404, "http")
    assert client.post("/score", json=ask).status_code == 200


def test_models_reports_cards_and_files(client: TestClient, published: Published) -> None:
    assert [model["name"] for model in client.get("/models").json()] == ["tiny"]
    assert client.get("/models/tiny").json()["manifest"]["task"] == "language-model"
    assert client.get("/models/tiny/report").json()["curve"]
    card = client.get(f"/models/{published.bundle_id}/card")
    assert "\n---\n\n# tiny\n" in card.text
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card.text)
    assert len(pictures) == 2
    for picture in pictures:
        answer = client.get(picture)
        assert answer.headers["content-type"].startswith("image/svg+xml")
        assert answer.content.startswith(b"<?xml")
    assert client.get("/models/tiny/card").text == card.text
    assert client.get("/models/tiny/files/curve.svg").content.startswith(b"<?xml")
    problem(client.get("/models/tiny/files/other.txt"), 404, "not-found")
    problem(client.get("/models/tiny/files/..%2f..%2fsecret"), 404, "unsafe-path")
    problem(client.get("/models/nope/card"), 404, "not-found")


def test_latency_is_measured_then_remembered(client: TestClient) -> None:
    first = client.get("/models/tiny/latency", params={"steps": 4, "batch": 2}).json()
    assert first["cached"] is False
    assert set(first["results"]) >= {"original", "original-int8", "compressed"}
    record = first["results"]["original"][0]
    assert record["device"] == "cpu"
    assert record["speedup"] == pytest.approx(1.0)
    again = client.get("/models/tiny/latency", params={"steps": 4, "batch": 2}).json()
    assert again["cached"] is True
    assert again["measured_at"] == first["measured_at"]
    problem(client.get("/models/tiny/latency", params={"steps": 0}), 422, "invalid-request")


def test_ready_is_refused_while_the_storage_is_gone(tmp_path: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        assert client.get("/health/ready").status_code == 200
        storage = tmp_path / "artifacts"
        storage.rename(tmp_path / "away")
        found = problem(client.get("/health/ready"), 503, "storage-unavailable")
        assert "cannot be read: its folder: No such file" in str(found["detail"])
        assert str(tmp_path) not in str(found["detail"])
        assert client.get("/health/live").status_code == 200
        (tmp_path / "away").rename(storage)
        assert client.get("/health/ready").status_code == 200
        documented = client.get("/openapi.json").json()["paths"]["/health/ready"]["get"]
    assert "503" in documented["responses"]


def test_metrics_and_health(client: TestClient) -> None:
    client.post("/score", json={"model": "tiny", "texts": ["the cat"]})
    assert client.get("/health/live").json()["status"] == "ok"
    assert client.get("/health/ready").json()["detail"].startswith("1 models")
    text = client.get("/metrics").text
    assert 'http_response_status_code="200",http_route="/score"' in text
    assert 'isslim_inference_run_seconds_count{device="cpu"' in text
    assert 'isslim_jobs{state="queued"}' in text


def test_compress_queues_one_job_for_equal_requests(client: TestClient, trained: Trained) -> None:
    def ask() -> dict[str, object]:
        with trained.model.open("rb") as model, trained.vocabulary.open("rb") as words:
            response = client.post(
                "/compress",
                files={"model": model, "vocabulary": words},
                data={"options": json.dumps({"name": "again", "budget": {"size_ratio": 0.5}})},
            )
        assert response.status_code == 202, response.text
        assert response.headers["location"] == f"/jobs/{response.json()['id']}"
        body: dict[str, object] = response.json()
        return body

    first, second = ask(), ask()
    assert first["id"] == second["id"]
    assert client.get(f"/jobs/{first['id']}").json()["state"] == "queued"
    assert [job["id"] for job in client.get("/jobs").json()] == [first["id"]]
    assert client.delete(f"/jobs/{first['id']}").json()["state"] == "cancelled"
    with client.stream("GET", f"/jobs/{first['id']}/events") as events:
        lines = list(events.iter_lines())
    assert "event: job" in lines
    assert any('"cancelled"' in line for line in lines)
    problem(client.get("/jobs/nope"), 404, "not-found")
    problem(client.delete("/jobs/nope"), 404, "not-found")


def test_refused_uploads_leave_nothing_behind(client: TestClient, published: Published) -> None:
    kept = published.settings.home / "artifacts" / "uploads"
    before = sorted(path.name for path in kept.iterdir())
    problem(client.post("/compress", files={"model": ("m.pt", b"")}), 422, "empty-upload")
    problem(client.post("/compress", files={"model": ("m.pt", b"x" * 200_000)}), 413, "too-large")
    problem(client.post("/compress", files={"model": ("m.pt", b"x" * 3_000_000)}), 413, "too-large")
    problem(
        client.post("/compress", files={"model": ("m.pt", b"xy"), "vocabulary": ("v", b"")}),
        422,
        "empty-upload",
    )
    problem(client.post("/compress", files={"vocabulary": ("v", b"a")}), 422, "invalid-request")
    for options in (
        "{",
        '{"nope": 1}',
        '{"budget": {"size_ratio": 2}}',
        '{"budget": {"size_ratio": 0.5, "speedup": 2}}',
    ):
        problem(
            client.post("/compress", files={"model": ("m.pt", b"xyz")}, data={"options": options}),
            422,
            "invalid-request",
        )
    assert sorted(path.name for path in kept.iterdir()) == before
    assert list((published.settings.home / "arriving").iterdir()) == []


def test_bundle_changed_on_disk_is_refused_and_others_still_answer(
    tmp_path: Path, published: Published
) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        first = publish_as("first", published, tmp_path)
        ask = {"model": "first", "texts": ["the cat"]}
        assert client.post("/score", json=ask).status_code == 200  # without a restart
        second = publish_as("second", published, tmp_path)
        graph = tmp_path / "artifacts" / "bundles" / first / "original.onnx"
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(content)
        body = problem(client.post("/score", json=ask), 409, "corrupt-bundle")
        assert "original.onnx has another SHA-256" in str(body["detail"])
        assert client.post("/score", json={**ask, "model": "second"}).status_code == 200
        assert client.delete(f"/models/{second}").status_code == 204
        problem(client.post("/score", json={**ask, "model": "second"}), 404, "not-found")


def test_least_recently_used_model_is_closed_above_the_memory_limit(
    tmp_path: Path, published: Published
) -> None:
    app = create_app(ServiceSettings(home=tmp_path, memory_limit_bytes=1))
    with TestClient(app) as client:
        for name in ("one", "two"):
            publish_as(name, published, tmp_path)
            assert (
                client.post("/score", json={"model": name, "texts": ["the cat"]}).status_code == 200
            )
        assert app.state.context.models.count() == 1


def test_service_runs_without_torch_and_onnx() -> None:
    code = (
        "import sys\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        top = name.split('.')[0]\n"
        "        if top in ('torch', 'onnx', 'matplotlib') or name == 'isslim.compress':\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        "import isslim.service.main, isslim.service.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
