"""`/inspect` on a real database: no worker, a slow one, an answer, what becomes of uploads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from isslim.compress.worker.garbage import Keep, Stores, collect_garbage
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.store.checkpoints import Checkpoints
from isslim.store.locks import FileLocks
from isslim.store.queue import JobQueue
from isslim.store.uploads import UploadStore
from isslim.types.inspection import Inspection
from tests.jobs import answer as answer_inspection
from tests.service.test_routes import problem

FORM = {"files": {"model": ("m.pt", b"some bytes"), "vocabulary": ("words.txt", b"one\ntwo\n")}}


@pytest.fixture
def house(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(home=tmp_path / "home", inspect_wait_seconds=0.3)


@pytest.fixture
def client(house: ServiceSettings) -> Iterator[TestClient]:
    with TestClient(create_app(house)) as made:
        yield made


def uploads(house: ServiceSettings) -> list[Path]:
    return sorted((house.home / "artifacts" / "uploads").glob("*"))


def test_without_a_worker_nobody_waits(client: TestClient, house: ServiceSettings) -> None:
    answer = client.post("/inspect", **FORM)
    assert "isslim worker" in str(problem(answer, 503, "no-worker")["detail"])
    assert uploads(house) == []


def test_forms_that_are_no_requests_are_refused(client: TestClient) -> None:
    wrong = client.post(
        "/inspect",
        **FORM,
        data={"options": json.dumps({"budget": {"speedup": 2, "size_ratio": 0.5}})},
    )
    assert "name one" in str(problem(wrong, 422, "invalid-request")["detail"])
    problem(client.post("/inspect", files={"model": b"x", "modle": b"y"}), 422, "invalid-request")
    problem(client.get("/inspections/nope"), 404, "not-found")


def test_slow_answer_is_found_where_the_service_says(
    client: TestClient, house: ServiceSettings
) -> None:
    held = FileLocks(house.locks).acquire("a worker")
    assert held is not None
    pending = client.post("/inspect", **FORM)
    assert pending.status_code == 202
    assert pending.json()["state"] == "queued"
    where = pending.headers["location"]
    assert where == f"/inspections/{pending.json()['id']}"
    assert client.get(where).status_code == 202
    # What is still to be inspected is kept, also when the same files come in a request that is
    # refused.
    before = uploads(house)
    assert len(before) == 2
    queue = JobQueue(house)
    stores = Stores(
        queue.records,
        queue.inspections,
        house.work,
        UploadStore(house),
        BundleStore(house),
        Checkpoints(house),
    )
    for path in before:
        os.utime(path, (0, 0))
    collect_garbage(stores, Keep())
    assert uploads(house) == before
    answer = Inspection(understood=True, layout="two layers")
    assert answer_inspection(queue.inspections, pending.json()["id"], answer)
    found = client.get(where)
    assert found.status_code == 200
    assert Inspection.model_validate(found.json()) == answer
    # Answered: nobody needs the uploads any more.
    collect_garbage(stores, Keep())
    assert uploads(house) == []
    queue.close()
    held.close()
