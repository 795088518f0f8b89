"""What the page needs of the API beside what programs do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.types.kinds.registry import kinds, metric_format_of
from isslim.types.recipe import Recipe
from isslim.types.schemas.kinds import kind_view
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
