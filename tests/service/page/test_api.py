"""What the page needs of the API beside what programs do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from isslim.types.kinds.registry import kinds, metric_format_of
from isslim.types.recipe import Recipe
from isslim.types.schemas.kinds import kind_view
from tests.conftest import Published
from tests.jobs import end
from tests.service.test_routes import problem


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(
        create_app(ServiceSettings(home=tmp_path)), raise_server_exceptions=False
    ) as made:
        yield made


def queued(http: TestClient) -> str:
    files = {"model": ("model.pt", b"weights"), "vocabulary": ("words.txt", b"a\nb\n")}
    answer = http.post("/compress", files=files, data={"options": '{"name": "first"}'})
    assert answer.status_code == 202
    return str(answer.json()["id"])


def test_kinds_are_described_with_their_metrics(http: TestClient) -> None:
    found = http.get("/kinds").json()
    assert found == [kind_view(each).model_dump() for each in kinds()]
    language = found[0]
    assert (language["quality_limit"], language["default_budget"]) == ("perplexity_rise", 0.05)
    assert language["metrics"][0]["unit"] == "%"
    for kind in found:
        for metric in kind["metrics"]:
            # The factor of the page's figures is that of the card's picture.
            assert metric["factor"] == metric_format_of(metric["name"]).factor


def test_files_of_a_job_are_compressed_again(http: TestClient) -> None:
    first = queued(http)
    changes = {"name": "smaller", "budget": {"size_ratio": 0.3}}
    answer = http.post(f"/jobs/{first}/again", json={"changes": changes})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert job["id"] != first
    before = http.get(f"/jobs/{first}").json()["request"]
    assert {**job["request"], "recipe": None} == {**before, "recipe": None}
    recipe = Recipe.model_validate(job["request"]["recipe"])
    assert recipe == Recipe.model_validate({**before["recipe"], **changes})
    assert http.post(f"/jobs/{first}/again", json={"changes": changes}).json()["id"] == job["id"]
    assert http.post(f"/jobs/{first}/again", json={"changes": {}}).json()["id"] == first


def test_what_cannot_be_done_again_is_refused(http: TestClient, tmp_path: Path) -> None:
    first = queued(http)
    again = f"/jobs/{first}/again"
    problem(http.post("/jobs/nothing/again", json={"changes": {}}), 404, "not-found")
    problem(http.post(again, json={"changes": {"minuets": 3}}), 422, "invalid-request")
    two = {"budget": {"size_ratio": 0.3, "speedup": 2}}
    problem(http.post(again, json={"changes": two}), 422, "invalid-request")
    problem(http.post(again, json={"change": {}}), 422, "invalid-request")
    problem(http.post(again, content=b"x"), 415, "unsupported-media-type")
    for file in (tmp_path / "artifacts" / "uploads").iterdir():
        file.unlink()
    problem(http.post(again, json={"changes": {"name": "x"}}), 409, "uploads-gone")


def test_jobs_of_a_model_are_found_however_old_they_are(http: TestClient, tmp_path: Path) -> None:
    """By the filter, over pages; a job of another model, or of none, is not among them."""
    model, other = "9e0f95b09709d4a3", "0123456789abcdef"
    records = JobRecords(StoreSettings(home=tmp_path))
    upload = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
    for name, made in (("a", model), ("b", other), ("c", model), ("d", None)):
        records.add(name, CompressionRequest(model=upload, recipe=Recipe(name=name)))
        if made is not None:
            end(records, name, JobState.SUCCEEDED, model_id=made)
    assert [each["id"] for each in http.get(f"/jobs?model_id={model}").json()] == ["c", "a"]
    page = http.get(f"/jobs?model_id={model}&limit=1")
    assert [each["id"] for each in page.json()] == ["c"]
    following = page.headers["link"].split(">")[0].removeprefix("<")
    page = http.get(f"/jobs{following}")
    assert [each["id"] for each in page.json()] == ["a"]
    assert "link" not in page.headers
    problem(http.get("/jobs?model_id=../x"), 422, "invalid-request")
    records.close()


def test_list_of_models_says_how_many_proofs_each_has(published: Published) -> None:
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as http:
        (listed,) = http.get("/models").json()
        checks = http.get(f"/models/{listed['id']}").json()["manifest"]["checks"]
    assert listed["proofs"] == len(checks) > 0


def test_job_that_waits_says_its_place(http: TestClient) -> None:
    first = queued(http)
    changes = {"name": "smaller", "budget": {"size_ratio": 0.3}}
    second = http.post(f"/jobs/{first}/again", json={"changes": changes}).json()
    assert (http.get(f"/jobs/{first}").json()["queue_position"], second["queue_position"]) == (1, 2)
    http.delete(f"/jobs/{first}")
    found = http.get(f"/jobs/{second['id']}").json()
    assert (found["queue_position"], found["seconds_left"]) == (1, None)
