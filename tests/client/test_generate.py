"""`isslim generate` and the client's texts, from a real service."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from isslim.client.api import Client
from isslim.client.cli import app
from isslim.client.forms import ProblemError
from isslim.types.schemas.generation import GenerateRequest, GenerateResponse, TokenEvent
from tests.conftest import Published
from tests.service.served import served

ASK = GenerateRequest(model="tiny", prompt="the old man", max_tokens=8, seed=3)

LIMITS = {
    "ISS_GENERATE_SECONDS": "2",
    "ISS_GENERATED_LIMIT": "10000000",
    "ISS_ENTRIES_LIMIT": "10000000",
}


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    with served(published.settings.home, LIMITS) as address:
        yield address


def test_text_comes_whole_or_token_by_token(url: str) -> None:
    with Client(url) as client:
        whole = client.generate(ASK)
        *tokens, last = client.generate_stream(ASK)
        assert isinstance(last, GenerateResponse)
        for expected, found in zip(whole.variants, last.variants, strict=True):
            mine = [
                each
                for each in tokens
                if isinstance(each, TokenEvent) and each.variant == expected.variant
            ]
            assert "".join(each.text for each in mine) == expected.text == found.text


def test_state_is_handed_back(url: str) -> None:
    with Client(url) as client:
        long = client.generate(ASK.model_copy(update={"max_tokens": 14}))
        first = client.generate(ASK.model_copy(update={"return_state": True}))
        rest = GenerateRequest(model="tiny", state=first.state, max_tokens=6)
        second = client.generate(rest)
        for whole, one, two in zip(long.variants, first.variants, second.variants, strict=True):
            assert one.text + two.text == whole.text


def test_refusals_are_problems_also_in_the_middle_of_a_stream(url: str) -> None:
    with Client(url) as client:
        with pytest.raises(ProblemError, match="no model 'nope'"):
            list(client.generate_stream(ASK.model_copy(update={"model": "nope"})))
        endless = ASK.model_copy(update={"max_tokens": 4_000_000})
        with pytest.raises(ProblemError, match="ISS_GENERATE_SECONDS"):
            list(client.generate_stream(endless))


def test_command_shows_the_texts_of_the_variants(url: str) -> None:
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "100"})
    words = ["generate", "tiny", "the old man", "--max-tokens", "8", "--seed", "3"]
    shown = runner.invoke(app, words)
    assert shown.exit_code == 0, shown.output
    with Client(url) as client:
        for each in client.generate(ASK).variants:
            assert each.variant in shown.output
            assert each.text.split("\n")[0].split()[0] in shown.output
    assert "a token" in shown.output
    found = json.loads(runner.invoke(app, [*words, "--json"]).stdout)
    assert found["seed"] == 3
    wrong = runner.invoke(app, [*words, "--top-p", "2"])
    assert wrong.exit_code == 2
    assert "--top-p" in wrong.output
