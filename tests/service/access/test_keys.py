"""Keys are asked for, in each protocol's own words, and what is in the file is in force at once."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from isslim.client.api import Client
from isslim.client.cli import app as program
from isslim.client.commands import exits
from isslim.client.forms import ProblemError, WrongSetting
from isslim.service.main import create_app
from isslim.settings.environment import SettingsRefused, read
from isslim.settings.service import ServiceSettings
from isslim.types.access import KeyLimits, Scope, digest_of, line_of, new_key, read_keys
from tests.conftest import Published
from tests.service.access.conftest import Keys, make_keys
from tests.service.served import served

SCORE = {"model": "tiny", "texts": ["the cat"]}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/score", SCORE, ("detail",)),
        ("/v1/completions", {"model": "tiny", "prompt": "a"}, ("error", "message")),
        ("/models/tiny/tokenize", {"text": "a"}, ("error", "message")),
        ("/v2/models/tiny/infer", {"inputs": []}, ("error",)),
    ],
)
def test_refusal_has_the_shape_of_its_protocol(
    path: str, body: object, message: tuple[str, ...], guarded: TestClient, keys: Keys
) -> None:
    for headers, status, words in (
        ({}, 401, "send a key"),
        ({"authorization": "Bearer "}, 401, "send a key"),
        ({"authorization": "Basic YTpi"}, 401, "send a key"),
        ({"authorization": "Bearer nonsense"}, 401, "not known"),
        ({"x-api-key": "nonsense"}, 401, "not known"),
        (keys.headers("read"), 403, "'read' has the scopes read, and this needs score"),
    ):
        answer = guarded.post(path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        found = answer.json()
        for name in message:
            found = found[name]
        assert words in found
        assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
        kind = "application/problem+json" if message == ("detail",) else "application/json"
        assert answer.headers["content-type"] == kind
        assert "nonsense" not in answer.text


def test_openai_clients_are_told_which_key_is_wrong(guarded: TestClient) -> None:
    answer = guarded.get("/v1/models", headers={"authorization": "Bearer nonsense"})
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_key_is_taken_from_both_headers(guarded: TestClient, keys: Keys) -> None:
    key = keys.by_name["score"]
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer  {key} "},
        {"x-api-key": key},
        {"x-api-key": key, "authorization": "Basic YTpi"},
        {"x-api-key": key, "authorization": "Bearer "},
    ):
        assert guarded.post("/score", json=SCORE, headers=headers).status_code == 200
    hashed = {"x-api-key": digest_of(key.encode())}
    assert guarded.post("/score", json=SCORE, headers=hashed).status_code == 401


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_of_any_editor_is_read(ends: str) -> None:
    key = new_key()
    line = line_of("lab", [Scope.READ], key)
    found, issues = read_keys("\ufeff" + ends.join([line, "# a comment", ""]))
    assert [(each.name, each.digest) for each in found] == [("lab", digest_of(key.encode()))]
    assert issues == []


def test_a_refused_body_is_not_read(guarded: TestClient) -> None:
    answer = guarded.post("/score", content=b"{" * 100, headers={"content-type": "text/plain"})
    assert answer.status_code == 401


def test_metrics_are_open_unless_that_is_switched_off(
    guarded: TestClient, published: Published, keys: Keys
) -> None:
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/metrics", headers=keys.headers("read")).status_code == 200
    settings = ServiceSettings(home=published.settings.home, api_keys_file=keys.file)
    with TestClient(create_app(settings)) as client:
        assert client.get("/metrics").status_code == 200


def test_file_is_in_force_as_soon_as_it_changes(
    tmp_path: Path, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    keys = make_keys(tmp_path, first=[Scope.READ])
    settings = ServiceSettings(home=published.settings.home, api_keys_file=keys.file)
    with TestClient(create_app(settings)) as client:

        def status(key: str) -> int:
            return client.get("/models", headers={"x-api-key": key}).status_code

        first, second = keys.by_name["first"], new_key()
        assert (status(first), status(second)) == (200, 401)
        with keys.file.open("a") as file:
            file.write(line_of("second", [Scope.READ], second) + "\n")
        assert (status(first), status(second)) == (200, 200)
        # A wrong line is left out, and said without what it holds; the others are in force.
        keys.file.write_text(f"first read {first}\n" + line_of("second", [Scope.READ], second))
        with caplog.at_level(logging.ERROR, "service.access"):
            assert (status(first), status(second)) == (401, 200)
        assert "line 1" in caplog.text
        assert first not in caplog.text
        keys.file.unlink()
        answer = client.get("/models", headers={"x-api-key": second})
        assert answer.status_code == 503
        assert answer.json()["type"] == "keys-unreadable"
        assert str(tmp_path) not in answer.text
        for path in ("/health/ready", "/v2/health/ready"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert "cannot read its file of keys" in answer.text
            assert str(tmp_path) not in answer.text
        assert client.get("/health/live").status_code == 200
        keys.file.write_text(line_of("first", [Scope.READ], first))
        assert (status(first), status(second)) == (200, 401)
        assert client.get("/health/ready").status_code == 200


def test_without_a_file_an_empty_key_is_fine(client: TestClient) -> None:
    """As clients send it that want one and were given none."""
    answer = client.get("/v1/models", headers={"authorization": "Bearer "})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("line", "issue"),
    [
        ("name read", "expected `<name> <scopes> <SHA-256 of the key>`"),
        ("na/me read " + "0" * 64, "the name may have"),
        ("name read,write " + "0" * 64, "scopes are read, score, compress, admin"),
        ("name  read  secret", "the third word has to be the SHA-256"),
        ("name read " + "0" * 64 + " jobs=many", "jobs has to be a whole number"),
        ("name read " + "0" * 64 + " jobs=1 jobs=2", "limits are upload_bytes=, jobs=, models="),
        ("name read " + "0" * 64 + " speed=2", "limits are"),
        ("a read " + "0" * 64 + "\na score " + "1" * 64, "the name 'a' is in another line too"),
        ("a read " + "0" * 64 + "\nb score " + "0" * 64, "the key is in another line too"),
    ],
)
def test_wrong_lines_are_named_without_what_they_hold(
    line: str, issue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, issues = read_keys(line)
    assert [issue in each for each in issues] == [True]
    assert "secret" not in issues[0]
    (tmp_path / "keys").write_text(line)
    monkeypatch.setenv("ISS_API_KEYS_FILE", str(tmp_path / "keys"))
    with pytest.raises(SettingsRefused) as caught:
        read(ServiceSettings)
    assert issue in str(caught.value)


def test_missing_file_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISS_API_KEYS_FILE", "/nowhere/keys")
    with pytest.raises(SettingsRefused, match="expected a file of keys that can be read"):
        read(ServiceSettings)


def test_limits_of_a_key_are_read() -> None:
    line = (
        line_of("a", [Scope.ADMIN], "x")
        + " jobs=2 rate=5/second upload_bytes=10 models=0 inspections=3 aliases=4"
    )
    ((record,), issues) = read_keys(line)
    assert not issues
    assert record.limits == KeyLimits(
        upload_bytes=10, jobs=2, models=0, inspections=3, aliases=4, rate="5/second"
    )
    assert record.scopes == set(Scope)


def test_command_makes_a_key_and_its_line() -> None:
    made = CliRunner().invoke(
        program, ["keys", "new", "lab", "--scope", "score", "--scope", "read", "--json"]
    )
    found = json.loads(made.stdout)
    assert found["line"] == f"lab read,score {digest_of(found['key'].encode())}"
    assert found["key"].startswith("iss_")
    shown = CliRunner().invoke(program, ["keys", "new", "lab", "--scope", "admin"]).stdout
    assert "lab admin " in shown
    assert CliRunner().invoke(program, ["keys", "new", "l b", "--scope", "read"]).exit_code == 2
    assert CliRunner().invoke(program, ["keys", "new", "lab"]).exit_code == 2


def test_several_processes_client_and_command_line(
    tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over connections, so that each process is asked."""
    keys = make_keys(tmp_path, lab=[Scope.READ, Scope.SCORE])
    limits = {"ISS_API_KEYS_FILE": str(keys.file), "ISS_PROCESSES": "2"}
    monkeypatch.delenv("ISS_API_KEY", raising=False)
    with served(published.settings.home, limits) as url:
        for _ in range(6):
            with Client(url, key=keys.by_name["lab"]) as client:
                assert client.score("tiny", ["the cat"]).variants
            with Client(url) as client, pytest.raises(ProblemError, match="send a key"):
                client.models()
        arguments = ["models", "--url", url]
        refused = CliRunner().invoke(program, arguments)
        assert (refused.exit_code, "ISS_API_KEY holds the key" in refused.stderr) == (1, True)
        monkeypatch.setenv("ISS_API_KEY", keys.by_name["lab"])
        assert CliRunner().invoke(program, arguments).exit_code == 0
        monkeypatch.setenv("ISS_API_KEY", "nonsense")
        secret = tmp_path / "key"
        secret.write_text(keys.by_name["lab"] + "\n")
        by_file = CliRunner().invoke(program, ["--key-file", str(secret), *arguments])
        assert by_file.exit_code == 0, by_file.output


@pytest.mark.parametrize(
    ("held", "told"), [("geheim\u00fc", "not ASCII"), ("geheim 1", "blanks or line ends")]
)
def test_what_cannot_be_a_key_is_not_quoted(
    held: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongSetting, match=f"the argument `key` holds no key: .*{told}") as caught:
        Client(key=held)
    assert "geheim" not in str(caught.value)
    file = tmp_path / "key"
    file.write_text(held)
    nothing = tmp_path / "nothing"
    nothing.write_text("\n")
    monkeypatch.setenv("ISS_API_KEY", held)
    monkeypatch.setenv("ISS_URL", "http://127.0.0.1:1")
    for words, said in (
        (["models"], "ISS_API_KEY holds no key"),
        (["--key-file", str(file), "models"], f"--key-file {file} holds no key"),
        (["--key-file", str(nothing), "models"], "is empty"),
    ):
        refused = CliRunner().invoke(program, words)
        assert (refused.exit_code, refused.stdout) == (exits.USAGE, "")
        assert said in refused.stderr.replace("\n", "")
        assert "geheim" not in refused.stderr
