"""No output of the command line and no error of the client holds the password of an address."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from typer.testing import CliRunner

from isslim.client.api import Client, Unreachable, WrongSetting
from isslim.client.cli import app
from isslim.client.commands import doctor, exits
from isslim.client.commands.options import again

ADDRESSES = [
    "http://user:geheim@127.0.0.1:1",
    "http://geheim@127.0.0.1:1",
    "http://user:gehe/geheim@127.0.0.1:1",
    "http://user:geheim/x@127.0.0.1:1",
    "http://user:geheim#1@127.0.0.1:1",
    "http://user:geheim 1@127.0.0.1:1",
    "http://user:geheim@127.0.0.1:99999",
    "http://user:geheim@",
    "http://user:geheim",
    "http:/user:geheim@127.0.0.1",
    "user:geheim@127.0.0.1:1",
    "ftp://user:geheim@127.0.0.1:1",
    "http://127.0.0.1:1?token=geheim",
    "http://user:geheim\udcff@127.0.0.1:1",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_of_the_service_is_shown_without_a_secret(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PARTS", {})  # which look at the whole machine, for seconds
    for words in (["jobs", "list"], ["jobs", "list", "--json"], ["doctor"], ["doctor", "--json"]):
        by_variable = CliRunner(env={"ISS_URL": address}).invoke(app, words)
        by_option = CliRunner().invoke(app, [*words, "--url", address])
        for done in (by_variable, by_option):
            assert done.exit_code in (exits.USAGE, exits.UNREACHABLE, exits.REFUSED)
            assert "geheim" not in done.output + str(done.exception)
            assert "127.0.0.1" in done.output or "127.0.0.1" not in address
    with pytest.raises((WrongSetting, Unreachable)) as caught, Client(address) as client:
        client.jobs()
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "words",
    [
        "jobs http://user:geheim@host",
        "models show name http://user:geheim@host",
        "http://user:geheim@host",
        "compress http://user:geheim@host/model.pt",
        "models latency name --steps http://user:geheim@host",
        "push name hf://user:geheim@host",
        "pull name --geheim=http://user:geheim@host",
    ],
)
def test_address_in_the_wrong_place_is_shown_without_a_secret(words: str) -> None:
    done = CliRunner(env={"ISS_URL": "http://127.0.0.1:1"}).invoke(app, words)
    assert done.exit_code in (exits.USAGE, exits.REFUSED)
    assert "geheim@" not in done.output


def test_address_of_a_proxy_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://user:gehe/im@proxy", "ftp://user:geheim@proxy", "http://u:geheim@:x"):
        monkeypatch.setenv("HTTP_PROXY", address)
        with pytest.raises(WrongSetting, match="HTTP_PROXY") as caught:
            Client("http://127.0.0.1:1")
        assert "gehe" not in str(caught.value)


def test_next_command_names_the_service_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = "http://user:geheim@host"
    assert again("jobs show a", address) == "isslim jobs show a --url http://***@host"
    monkeypatch.setenv("ISS_URL", address)
    assert again("jobs show a", address) == "isslim jobs show a"


@pytest.fixture
def asks_for_a_password() -> Iterator[tuple[str, list[str]]]:
    """A site that answers an empty list, and the credentials that it was sent."""
    sent: list[str] = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(str(self.headers["authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"items": [], "jobs": [], "models": [], "next": null}')

        def log_message(self, *_: object) -> None:
            """Writes nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", sent
        server.shutdown()


def test_password_is_sent_and_in_no_log(
    asks_for_a_password: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    place, sent = asks_for_a_password
    with caplog.at_level(logging.DEBUG), Client(f"http://user:geheim%20x@{place}") as client:
        assert client.ready()
    assert sent == ["Basic dXNlcjpnZWhlaW0geA=="]  # user:geheim x
    assert place in caplog.text
    assert "geheim" not in caplog.text
