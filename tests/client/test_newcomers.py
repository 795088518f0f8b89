"""What a newcomer gets wrong on the command line is said in words, before a service is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isslim.client.api import Client, Unreachable, WrongSetting
from isslim.client.cli import app
from isslim.client.commands import exits
from isslim.client.commands.asking import texts_of
from isslim.client.commands.following import going_on
from tests.service.served import served

NOWHERE = "http://127.0.0.1:1"
BYTE = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        (["score", "mine", BYTE], "texts"),
        (["score", BYTE, "a"], "model"),
        (["ask", "mine", BYTE], "question"),
        (["models", "show", BYTE], "model"),
        (["jobs", "show", BYTE], "job"),
        (["inspect", __file__, "--start-token", BYTE], "--start-token"),
    ],
)
def test_word_that_is_not_utf8_is_wrong_usage(words: list[str], argument: str) -> None:
    done = CliRunner(env={"ISS_URL": NOWHERE}).invoke(app, words, input="the cat")
    assert (done.exit_code, done.stdout) == (exits.USAGE, "")
    hint, _, told = done.stderr.partition("Invalid value for ")[2].partition(": ")
    assert argument in hint
    assert told == "'\\xff' is not UTF-8\n"


@pytest.mark.parametrize("words", [["score", "mine"], ["ask", "mine", "who?"]])
def test_input_that_is_not_utf8_is_wrong_usage(words: list[str]) -> None:
    # The locale of a bare container reads such bytes without a word.
    done = subprocess.run(
        [sys.executable, "-m", "isslim.client", *words, "--url", NOWHERE],
        input=b"the \xff cat",
        capture_output=True,
        env=os.environ | {"LC_ALL": "C"},
        check=False,
    )
    assert done.returncode == exits.USAGE
    assert b"standard input is not UTF-8: invalid start byte at byte 4" in done.stderr


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes("\ufeffone\x0ctwo\r\n\nthree\u2028four\n".encode())
    assert texts_of(file, lines=True) == ["one\x0ctwo", "three\u2028four"]
    assert texts_of(file, lines=False) == ["one\x0ctwo\n\nthree\u2028four\n"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("models show ..", "'..' is no id or name"),
        ("models files ''", "'' is no id or name"),
        ("jobs show .", "'.' is no id or name"),
        ("models list --url foo", "'foo' is no address, such as http://127.0.0.1:8000"),
        ("models list --url http://", "'http://' is no address"),
        ("models list --url http://h\u200bst:1", "is no address"),
        ("models list --url http://127.0.0.1:99999", "there is no port 99999"),
        ("models list --url 'http://127.0.0.1:1\u00a0'", "it holds a blank"),
        (f"models list --url http://127.0.0.1:1/{BYTE}", "it is not UTF-8"),
    ],
)
def test_name_or_address_that_is_none_is_wrong_usage(words: str, told: str) -> None:
    done = CliRunner(env={"ISS_URL": NOWHERE}).invoke(app, words)
    assert (done.exit_code, done.stdout) == (exits.USAGE, "")
    assert told in done.stderr


def test_address_in_a_variable_that_is_none_is_wrong_usage() -> None:
    for variable, told in (("ISS_URL", "ISS_URL"), ("HTTP_PROXY", "HTTP_PROXY")):
        held = {"ISS_URL": NOWHERE} | {variable: "foo://h\u200bst:1"}
        done = CliRunner(env=held).invoke(app, ["models"])
        assert (done.exit_code, done.stdout) == (exits.USAGE, "")
        assert told in done.stderr
        assert "is no address" in done.stderr or "holds no address" in done.stderr
    with pytest.raises(WrongSetting, match="begins with no http"):
        Client("localhost:8000")


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        ("--perplexity-rise 5", True),
        ("--budget loss=5", True),
        ("--perplexity-rise 5%", False),
        ("--perplexity-rise 500%", False),
        ("--speedup 3", False),
        ("--f1-fall 5", False),
    ],
)
def test_loss_of_several_hundred_percent_is_warned_of(words: str, warned: bool) -> None:
    done = CliRunner(env={"ISS_URL": NOWHERE}).invoke(app, f"compress {__file__} {words}")
    assert done.exit_code == exits.UNREACHABLE
    assert ("a loss of 5 means 500 %" in done.stderr) == warned
    assert ("write 5% or 0.05" in done.stderr) == warned


def test_service_that_is_gone_leaves_the_way_back_to_the_job(tmp_path: Path) -> None:
    service = served(tmp_path / "home", {})
    with service as url, Client(url) as client:
        assert client.jobs() == []
        service.process.terminate()
        service.process.wait(timeout=20)
        told = r"(?s)no service answers .*the job j1 continues .*isslim jobs watch j1 --url"
        with pytest.raises(Unreachable, match=told), going_on(client, "j1"):
            client.job("j1")
        with pytest.raises(Unreachable) as never, Client(url) as other, going_on(other, "j1"):
            other.job("j1")
        assert "continues" not in str(never.value)


def test_closed_output_is_no_traceback() -> None:
    command = f"'{sys.executable}' -m isslim.client models --url {NOWHERE} >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert done.returncode == exits.UNREACHABLE
    assert done.stderr.startswith(b"no service answers at")
