"""What belongs to a key: nobody else sees, cancels or deletes it, and there is a limit on it."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from isslim.compress.worker.garbage import Keep, Stores, collect_garbage
from isslim.compress.worker.publication import promote, tell_of_alias
from isslim.service.context import AppContext
from isslim.service.main import create_app
from isslim.service.ownership import admit_alias, keep_alias
from isslim.service.problems import RequestError
from isslim.service.routes import jobs as job_routes
from isslim.settings.service import ServiceSettings
from isslim.store.aliases import Author
from isslim.store.checkpoints import Checkpoints
from isslim.store.errors import JobsExceeded, QuotaExceeded
from isslim.store.inspections import InspectionRecords
from isslim.store.job_rows import hashes_in
from isslim.store.locks import FileLocks
from isslim.store.owners import Owners
from isslim.store.quotas import UPLOADS, Kind, Quota, Work
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.store.tables import INSPECTIONS, JOBS, OWNERS
from isslim.store.uploads import UploadStore
from isslim.types.access import Scope
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from isslim.types.schemas.aliases import AliasState
from tests.conftest import Published
from tests.jobs import begin
from tests.service.access.conftest import Keys, make_keys
from tests.service.copies import publish_as

AUTHOR = Author("a request")
LARGE = Quota(upload_bytes=1 << 30, jobs=100, models=100, inspections=100, aliases=100)


@dataclass(frozen=True)
class House:
    """A service with the keys of two people, of a reader and of an administrator."""

    client: TestClient
    keys: Keys
    settings: ServiceSettings

    def ask(self, who: str, method: str, path: str, **content: Any) -> Response:
        headers = self.keys.headers(who) if who else {}
        answer: Response = self.client.request(method, path, headers=headers, **content)
        return answer

    def compress(self, who: str, path: str = "/compress", **recipe: Any) -> Response:
        name = {"name": "mine", **recipe}
        files = {"model": ("secret-name.pt", b"weights of a model")}
        data = {"options": json.dumps(name)}
        if path == "/sweeps":
            data["variations"] = json.dumps([{"minutes": 1}, {"minutes": 2}])
        return self.ask(who, "POST", path, files=files, data=data)


@pytest.fixture
def house(tmp_path: Path, published: Published) -> Iterator[House]:
    home = tmp_path / "home"
    # Without the uploads that other tests have left there.
    bundles = Path("artifacts", "bundles")
    shutil.copytree(published.settings.home / bundles, home / bundles)
    both = [Scope.COMPRESS, Scope.SCORE]
    keys = make_keys(tmp_path, ann=both, ben=both, eve=[Scope.READ], root=[Scope.ADMIN])
    settings = ServiceSettings(home=home, api_keys_file=keys.file)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield House(client, keys, settings)


def test_a_job_is_its_owners(house: House) -> None:
    made = house.compress("ann").json()
    assert made["owner"] == "ann"
    address = f"/jobs/{made['id']}"
    for who in ("ben", "eve"):
        for method, path in (
            ("GET", address),
            ("DELETE", address),
            ("GET", f"{address}/events"),
            ("POST", f"{address}/again"),
        ):
            answer = house.ask(
                who, method, path, **({"json": {"changes": {}}} if method == "POST" else {})
            )
            assert answer.status_code == (
                403 if who == "eve" and method in ("DELETE", "POST") else 404
            )
            assert "secret-name" not in answer.text
        assert house.ask(who, "GET", "/jobs").json() == []
    for who in ("ann", "root"):
        (listed,) = house.ask(who, "GET", "/jobs").json()
        assert (listed["id"], listed["owner"]) == (made["id"], "ann")
        assert house.ask(who, "GET", address).json()["owner"] == "ann"
    # The same request of another key is another job.
    other = house.compress("ben").json()
    assert (other["id"] != made["id"], other["owner"]) == (True, "ben")
    assert house.compress("ann").json()["id"] == made["id"]
    assert len(house.ask("root", "GET", "/jobs").json()) == 2
    again = house.ask("ann", "POST", f"{address}/again", json={"changes": {"minutes": 3}}).json()
    assert (again["owner"], again["id"] != made["id"]) == ("ann", True)
    assert house.ask("root", "DELETE", address).json()["state"] == "cancelled"
    assert house.ask("ann", "DELETE", f"/jobs/{again['id']}").json()["state"] == "cancelled"


def test_sweeps_and_inspections_are_their_owners(house: House) -> None:
    sweep = house.compress("ann", "/sweeps").json()
    assert [job["owner"] for job in sweep["jobs"]] == ["ann", "ann"]
    address = f"/sweeps/{sweep['id']}"
    for method in ("GET", "DELETE"):
        assert house.ask("ben", method, address).status_code == 404
    assert house.ask("ben", "GET", "/sweeps").json() == []
    assert len(house.ask("root", "GET", "/sweeps").json()) == 1
    assert [each["id"] for each in house.ask("ann", "GET", "/sweeps").json()] == [sweep["id"]]
    assert house.ask("root", "GET", address).status_code == 200
    assert house.ask("ann", "DELETE", address).json()["state"] == "cancelled"
    owners = house.client.app.state.context.owners  # type: ignore[attr-defined]
    request = house.client.app.state.context.queue.get(sweep["jobs"][0]["id"]).request  # type: ignore[attr-defined]
    inspection = house.client.app.state.context.queue.inspect(request, "ann")  # type: ignore[attr-defined]
    owners.claim("inspection", inspection, "ann")
    statuses = {
        who: house.ask(who, "GET", f"/inspections/{inspection}").status_code
        for who in ("ann", "ben", "eve", "root")
    }
    assert statuses == {"ann": 202, "ben": 404, "eve": 404, "root": 202}


def test_pages_of_a_key_are_full_and_hold_its_jobs_alone(house: House) -> None:
    mine = []
    for number in range(5):
        mine.append(house.compress("ann", name=f"mine-{number}").json()["id"])
        for other in range(3):
            house.compress("ben", name=f"other-{number}-{other}")
    address, sizes, found = "/jobs?limit=2", list[int](), list[str]()
    while address:
        page = house.ask("ann", "GET", address)
        assert {job["owner"] for job in page.json()} == {"ann"}
        sizes.append(len(page.json()))
        found += [job["id"] for job in page.json()]
        link = page.headers.get("link")
        address = "" if link is None else "/jobs" + link.partition("<")[2].partition(">")[0]
    assert (sizes, found) == ([2, 2, 1], mine[::-1])
    assert "link" not in house.ask("eve", "GET", "/jobs?limit=1").headers
    assert len(house.ask("root", "GET", "/jobs").json()) == 20


def test_a_model_is_seen_by_all_and_changed_by_its_owner(
    house: House, published: Published
) -> None:
    model = published.bundle_id
    # Nobody's: from before there were keys.
    assert house.ask("ann", "DELETE", f"/models/{model}").status_code == 403
    assert house.ask("eve", "GET", "/models").json()[0]["owner"] is None
    house.client.app.state.context.owners.claim("model", model, "ann")  # type: ignore[attr-defined]
    for who in ("ann", "ben", "eve", "root"):
        assert house.ask(who, "GET", f"/models/{model}").json()["owner"] == "ann"
        assert house.ask(who, "GET", f"/models/{model}/card").status_code == 200
        assert house.ask(who, "GET", f"/models/{model}/report").status_code == 200
        assert house.ask(who, "GET", f"/models/{model}/files/curve.svg").status_code == 200
        may = who in ("ann", "root")
        for path in ("files", "files/compressed.onnx", "files/manifest.json"):
            answer = house.ask(who, "GET", f"/models/{model}/{path}")
            assert answer.status_code == (200 if may else 403), (who, path)
    refused = house.ask("ben", "DELETE", "/models/tiny")
    assert (refused.status_code, refused.json()["type"]) == (403, "not-owner")
    assert "the key 'ann'" in refused.json()["detail"]
    asked = {"model": "tiny", "texts": ["the cat"]}
    assert house.ask("ben", "POST", "/score", json=asked).status_code == 200
    assert house.ask("ann", "DELETE", "/models/tiny").status_code == 204
    assert house.client.app.state.context.owners.of_kind("model") == {}  # type: ignore[attr-defined]


def test_an_alias_is_its_owners(house: House) -> None:
    put = {"json": {"model": "tiny"}}
    assert house.ask("ann", "PUT", "/aliases/prod", **put).status_code == 200
    for method, path, content in (
        ("PUT", "/aliases/prod", put),
        ("POST", "/aliases/prod/rollback", {}),
        ("DELETE", "/aliases/prod", {}),
    ):
        assert house.ask("ben", method, path, **content).status_code == 403
    seen = house.ask("ben", "GET", "/aliases/prod").json()
    assert (seen["owner"], seen["history"][0]["remote"]) == ("ann", "")
    assert house.ask("ann", "GET", "/aliases/prod").json()["history"][0]["remote"] == "testclient"
    refused = house.compress("ben", promote="prod")
    assert (refused.status_code, refused.json()["type"]) == (403, "not-owner")
    assert house.ask("root", "PUT", "/aliases/prod", **put).status_code == 200
    assert house.ask("ann", "DELETE", "/aliases/prod").status_code == 204
    assert house.ask("ben", "PUT", "/aliases/prod", **put).status_code == 200
    assert house.ask("eve", "GET", "/aliases/prod").json()["owner"] == "ben"


def test_strangers_aliases_do_not_keep_a_model(house: House, published: Published) -> None:
    """Whoever may `compress` could otherwise decide that a model stays."""
    owners = house.client.app.state.context.owners  # type: ignore[attr-defined]
    other = publish_as("other", published, house.settings.home)
    owners.claim("model", published.bundle_id, "ann")
    address = f"/models/{published.bundle_id}"
    trial = {"model": published.bundle_id, "variant": "original"}
    aliases: dict[str, dict[str, Any]] = {
        "theirs": {"model": other},
        "tried": {"model": other, "shadow": {**trial, "share": 1}},
        "half": {"model": other, "canary": {**trial, "share": 1}},
    }
    for alias, body in aliases.items():
        assert house.ask("ben", "PUT", f"/aliases/{alias}", json=body).status_code == 200
    pointing = {"json": {"model": published.bundle_id}}
    assert house.ask("ben", "PUT", "/aliases/theirs", **pointing).status_code == 200

    # Her own alias and an administrator's do keep it, and so does the one that she asks by.
    for who, said in (("ann", "delete it, first"), ("root", "an administrator's")):
        assert house.ask(who, "PUT", "/aliases/kept", **pointing).status_code == 200
        for asker in ("ann", "root"):
            refused = house.ask(asker, "DELETE", address)
            assert (refused.status_code, refused.json()["type"]) == (409, "model-in-use")
        assert said in house.ask("ann", "DELETE", address).json()["detail"]
        assert house.ask(who, "DELETE", "/aliases/kept").status_code == 204
    refused = house.ask("ann", "DELETE", "/models/theirs")
    assert refused.status_code == 409
    assert f"DELETE {address}" in refused.json()["detail"]
    assert house.ask("ben", "DELETE", address).status_code == 403

    assert house.ask("ann", "DELETE", address).status_code == 204
    asked = {"texts": ["the cat"]}
    for alias in ("tried", "half"):
        found = house.ask("ben", "GET", f"/aliases/{alias}").json()
        assert (found["shadow"], found["canary"], found["model"]) == (None, None, other)
        assert "deleted by its owner, the key 'ann'" in found["history"][0]["note"]
        assert found["history"][0]["remote"] == ""
        assert house.ask("ben", "POST", "/score", json={"model": alias, **asked}).status_code == 200
    for gone in (
        house.ask("ben", "POST", "/score", json={"model": "theirs", **asked}),
        house.ask("ben", "GET", "/models/theirs"),
        house.ask("ben", "PUT", "/aliases/copy", json={"model": "theirs"}),
    ):
        assert (gone.status_code, gone.json()["type"]) == (404, "not-found")
        assert "the alias 'theirs' points at the model" in gone.json()["detail"]
    assert house.ask("ben", "GET", "/aliases/theirs").json()["model"] == published.bundle_id
    shown = house.ask("ben", "GET", "/aliases/theirs/shadow").json()
    assert ("was deleted" in shown["lines"][-1], shown["compared"]) == (True, [])
    # It stays ben's: nobody takes over what its clients ask.
    assert house.ask("ann", "PUT", "/aliases/theirs", json={"model": other}).status_code == 403
    assert house.ask("ben", "POST", "/aliases/theirs/rollback").json()["model"] == other
    asked = {"model": "theirs", **asked}
    assert house.ask("ben", "POST", "/score", json=asked).status_code == 200


def test_aliases_of_a_key_are_limited(house: House) -> None:
    """Whoever looks up a name reads them all."""
    house.keys.allow("ann", "aliases=2")
    put = {"json": {"model": "tiny"}}
    for alias in ("one", "two", "two"):
        assert house.ask("ann", "PUT", f"/aliases/{alias}", **put).status_code == 200
    refused = house.ask("ann", "PUT", "/aliases/three", **put)
    assert (refused.status_code, refused.json()["type"]) == (403, "quota-exceeded")
    assert "2 of 2 aliases: delete some (DELETE /aliases/<name>)" in refused.json()["detail"]
    assert house.ask("ben", "PUT", "/aliases/three", **put).status_code == 200
    assert house.ask("ann", "DELETE", "/aliases/one").status_code == 204
    assert house.ask("ann", "PUT", "/aliases/four", **put).status_code == 200
    assert house.ask("ann", "GET", "/aliases/one").status_code == 404


def test_aliases_that_jobs_will_make_count(house: House) -> None:
    """A key could otherwise make any number of them by jobs, and move them to one model."""
    house.keys.allow("ann", "aliases=2")
    put = {"json": {"model": "tiny"}}
    assert house.ask("ann", "PUT", "/aliases/one", **put).status_code == 200
    jobs = [house.compress("ann", promote="two", minutes=n).json()["id"] for n in (1, 2)]
    assert house.compress("ann", promote="one").status_code == 202
    for refused in (
        house.compress("ann", promote="three"),
        house.ask("ann", "PUT", "/aliases/three", **put),
    ):
        assert (refused.status_code, refused.json()["type"]) == (403, "quota-exceeded")
        assert "1 of 2 aliases, and 1 more are on their way" in refused.json()["detail"]
        assert "DELETE /jobs/<id>" in refused.json()["detail"]
    assert house.compress("ann", promote="two", minutes=3).status_code == 202
    assert house.compress("ben", promote="three").status_code == 202
    assert house.ask("ann", "PUT", "/aliases/two", **put).status_code == 200
    assert house.ask("ann", "DELETE", "/aliases/two").status_code == 204
    jobs += [each["id"] for each in house.ask("ann", "GET", "/jobs").json()]
    for job in jobs:
        house.ask("ann", "DELETE", f"/jobs/{job}")
    assert house.ask("ann", "PUT", "/aliases/four", **put).status_code == 200


def test_an_alias_that_another_key_makes_at_the_same_time_stays_its(house: House) -> None:
    context = house.client.app.state.context  # type: ignore[attr-defined]
    ann, ben = (
        context.access.caller(b"", house.keys.by_name[each].encode(), "") for each in ("ann", "ben")
    )
    admit_alias(context, ann, "new")
    for _ in range(2):  # before ann's alias is there, and after
        with pytest.raises(RequestError, match="'new' is of the key 'ann'"):
            admit_alias(context, ben, "new")
        assert context.owners.owner_of("alias", "new") == "ann"
        assert house.ask("ann", "PUT", "/aliases/new", json={"model": "tiny"}).status_code == 200
    # One that was deleted while its owner moved it is made anew, and the owner's again.
    assert house.ask("ann", "DELETE", "/aliases/new").status_code == 204
    context.models.aliases.point("new", AliasState(model=context.models.resolve("tiny")), AUTHOR)
    keep_alias(context, ann, "new")
    assert house.ask("eve", "GET", "/aliases/new").json()["owner"] == "ann"
    # What was claimed long ago, and never made, is free.
    assert house.ask("ann", "DELETE", "/aliases/new").status_code == 204
    admit_alias(context, ann, "new")
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
    with context.queue.records.engine.begin() as connection:
        connection.execute(OWNERS.update().values(at=long_ago))
    assert house.ask("ben", "PUT", "/aliases/new", json={"model": "tiny"}).status_code == 200
    assert house.ask("eve", "GET", "/aliases/new").json()["owner"] == "ben"


def test_an_alias_that_others_delete_each_time_ends_the_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: AppContext = house.client.app.state.context  # type: ignore[attr-defined]
    admit, asked = context.owners.admit, []

    def deleted_behind(owner: str, work: Work, quota: Quota) -> None:
        """Another process deletes what was claimed, before it is looked whose it is."""
        admit(owner, work, quota)
        asked.append(work.ids)
        context.owners.forget("alias", "new")

    monkeypatch.setattr(context.owners, "admit", deleted_behind)
    refused = house.ask("ann", "PUT", "/aliases/new", json={"model": "tiny"})
    assert (refused.status_code, refused.json()["type"]) == (503, "alias-being-changed")
    assert "'new' is made, moved or deleted by others all the time" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert 1 < len(asked) <= 20
    monkeypatch.undo()
    assert house.ask("ann", "PUT", "/aliases/new", json={"model": "tiny"}).status_code == 200


def test_an_alias_takes_no_requests_from_anothers_model(house: House, published: Published) -> None:
    """A name is an alias first: it would answer in the place of the model of that name."""
    owners = house.client.app.state.context.owners  # type: ignore[attr-defined]
    owners.claim("model", published.bundle_id, "ann")
    put = {"json": {"model": published.bundle_id, "variant": "original"}}
    refused = house.ask("ben", "PUT", "/aliases/tiny", **put)
    assert (refused.status_code, refused.json()["type"]) == (403, "not-owner")
    assert "the name of the model" in refused.json()["detail"]
    refused = house.compress("ben", promote="tiny")
    assert (refused.status_code, refused.json()["type"]) == (403, "not-owner")
    assert house.ask("ben", "DELETE", "/aliases/tiny").status_code == 404
    assert house.ask("ben", "PUT", "/aliases/other", **put).status_code == 200
    assert house.ask("ann", "PUT", "/aliases/tiny", **put).status_code == 200
    assert house.ask("ben", "PUT", "/aliases/tiny", **put).status_code == 403
    assert house.ask("root", "DELETE", "/aliases/tiny").status_code == 204


def succeed(records: JobRecords, job_id: str, model_id: str) -> None:
    with records.engine.begin() as connection:
        done = {"state": JobState.SUCCEEDED, "model_id": model_id}
        connection.execute(JOBS.update().where(JOBS.c.id == job_id).values(**done))


def test_a_job_moves_no_alias_that_became_anothers(house: House, published: Published) -> None:
    records = JobRecords(house.settings)
    jobs = [house.compress("ann", promote=each).json()["id"] for each in ("mine", "taken")]
    house.ask("ben", "PUT", "/aliases/taken", json={"model": "tiny", "variant": "original"})
    for job in jobs:
        tell_of_alias(records, begin(records, job))
        succeed(records, job, published.bundle_id)
        promote(records, records.get(job))
    told = [house.ask("ann", "GET", f"/jobs/{job}").json()["log"] for job in jobs]
    assert told == [
        [],
        ["the alias 'taken' was not moved: its owner is another than when that was asked for"],
    ]
    found = {each["alias"]: each["variant"] for each in house.ask("root", "GET", "/aliases").json()}
    assert found == {"mine": None, "taken": "original"}
    assert house.ask("eve", "GET", "/aliases/mine").json()["owner"] == "ann"
    records.close()


def test_jobs_that_make_one_alias_move_it_one_after_the_other(
    house: House, published: Published
) -> None:
    records = JobRecords(house.settings)
    other = publish_as("other", published, house.settings.home)
    jobs = [house.compress("ann", promote="next", minutes=n).json()["id"] for n in (1, 2, 3)]
    for job, model in zip(jobs, (published.bundle_id, other), strict=False):
        succeed(records, job, model)
        promote(records, records.get(job))
        found = house.ask("ann", "GET", "/aliases/next").json()
        assert (found["owner"], found["model"]) == ("ann", model)
    # One that failed is asked for anew, when the alias is another's.
    house.ask("ann", "DELETE", f"/jobs/{jobs[2]}")
    assert house.ask("ann", "DELETE", "/aliases/next").status_code == 204
    assert house.ask("ben", "PUT", "/aliases/next", json={"model": "tiny"}).status_code == 200
    succeed(records, jobs[2], other)
    promote(records, records.get(jobs[2]))
    assert house.ask("ben", "GET", "/aliases/next").json()["model"] == published.bundle_id
    records.close()


def test_rows_from_before_there_were_keys_are_the_administrators(
    tmp_path: Path, published: Published
) -> None:
    home = tmp_path / "home"
    with TestClient(create_app(ServiceSettings(home=home))) as client:
        before = client.post("/compress", files={"model": b"x"}).json()
        assert before["owner"] is None
    keys = make_keys(tmp_path, ann=[Scope.COMPRESS], root=[Scope.ADMIN])
    settings = ServiceSettings(home=home, api_keys_file=keys.file)
    with TestClient(create_app(settings)) as client:
        path = f"/jobs/{before['id']}"
        assert client.get(path, headers=keys.headers("ann")).status_code == 404
        assert client.get(path, headers=keys.headers("root")).status_code == 200
        mine = client.post("/compress", files={"model": b"x"}, headers=keys.headers("ann")).json()
        assert mine["id"] != before["id"]
    with TestClient(create_app(ServiceSettings(home=home))) as client:  # and without keys again
        assert {each["owner"] for each in client.get("/jobs").json()} == {None, "ann"}
        assert client.delete(f"/jobs/{mine['id']}").json()["state"] == "cancelled"


def test_quotas_say_what_is_used_and_what_to_do(
    tmp_path: Path, house: House, published: Published
) -> None:
    house.keys.allow("ann", "jobs=2 models=5 upload_bytes=100")
    jobs = [house.compress("ann", minutes=n).json()["id"] for n in (1, 2)]
    refused = house.compress("ann", minutes=3)
    assert (refused.status_code, refused.json()["type"]) == (429, "too-many-jobs")
    assert "2 of 2 jobs" in refused.json()["detail"]
    assert "DELETE /jobs/<id>" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) >= 1
    assert house.compress("ann", minutes=2).status_code == 202  # it is one of the two
    assert house.compress("ann", "/sweeps").status_code == 429
    assert house.compress("ben", minutes=3).status_code == 202
    house.ask("ann", "DELETE", f"/jobs/{jobs[0]}")
    assert house.compress("ann", minutes=3).status_code == 202
    for job in jobs:
        house.ask("ann", "DELETE", f"/jobs/{job}")
    for number in range(4):
        house.client.app.state.context.owners.claim("model", f"{number:016}", "ann")  # type: ignore[attr-defined]
    refused = house.compress("ann", minutes=4)
    assert (refused.status_code, refused.json()["type"]) == (403, "quota-exceeded")
    assert "4 of 5 models, 1 more are on their way" in refused.json()["detail"]
    assert "DELETE /models/<id>" in refused.json()["detail"]
    house.client.app.state.context.owners.forget("model", f"{0:016}")  # type: ignore[attr-defined]
    large = house.ask("ann", "POST", "/compress", files={"model": b"x" * 90})
    assert (large.status_code, large.json()["type"]) == (403, "quota-exceeded")
    assert "keeps 18 of 100 bytes of uploads, and this is 90 more" in large.json()["detail"]
    assert "after they were last sent" in large.json()["detail"]
    kept = {each.name for each in (house.settings.home / "artifacts" / "uploads").iterdir()}
    assert len(kept) == 1  # nothing of the refused one


def test_job_that_has_ended_is_answered_whatever_the_quota(
    house: House, published: Published
) -> None:
    """The same request is the same job: nothing would begin."""
    house.keys.allow("ann", "jobs=1")
    records = JobRecords(house.settings)
    ended = house.compress("ann", minutes=1).json()["id"]
    succeed(records, ended, published.bundle_id)
    assert house.compress("ann", minutes=2).status_code == 202
    again = house.compress("ann", minutes=1)
    assert (again.status_code, again.json()["id"]) == (202, ended)
    assert again.json()["state"] == "succeeded"
    assert house.compress("ann", minutes=3).status_code == 429
    records.forget_model(published.bundle_id)  # it would begin anew
    assert house.compress("ann", minutes=1).status_code == 429
    records.close()


def test_inspections_that_have_not_ended_are_limited(tmp_path: Path, published: Published) -> None:
    """They are free of the limit on jobs, and a worker looks at them one after another."""
    keys = make_keys(tmp_path, ann=[Scope.COMPRESS], ben=[Scope.COMPRESS])
    settings = ServiceSettings(
        home=tmp_path / "home",
        api_keys_file=keys.file,
        inspect_wait_seconds=0.01,
        quota_inspections=2,
        quota_jobs=1,
    )
    worker = FileLocks(settings.locks).acquire("a worker")
    assert worker is not None

    def inspect(who: str, content: bytes) -> Response:
        answer: Response = client.post(
            "/inspect", headers=keys.headers(who), files={"model": ("m.pt", content)}
        )
        return answer

    with TestClient(create_app(settings)) as client:
        assert [inspect("ann", each).status_code for each in (b"1", b"2", b"1")] == [202] * 3
        refused = inspect("ann", b"3")
        assert (refused.status_code, refused.json()["type"]) == (429, "too-many-inspections")
        assert "2 of 2 inspections queued or running" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) >= 1
        kept = list((settings.home / "artifacts" / "uploads").iterdir())
        assert len(kept) == 2  # nothing of the refused one
        assert inspect("ben", b"3").status_code == 202
        context = client.app.state.context  # type: ignore[attr-defined]
        with context.queue.records.engine.begin() as connection:
            connection.execute(INSPECTIONS.update().values(state="answered", answer="{}"))
        assert inspect("ann", b"4").status_code == 202
        # The line of a key may name another number.
        keys.file.write_text(keys.file.read_text().replace("\n", " inspections=1\n"))
        assert inspect("ann", b"5").status_code == 429
    worker.close()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_requests_at_a_time_do_not_pass_a_quota(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        check_together(StoreSettings(home=tmp_path))
        return
    started = request.getfixturevalue("postgres_server")
    url = started.new_database().replace("postgresql:", "postgresql+psycopg:")
    check_together(StoreSettings(home=tmp_path, database_url=url))


def check_together(settings: StoreSettings) -> None:
    records, quota = JobRecords(settings), Quota(1000, jobs=7, models=100, inspections=7, aliases=7)
    owners, outcomes = Owners(records.engine), list[str]()

    def ask(number: int) -> None:
        try:
            owners.admit("ann", Work("job", frozenset([f"job-{number}"]), {f"{number}": 1}), quota)
            outcomes.append("in")
        except JobsExceeded:
            outcomes.append("out")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (outcomes.count("in"), outcomes.count("out")) == (7, 13)
    with pytest.raises(QuotaExceeded, match="keeps 7 of 10 bytes"):
        owners.admit(
            "ann",
            Work("inspection", frozenset(["i"]), {"x": 4}),
            Quota(10, jobs=7, models=9, inspections=7, aliases=7),
        )
    owners.admit("ben", Work("job", frozenset(["job-0"]), {"0": 1}), quota)  # another's claim stays
    assert owners.owner_of("job", "job-0") in ("ann", "ben")
    records.close()


@pytest.mark.parametrize("kind", ["job", "inspection"])
def test_what_begins_again_counts_from_its_claim(kind: Kind, tmp_path: Path) -> None:
    """Requests at a time would otherwise begin any number of those that have ended."""
    records = JobRecords(StoreSettings(home=tmp_path))
    owners, quota = Owners(records.engine), Quota(9, jobs=1, models=9, inspections=1, aliases=9)
    upload = UploadRef(sha256="0" * 64, filename="m", size_bytes=1)
    rows, table, ended = (
        (records, JOBS, "cancelled")
        if kind == "job"
        else (InspectionRecords(records.engine), INSPECTIONS, "answered")
    )

    def claim(name: str) -> None:
        owners.admit("ann", Work(kind, frozenset([name])), quota)

    def begin(name: str) -> None:
        rows.add(name, CompressionRequest(model=upload))

    def end() -> None:
        with records.engine.begin() as connection:
            connection.execute(table.update().values(state=ended))

    for name in ("a", "b"):
        claim(name)
        begin(name)
        end()
    claim("a")
    for _ in range(2):  # as it is about to begin, and when it has begun
        with pytest.raises(QuotaExceeded, match="1 of 1"):
            claim("b")
        claim("a")
        begin("a")
    claim("a")
    end()
    claim("b")  # what has ended counts no more, however often it was asked for
    records.close()


def test_aliases_of_jobs_that_are_being_made_count(tmp_path: Path) -> None:
    """Requests at a time would otherwise make any number of them."""
    records = JobRecords(StoreSettings(home=tmp_path))
    owners, quota = Owners(records.engine), Quota(9, jobs=9, models=9, inspections=9, aliases=1)
    upload = UploadRef(sha256="0" * 64, filename="m", size_bytes=1)

    def ask(job: str, alias: str, owner: str = "ann") -> None:
        owners.admit(owner, Work("job", frozenset([job]), aliases={job: alias}), quota)

    ask("a", "one")  # its row is not there yet
    ask("a2", "one")  # the same alias
    for _ in range(2):
        with pytest.raises(QuotaExceeded, match="0 of 1 aliases, and 1 more are on their way"):
            ask("b", "two")
        with pytest.raises(QuotaExceeded, match="1 more are on their way"):
            owners.admit("ann", Work("alias", frozenset(["three"])), quota)
        for job in ("a", "a2"):
            records.add(job, CompressionRequest(model=upload))  # it is there now
    ask("c", "four", "ben")
    with records.engine.begin() as connection:
        connection.execute(JOBS.update().values(state="cancelled"))
    ask("b", "two")  # and those of jobs that have ended do not
    records.close()


def test_what_is_gone_counts_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StoreSettings(home=tmp_path)
    records = JobRecords(settings)
    owners = Owners(records.engine)
    uploads = {f"{number:064}": 1 for number in range(3)}
    owners.admit("ann", Work("job", frozenset(["a"]), uploads), LARGE)
    owners.claim("model", "0" * 16, "ann")
    from isslim.store.bundles import BundleStore

    def collect(hours: float = 1.0) -> None:
        bundles = BundleStore(settings)
        inspections, uploads = InspectionRecords(records.engine), UploadStore(settings)
        stores = Stores(
            records, inspections, settings.work, uploads, bundles, Checkpoints(settings)
        )
        collect_garbage(stores, Keep(uploads_hours=hours))

    def count(table: Any) -> int:
        with records.engine.connect() as connection:
            return len(connection.execute(table.select()).all())

    collect()
    assert (count(UPLOADS), count(OWNERS)) == (3, 3)  # they are recent

    def age(hours: float) -> None:
        at = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
        with records.engine.begin() as connection:
            for table in (UPLOADS, OWNERS):
                connection.execute(table.update().values(at=at))

    age(0.5)
    collect(hours=48)
    assert (count(UPLOADS), count(OWNERS)) == (3, 3)
    age(47)
    collect(hours=48)
    assert (count(UPLOADS), count(OWNERS)) == (3, 1)  # uploads count for as long as they are kept
    age(49)
    collect(hours=48)
    assert count(UPLOADS) == 0
    owners.admit("ann", Work("job", frozenset(["a"]), uploads), LARGE)
    owners.admit("ann", Work("inspection", frozenset(["i"])), LARGE)
    age(2)
    collect()
    assert (count(UPLOADS), count(OWNERS)) == (0, 1)  # the key's own entry
    records.close()


def test_old_uploads_count_until_the_end_of_their_job(tmp_path: Path) -> None:
    records = JobRecords(StoreSettings(home=tmp_path))
    owners, upload = Owners(records.engine), UploadRef(sha256="0" * 64, filename="m", size_bytes=9)
    owners.admit("ann", Work("job", frozenset(["a"]), {upload.sha256: 9}), LARGE)
    records.add("a", CompressionRequest(model=upload))
    sent = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=49)
    with records.engine.begin() as connection:
        connection.execute(UPLOADS.update().values(at=sent))

    def kept() -> list[str]:
        needed = hashes_in(each.request for each in records.active())
        owners.collect_garbage(needed, set(), timedelta(hours=48))
        with records.engine.connect() as connection:
            return list(connection.execute(UPLOADS.select()).scalars())

    assert kept() == [upload.sha256]
    succeed(records, "a", "0" * 16)
    assert kept() == []
    records.close()


def test_a_model_is_its_jobs_owners(tmp_path: Path) -> None:
    records = JobRecords(StoreSettings(home=tmp_path))
    owners = Owners(records.engine)
    owners.claim("job", "a", "ann")
    for job in ("a", "nobodys"):
        owners.inherit(job, f"model-{job}")
    assert owners.of_kind("model") == {"model-a": "ann"}
    assert owners.owner_of("model", "\0") is None
    records.close()


@pytest.mark.parametrize("lost", ["key", "file of keys", "job"])
def test_following_ends_when_there_is_nothing_to_follow_by(
    lost: str, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_routes, "POLL_SECONDS", 0.01)
    job = house.compress("ann").json()["id"]
    context = house.client.app.state.context  # type: ignore[attr-defined]
    caller = context.access.caller(b"", house.keys.by_name["ann"].encode(), "")

    def lose() -> None:
        lines = house.keys.file.read_text().splitlines()
        if lost == "key":
            kept = [line for line in lines if not line.startswith("ann ")]
            house.keys.file.write_text("\n".join(kept))
        elif lost == "file of keys":
            house.keys.file.rename(house.keys.file.with_name("away"))
        else:
            context.queue.cancel(job)
            with context.queue.records.engine.begin() as connection:
                connection.execute(JOBS.delete())

    async def follow() -> int:
        events = 0
        async for _ in job_routes._events(context, caller, job, None):
            events += 1
            if events == 2:
                lose()
        return events

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == 2
