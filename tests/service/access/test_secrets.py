"""No answer and no log of a job names a path of the server or its database; no log a secret."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.service.problems import problem_of
from isslim.settings.environment import SettingsRefused, read
from isslim.settings.service import ServiceSettings
from isslim.settings.worker import WorkerSettings
from isslim.store.attempts import Attempt, Reached
from isslim.store.errors import StoreError, Unavailable
from isslim.store.private import Private, shown_database
from isslim.store.probe import storage_state
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.types.inspection import Inspection
from isslim.types.jobs import CompressionRequest, JobState, UploadRef
from isslim.types.problem import Problem
from tests.conftest import Published

REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/health/ready", {}),
    ("GET", "/v2/health/ready", {}),
    ("GET", "/metrics", {}),
    ("GET", "/models", {}),
    ("GET", "/models/tiny", {}),
    ("GET", "/models/tiny/card", {}),
    ("GET", "/models/tiny/files/compressed.onnx", {}),
    ("GET", "/models/tiny/files/../../../../etc/passwd", {}),
    ("GET", "/models/tiny/latency", {}),
    ("DELETE", "/models/tiny", {}),
    ("POST", "/score", {"json": {"model": "tiny", "texts": ["a"]}}),
    ("POST", "/v1/completions", {"json": {"model": "tiny", "prompt": "a"}}),
    ("POST", "/v2/models/tiny/infer", {"json": {"inputs": []}}),
    ("POST", "/v2/repository/models/tiny/load", {}),
    ("POST", "/compress", {"files": {"model": ("../../x.pt", b"x")}}),
    ("POST", "/inspect", {"files": {"model": b"x"}}),
    ("GET", "/jobs", {}),
    ("GET", "/jobs/nope", {}),
    ("GET", "/sweeps", {}),
    ("GET", "/aliases", {}),
    ("PUT", "/aliases/prod", {"json": {"model": "tiny"}}),
    ("GET", "/audit", {}),
    ("GET", "/static/../main.py", {}),
    ("GET", "/ui/../../main.py", {}),
)


def is_for(template: str, path: str) -> bool:
    """Whether a path of the document describes requests to another."""
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) is not None


def ruin(home: Path, how: str) -> None:
    """Breaks what lies in a home."""
    artifacts = home / "artifacts"
    (bundle,) = (artifacts / "bundles").iterdir()
    if how == "no storage":
        shutil.rmtree(artifacts)
    elif how == "storage is a file":
        shutil.rmtree(artifacts)
        artifacts.write_text("")
    elif how == "graphs are damaged":
        for graph in bundle.glob("*.onnx"):
            graph.write_bytes(b"\x00" * graph.stat().st_size)
    elif how == "manifest is damaged":
        (bundle / "manifest.json").write_text("{")
    elif how == "no tables":
        engine = sa.create_engine(f"sqlite:///{home / 'jobs.sqlite'}")
        for table in ("iss_jobs", "iss_aliases", "iss_owners", "iss_sweeps", "iss_audit"):
            with engine.begin() as connection:
                connection.exec_driver_sql(f"DROP TABLE {table}")
        engine.dispose()
    elif how == "everything is gone":
        shutil.rmtree(home)


@pytest.mark.parametrize(
    "how",
    [
        "nothing",
        "no storage",
        "storage is a file",
        "graphs are damaged",
        "manifest is damaged",
        "no tables",
        "everything is gone",
    ],
)
def test_no_answer_names_a_path(how: str, tmp_path: Path, published: Published) -> None:
    home = tmp_path / "home-of-the-service"
    shutil.copytree(published.settings.home / "artifacts", home / "artifacts")
    settings = ServiceSettings(home=home, score_seconds=5, database_wait_seconds=1)
    statuses = []
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        document = client.get("/openapi.json").json()["paths"]
        ruin(home, how)
        for method, path, content in REQUESTS:
            answer = client.request(method, path, **content)
            statuses.append(answer.status_code)
            described = {key: each for key, each in document.items() if is_for(key, path)}
            for key, operations in described.items():
                assert str(answer.status_code) in operations[method.lower()]["responses"], key
            said = answer.text + json.dumps(dict(answer.headers))
            for private in ("home-of-the-service", str(tmp_path), str(Path.home()) + "/", "sqlite"):
                assert private not in said, (method, path, said[:500])
    assert any(each >= 400 for each in statuses)


def test_no_answer_names_the_database(caplog: pytest.LogCaptureFixture) -> None:
    reason = 'connection to server at "db.internal" (10.1.2.3), port 5432 failed: user "iss"'
    problem = problem_of(Unavailable(reason))
    assert (problem.status, problem.type) == (503, "database-unavailable")
    for private in ("db.internal", "10.1.2.3", "5432", "iss"):
        assert private not in problem.model_dump_json()
    assert Unavailable(reason).reason == reason


@pytest.mark.slow
def test_database_that_is_stopped_is_not_named(tmp_path: Path) -> None:
    from benchmarks.cluster.postgres import NotInstalled, Postgres

    try:
        with Postgres() as started:
            url = started.new_database().replace("postgresql:", "postgresql+psycopg:")
            port = str(started.port)
            settings = ServiceSettings(home=tmp_path / "home", database_url=url)
            with TestClient(create_app(settings), raise_server_exceptions=False) as client:
                started.stop()
                for method, path, content in REQUESTS:
                    answer = client.request(method, path, **content)
                    said = answer.text + json.dumps(dict(answer.headers))
                    for private in (port, "127.0.0.1", "postgres", "psycopg", str(tmp_path)):
                        assert private not in said, (method, path, said[:500])
                started.start()
    except NotInstalled as missing:
        pytest.skip(str(missing))


def test_texts_lose_what_they_should_not_name(tmp_path: Path) -> None:
    address = "postgresql+psycopg://iss:geheim123@db.internal:5432/jobs"
    settings = StoreSettings(home=tmp_path / "home", database_url=address)
    private = Private(settings, tmp_path / "secret" / "keys.txt")
    hidden = private.hide(
        f"{tmp_path}/home/artifacts/x.onnx, {tmp_path}/home-2/x, {tmp_path}/secret/keys.txt, "
        f"{address}, db.internal, geheim123, /models/home, {Path(sa.__file__).parent}/engine.py"
    )
    assert hidden.startswith("<ISS_HOME>/artifacts/x.onnx, ")
    assert f"{tmp_path}/home-2/x" in hidden  # another folder
    assert "/models/home" in hidden
    for each in ("db.internal", "geheim123", "/secret/", "site-packages/sqlalchemy/../.."):
        assert each not in hidden
    assert "<keys.txt>" in hidden
    assert str(Path.home()) + "/" not in private.hide(f"{Path.home()}/.bashrc")
    assert Private(StoreSettings(home=Path("/data"))).hide("/data/x, /database/x, a/data/x") == (
        "<ISS_HOME>/x, /database/x, a/data/x"
    )


def test_host_that_is_a_word_is_hidden_where_it_is_a_host() -> None:
    address = "postgresql+psycopg://isslim:geheim123@database/isslim"
    hide = Private(StoreSettings(home=Path("/data"), database_url=address)).hide
    said = "the database does not answer now; the log says more"
    assert hide(said) == said
    for named in (
        "failed to resolve host 'database': [Errno -2] Name or service not known",
        'connection to server at "database", port 5432 failed',
        "cannot reach database:5432",
        "postgresql://isslim@database/isslim",
        address,
    ):
        assert "database" not in hide(named).replace("<database>", "")
    near = StoreSettings(
        home=Path("/data"), database_url=address.replace("@database", "@localhost")
    )
    served = "the service answers at http://localhost:8000"
    assert Private(near).hide(served) == served  # which says nothing of the database


def test_logs_and_problems_of_jobs_name_no_path(tmp_path: Path) -> None:
    settings = StoreSettings(home=tmp_path / "home")
    queue = JobQueue(settings)
    upload = UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1)
    request = CompressionRequest(model=upload)
    job, path = queue.enqueue(request), f"{settings.home.absolute()}/cache/x/inputs/y"
    attempt = queue.records.attempts.begin(job.id, 1, "worker", lambda _: True)
    assert isinstance(attempt, Attempt)
    told = Reached("ingest", 0.1, f"read {path}", [f"File {path}, line 1"])
    queue.records.attempts.advance(attempt, told)
    problem = Problem(kind="crashed", title="It crashed", detail=f"in {path}", issues=[path])
    queue.records.attempts.finish(attempt, JobState.FAILED, problem=problem)
    found = queue.get(job.id)
    assert str(tmp_path) not in found.model_dump_json()
    assert found.log == ["File <ISS_HOME>/cache/x/inputs/y, line 1"]
    inspection = queue.inspect(request)
    begun = queue.inspections.begin(inspection, 1, "worker", lambda _: True)
    assert begun is not None
    answer = Inspection(understood=False, problem=problem)
    assert queue.inspections.finish(begun, answer)
    assert str(tmp_path) not in str(queue.inspection(inspection))
    queue.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ISS_DATABASE_URL", "mysql://iss:geheim@db/jobs"),
        ("ISS_DATABASE_URL", "postgresql://iss:a@geheim@db/jobs"),
        ("ISS_DATABASE_URL", "postgresql://iss:a/geheim@db:x/jobs"),
        ("ISS_DATABASE_URL", "postgresql://iss:geheim/jobs"),
        ("ISS_DATABASE_URL", "iss:geheim@db/jobs"),
        ("ISS_ARTIFACTS_URL", "ftp://key:geheim@bucket"),
        ("ISS_ARTIFACTS_URL", "key:a/geheim@bucket"),
        ("ISS_STATE_KEY", "geheim"),
    ],
)
def test_refused_settings_show_no_secret(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    for settings in (ServiceSettings, WorkerSettings):
        if variable == "ISS_STATE_KEY" and settings is WorkerSettings:
            continue
        with pytest.raises(SettingsRefused) as caught:
            read(settings)
        assert variable in str(caught.value)
        assert "geheim" not in str(caught.value)


def test_settings_that_are_read_by_a_program_show_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ISS_DATABASE_URL", "mysql://iss:geheim@db/jobs")
    with pytest.raises(ValueError, match="expected a URL") as caught:
        StoreSettings()
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("module", ["isslim.service", "isslim.compress.worker"])
def test_address_at_which_no_storage_can_be_ends_the_start_in_a_line(
    module: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=os.environ | {"ISS_HOME": str(tmp_path), "ISS_ARTIFACTS_URL": "az://key:geheim@x/y"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "geheim" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "ISS_ARTIFACTS_URL is 'az://***@x/y': " in line


def test_diagnosis_shows_no_secret(tmp_path: Path) -> None:
    address = "http://key:geheim@127.0.0.1:9/bucket"
    with pytest.raises(StoreError) as caught:
        storage_state(StoreSettings(home=tmp_path, artifacts_url=address))
    assert "geheim" not in str(getattr(caught.value, "reason", "")) + str(caught.value)


def test_database_is_shown_without_the_passwords_of_its_options() -> None:
    url = "postgresql+psycopg://iss:geheim1@db.internal/jobs?sslmode=require&sslpassword=geheim2"
    assert shown_database(url) == "postgresql+psycopg://iss:***@db.internal/jobs?sslmode=require"
    hide = Private(StoreSettings(home=Path("/data"), database_url=url)).hide
    assert hide("geheim1, geheim2") == "<database>, <database>"


def test_keys_are_in_no_log(
    tmp_path: Path, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    from isslim.types.access import Scope
    from tests.service.access.conftest import make_keys

    keys = make_keys(tmp_path, root=[Scope.ADMIN])
    settings = ServiceSettings(home=published.settings.home, api_keys_file=keys.file)
    with caplog.at_level(logging.DEBUG), TestClient(create_app(settings)) as client:
        for headers in (keys.headers("root"), {"x-api-key": "geheim-and-wrong"}):
            for method, path in (("GET", "/models"), ("DELETE", "/jobs/nope"), ("POST", "/score")):
                client.request(method, path, headers=headers)
    for secret in (keys.by_name["root"], "geheim"):
        assert secret not in caplog.text
        assert not any(secret in str(vars(each)) for each in caplog.records)
