"""`isslim score --state`: a text that comes in parts is scored as one, by a file of its state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isslim.client.cli import app
from tests.conftest import Published
from tests.service.served import served


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    with served(published.settings.home, {}) as address:
        yield address


def log_prob(url: str, *arguments: str) -> float:
    """Of the only text, by the original."""
    words = ["score", "tiny", *arguments, "--variant", "original", "--url", url, "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found: float = json.loads(done.stdout)["variants"][0]["texts"][0]["log_prob"]
    return found


def test_a_text_goes_on_from_its_file(url: str, tmp_path: Path) -> None:
    file = tmp_path / "text.state"
    parts = [log_prob(url, each, "--state", str(file)) for each in ("the old man", "sees the cat")]
    whole = log_prob(url, "the old man sees the cat")
    assert sum(parts) == pytest.approx(whole, abs=1e-4)
    assert [each.name for each in tmp_path.iterdir()] == ["text.state"]


def test_a_refusal_leaves_the_file_as_it_is(url: str, tmp_path: Path) -> None:
    file = tmp_path / "text.state"
    file.write_text("no state")
    words = ["score", "tiny", "the", "--state", str(file), "--url", url]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert file.read_text() == "no state"
