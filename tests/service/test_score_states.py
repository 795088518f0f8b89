"""`POST /score` with states: a text in parts is scored as the whole, and goes on in `/generate`."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isslim.runtime.language.generation import beginning, read
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import WORDS, Published
from tests.service.test_routes import problem

Json = dict[str, Any]
BOTH = ["original", "compressed-int8"]
TEXT = " ".join(random.Random(0).choices(WORDS[2:20], k=90))
TOLERANCE = 2e-5
"""Of a log-probability: other runs, whose last bits differ."""


def scored(client: TestClient, text: str, **asked: Any) -> Json:
    body = {"model": "tiny", "texts": [text], "variants": BOTH, "per_token": True, **asked}
    answer = client.post("/score", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def log_probs(answer: Json, variant: str) -> list[float]:
    (each,) = [each for each in answer["variants"] if each["variant"] == variant]
    return [token["log_prob"] for token in each["texts"][0]["tokens"]]


@pytest.mark.parametrize("borders", [[0, 90], [0, 1, 90], [0, 30, 31, 75, 90]])
def test_parts_are_scored_as_the_whole(
    client: TestClient, model: LoadedLanguageModel, borders: list[int]
) -> None:
    words, state = TEXT.split(), None
    parts = [" ".join(words[first:last]) for first, last in pairwise(borders)]
    found: dict[str, list[float]] = {variant: [] for variant in BOTH}
    for part in parts:
        asked = BOTH if state is None else []
        answer = scored(client, part, state=state, return_state=True, variants=asked)
        state = answer["state"]
        for variant in BOTH:
            found[variant] += log_probs(answer, variant)
    whole = scored(client, TEXT)
    assert whole["state"] is None
    # Of an int8 graph other parts are other results: its scales span a whole run.
    assert found["original"] == pytest.approx(log_probs(whole, "original"), abs=TOLERANCE)
    for variant in BOTH:
        assert found[variant] == pytest.approx(read_on(model, variant, parts), abs=1e-6)


def read_on(model: LoadedLanguageModel, variant: str, parts: list[str]) -> list[float]:
    """Log-probabilities of a text's parts by the runtime, each from where the last one ended."""
    session, start = model.session(variant, "cpu", 1), model.codec.start_id
    position = None if start is None else beginning(session, start)
    found = list[float]()
    for part in parts:
        position, scores = read(session, model.codec.encode(part), position)
        found += scores.log_probs.tolist()
    return found


def test_the_first_token_behind_a_state_is_scored_given_it(client: TestClient) -> None:
    state = scored(client, "the old man", return_state=True)["state"]
    after = scored(client, "sees", state=state, variants=["original"], top_k=3)
    alone = scored(client, "sees", variants=["original"])
    whole = scored(client, "the old man sees", variants=["original"], top_k=3)
    expected = whole["variants"][0]["texts"][0]["tokens"][-1]
    (found,) = after["variants"][0]["texts"][0]["tokens"]
    assert found["log_prob"] == pytest.approx(expected["log_prob"], abs=TOLERANCE)
    assert [each["id"] for each in found["top"]] == [each["id"] for each in expected["top"]]
    assert abs(found["log_prob"] - log_probs(alone, "original")[0]) > 0.01
    assert after["state"] is None


def test_token_ids_go_on_too(client: TestClient, model: LoadedLanguageModel) -> None:
    ids = model.codec.encode(TEXT)
    first = scored(client, "", texts=None, token_ids=[ids[:40]], return_state=True)
    rest = scored(client, "", texts=None, token_ids=[ids[40:]], state=first["state"], variants=[])
    found = log_probs(first, "original") + log_probs(rest, "original")
    assert found == pytest.approx(log_probs(scored(client, TEXT), "original"), abs=TOLERANCE)


def test_states_are_those_of_generate(client: TestClient) -> None:
    """A text that is scored is written on, and one that is written is scored on."""
    greedy = {"model": "tiny", "temperature": 0, "max_tokens": 8, "variants": ["original"]}
    state = scored(client, "the old man", return_state=True, variants=["original"])["state"]
    on = client.post("/generate", json={**greedy, "state": state, "return_state": True}).json()
    once = client.post("/generate", json={**greedy, "prompt": "the old man"}).json()
    assert on["variants"][0]["text"] == once["variants"][0]["text"]
    after = scored(client, "the cat", state=on["state"], variants=[])
    whole = scored(client, f"the old man{once['variants'][0]['text']} the cat")
    expected = log_probs(whole, "original")[-2:]
    assert log_probs(after, "original") == pytest.approx(expected, abs=TOLERANCE)


def test_a_text_of_any_length_keeps_a_state_of_one_size(client: TestClient) -> None:
    state, sizes = None, []
    for _ in range(6):
        state = scored(client, TEXT, state=state, return_state=True, per_token=False)["state"]
        sizes.append(len(state))
    assert max(sizes) - min(sizes) < 20


def test_states_are_refused_as_in_generate(client: TestClient, published: Published) -> None:
    ask = {"model": "tiny", "texts": ["the"], "variants": ["original"]}
    state = scored(client, "the", return_state=True, variants=["original"])["state"]

    def refused(status: int, kind: str, sent: str = state, **more: Any) -> Json:
        return problem(client.post("/score", json={**ask, "state": sent, **more}), status, kind)

    refused(400, "state-refused", state[:60] + ("A" if state[60] != "A" else "B") + state[61:])
    refused(400, "state-refused", "")
    found = refused(409, "state-mismatch", variants=["compressed"])
    assert "original" in str(found["detail"])
    for texts in (["a", "b"], ["a"] * 3):
        assert "one text" in str(refused(422, "invalid-request", texts=texts)["detail"])
    two = {"model": "tiny", "texts": ["a", "b"], "return_state": True}
    problem(client.post("/score", json=two), 422, "invalid-request")
    settings = ServiceSettings(home=published.settings.home, state_seconds=0.01)
    with TestClient(create_app(settings)) as short:
        expired = scored(short, "the", return_state=True)["state"]
        time.sleep(0.02)
        answer = short.post("/score", json={**ask, "state": expired})
        problem(answer, 409, "state-expired")
