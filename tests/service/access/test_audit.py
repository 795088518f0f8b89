"""Whatever changes something leaves an entry and a line, whoever asks and however it ends."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from isslim.demo.ports import free_port
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store import audit
from isslim.store.audit import AuditStore
from isslim.types.schemas.audit import AuditEntry
from tests.conftest import Published
from tests.service.access.conftest import Keys
from tests.service.served import served


@pytest.fixture
def home(tmp_path: Path, published: Published) -> Path:
    shutil.copytree(published.settings.home / "artifacts", tmp_path / "home" / "artifacts")
    return tmp_path / "home"


@pytest.fixture
def audited(home: Path, keys: Keys) -> Iterator[TestClient]:
    settings = ServiceSettings(home=home, api_keys_file=keys.file)
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made


def entries(client: TestClient, keys: Keys) -> list[AuditEntry]:
    found = client.get("/audit", headers=keys.headers("admin"))
    assert found.status_code == 200, found.text
    return [AuditEntry.model_validate(each) for each in found.json()]


def test_changes_are_noted_and_reading_is_not(audited: TestClient, keys: Keys) -> None:
    put = {"headers": keys.headers("admin"), "json": {"model": "tiny"}}
    for method, path, options in (
        ("GET", "/models", {"headers": keys.headers("read")}),
        ("POST", "/score", {"headers": keys.headers("score"), "json": {}}),
        ("PUT", "/aliases/prod?note=secret-note", {**put, "json": {"model": "tiny"}}),
        ("PUT", "/aliases/prod", {**put}),
        ("DELETE", "/models/tiny", {"headers": keys.headers("admin")}),
        ("DELETE", "/models/nope", {"headers": keys.headers("compress")}),
        ("DELETE", "/models/tiny", {"headers": keys.headers("read")}),
        ("DELETE", "/models/tiny", {}),
        ("POST", "/compress", {"headers": keys.headers("admin"), "files": {"model": b"x"}}),
    ):
        audited.request(method, path, **options)  # type: ignore[arg-type]
    found = entries(audited, keys)
    assert [(each.key, each.method, each.path, each.status) for each in found] == [
        ("admin", "POST", "/compress", 202),
        ("read", "DELETE", "/models/tiny", 403),
        ("compress", "DELETE", "/models/nope", 404),
        ("admin", "DELETE", "/models/tiny", 409),
        ("admin", "PUT", "/aliases/prod", 200),
        ("admin", "PUT", "/aliases/prod", 422),
    ]
    assert str(found[0].subject).startswith("/jobs/")
    assert {each.remote for each in found} == {"testclient"}
    assert all(each.request_id for each in found)
    older = audited.get(
        "/audit", params={"limit": 2, "before": found[1].id}, headers=keys.headers("admin")
    ).json()
    assert [each["id"] for each in older] == [each.id for each in found[2:4]]
    whole = json.dumps(older) + json.dumps([each.model_dump(mode="json") for each in found])
    assert not any(key in whole for key in keys.by_name.values())
    assert "secret-note" not in whole


def test_calls_over_grpc_that_change_something_are_noted(
    home: Path, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """Every method, by who may and by who may not; those that change nothing leave no entry."""
    grpc = pytest.importorskip("grpc", reason="gRPC is optional: pip install 'isslim[grpc]'")
    from isslim.service.inference_protocol.grpc_messages import (
        SERVICE,
        message_classes,
        service_descriptor,
    )

    port, service = free_port(), service_descriptor()
    types = message_classes(service)
    asked = types["RepositoryModelUnloadRequest"]
    changes = [asked(model_name=name).SerializeToString() for name in ("tiny", "nope", "a\nb")]
    settings = ServiceSettings(home=home, grpc_port=port, api_keys_file=keys.file)
    with TestClient(create_app(settings)) as client:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

            def call(method: str, content: bytes, key: str) -> str:
                metadata = [("x-api-key", key), ("x-request-id", f"{method}-1")]
                ask = channel.stream_unary(f"/{SERVICE}/{method}")
                try:
                    ask(iter([content]), metadata=metadata, timeout=30)
                except grpc.RpcError as error:
                    return str(error.code().name)
                return "OK"

            for method in (each.name for each in service.methods):
                for name in ("admin", "read"):
                    if method != "ModelStreamInfer":
                        call(method, b"", keys.by_name[name])
            codes = [call("RepositoryModelUnload", each, keys.by_name["admin"]) for each in changes]
            with caplog.at_level("INFO", "service.audit"):
                assert call("RepositoryModelUnload", changes[0], "nonsense") == "UNAUTHENTICATED"
        assert codes == ["OK", "NOT_FOUND", "NOT_FOUND"]
        found = entries(client, keys)
    assert {(each.method, each.path, each.request_id) for each in found} == {
        ("gRPC", f"/{SERVICE}/RepositoryModelUnload", "RepositoryModelUnload-1")
    }
    assert [(each.key, each.subject, each.status) for each in found] == [
        ("admin", "/models/a\\nb", 404),
        ("admin", "/models/nope", 404),
        ("admin", "/models/tiny", 200),
        ("read", None, 403),
        ("admin", None, 404),
    ]
    assert {each.remote for each in found} == {"127.0.0.1"}
    (refused,) = [each for each in caplog.records if each.name == "service.audit"]
    assert (vars(refused)["status"], vars(refused)["key"]) == (401, None)


def test_only_administrators_read_it(audited: TestClient, keys: Keys) -> None:
    for name in ("read", "score", "compress"):
        assert audited.get("/audit", headers=keys.headers(name)).status_code == 403
    assert audited.get("/audit").status_code == 401


def test_the_entry_is_there_before_the_answer_ends(home: Path) -> None:
    """Who asks for the trail at once, on another connection, finds what was just answered."""
    app = create_app(ServiceSettings(home=home))
    seen: list[list[str]] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                seen.append([each.path for each in app.state.context.audit.newest(10)])
            await send(message)

        await app(scope, receive, sent)

    with TestClient(watched) as client:
        client.delete("/models/nope")
        client.delete("/models/other")
        assert len(client.get("/audit").json()) == 2, "once each"
    assert seen[:2] == [["/models/nope"], ["/models/other", "/models/nope"]]


def test_without_keys_there_is_a_trail_as_well(home: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=home))) as client:
        client.delete("/models/nope")
        client.delete("/models/nope", headers={"host": "evil.example"})
        (entry,) = client.get("/audit").json()
    assert (entry["key"], entry["path"], entry["status"]) == (None, "/models/nope", 404)


def test_hostile_paths_are_kept_plain(home: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=home))) as client:
        client.delete("/models/" + "x" * 5000)
        client.delete("/models/a%00b%0Ac%ED%A0%80")
        paths = [each["path"] for each in client.get("/audit").json()]
    assert len(paths[1]) == 300
    assert paths[0].startswith("/models/a\\x00b\\nc")
    assert paths[0].isprintable()


@pytest.mark.slow
def test_a_line_of_the_log_says_the_same(home: Path, keys: Keys, tmp_path: Path) -> None:
    """Whatever else is logged: of who was not let in, the line is all there is."""
    log = tmp_path / "log"
    quiet = {"ISS_LOG_LEVEL": "ERROR", "ISS_JOB_LOG_LEVEL": "ERROR"}
    with served(home, {"ISS_API_KEYS_FILE": str(keys.file), **quiet}, log) as url:
        import httpx

        httpx.delete(f"{url}/models/nope", headers=keys.headers("admin"))
        httpx.delete(f"{url}/models/nope", headers={"x-api-key": "nonsense-key"})
    lines = [json.loads(each) for each in log.read_text().splitlines()]
    found = [each for each in lines if each["logger"] == "service.audit"]
    assert [(each["key"], each["status"], each["remote"]) for each in found] == [
        ("admin", 404, "127.0.0.1"),
        (None, 401, "127.0.0.1"),
    ]
    assert all(each["request_id"] and each["timestamp"] for each in found)
    assert "nonsense-key" not in log.read_text()
    assert not any(key in log.read_text() for key in keys.by_name.values())


def test_entry_that_cannot_be_stored_is_one_line_and_changes_no_answer(
    home: Path, keys: Keys, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    waiting = {"ISS_API_KEYS_FILE": str(keys.file), "ISS_DATABASE_WAIT_SECONDS": "0.2"}
    with served(home, waiting, log) as url:
        import httpx

        def deleted(reason: str) -> dict[str, object]:
            """The line of a request that was answered, and is not in the trail."""
            headers = keys.headers("admin")
            assert httpx.delete(f"{url}/models/nope", headers=headers).status_code == 404
            limit = time.monotonic() + 20
            while reason not in log.read_text():  # it was answered before
                assert time.monotonic() < limit, log.read_text()
                time.sleep(0.02)
            (line,) = [each for each in log.read_text().splitlines() if reason in each]
            found: dict[str, object] = json.loads(line)
            return found

        with closing(sqlite3.connect(home / "jobs.sqlite")) as connection:
            # A statement that fails alone, as where the database is read only.
            connection.execute(
                "CREATE TRIGGER full BEFORE INSERT ON iss_audit "
                "BEGIN SELECT RAISE(ABORT, 'no\nroom'); END"
            )
            lines = [deleted("no room")]
            connection.execute("DROP TRIGGER full")
            connection.execute("BEGIN IMMEDIATE")
            lines.append(deleted("locked"))
            connection.rollback()
    assert "Traceback" not in log.read_text()
    assert [(each["level"], each["logger"]) for each in lines] == [("error", "service.audit")] * 2
    said = [json.loads(each) for each in log.read_text().splitlines() if '"audit"' in each]
    assert [each["request_id"] for each in said] == [each["request_id"] for each in lines]


def test_trail_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PRUNED_EVERY", 10)
    store = AuditStore(sa.create_engine(f"sqlite:///{tmp_path / 'a.sqlite'}"), days=1, entries=25)
    now = datetime.now(UTC)

    def add(at: datetime) -> None:
        fields = {"key": None, "remote": "", "request_id": "", "method": "PUT", "path": "/x"}
        store.add(AuditEntry(id=0, at=at, subject=None, status=200, **fields))

    for _ in range(5):
        add(now - timedelta(days=2))
    for _ in range(5):
        add(now)
    assert [each.id for each in store.newest(100)] == [10, 9, 8, 7, 6]
    for _ in range(50):
        add(now)
    kept = [each.id for each in store.newest(100)]
    assert kept == list(range(60, 35, -1))
