"""`POST /generate` on a real bundle: texts, streams, states that go on, refusals."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.test_routes import problem

Json = dict[str, Any]
ASK: Json = {"model": "tiny", "prompt": "the old man", "max_tokens": 12, "seed": 3}
BOTH = ["original", "compressed-int8"]


def generated(client: TestClient, **asked: Any) -> Json:
    response = client.post("/generate", json=ASK | asked)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def events(client: TestClient, **asked: Any) -> list[tuple[str, Json]]:
    response = client.post("/generate", json=ASK | asked | {"stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_variants_write_side_by_side(client: TestClient, model: LoadedLanguageModel) -> None:
    body = generated(client, variants=BOTH, log_probs=2)
    assert [each["variant"] for each in body["variants"]] == BOTH
    assert (body["model"], body["model_id"], body["seed"]) == ("tiny", model.id, 3)
    for each in body["variants"]:
        ids = [token["id"] for token in each["tokens"]]
        before = model.codec.encode(ASK["prompt"])
        assert ASK["prompt"] + each["text"] == model.codec.decode([*before, *ids])
        assert each["text"] == "".join(token["text"] for token in each["tokens"])
        assert (each["finish_reason"], len(ids), each["drawn"]) == ("length", 12, 12)
        assert each["prompt_tokens"] == 3
        assert all(len(token["top"]) == 2 for token in each["tokens"])
        timing = each["timing"]
        assert timing["token_ms"] == pytest.approx(timing["run_ms"] / 12)
    assert body["variants"][1]["speedup"] > 0
    assert body["state"] is None


def test_log_probabilities_are_those_of_score(client: TestClient) -> None:
    body = generated(client, variants=["original"], log_probs=0)
    (text,) = body["variants"]
    ask = {"model": "tiny", "texts": [ASK["prompt"] + text["text"]], "per_token": True}
    scored = client.post("/score", json=ask | {"variants": ["original"]}).json()
    tokens = scored["variants"][0]["texts"][0]["tokens"][3:]
    assert [each["id"] for each in tokens] == [each["id"] for each in text["tokens"]]
    assert [each["log_prob"] for each in tokens] == pytest.approx(
        [each["log_prob"] for each in text["tokens"]], abs=1e-5
    )
    assert generated(client, variants=["original"])["variants"][0]["tokens"][0]["log_prob"] is None


def test_seed_repeats_a_text_and_none_makes_one(client: TestClient) -> None:
    first, again = (generated(client)["variants"] for _ in range(2))
    assert [each["text"] for each in first] == [each["text"] for each in again]
    other = generated(client, seed=None)
    assert other["seed"] != generated(client, seed=None)["seed"]
    repeated = generated(client, seed=other["seed"])
    assert [each["text"] for each in other["variants"]] == [
        each["text"] for each in repeated["variants"]
    ]
    greedy = {generated(client, temperature=0, seed=s)["variants"][0]["text"] for s in (1, 2)}
    assert len(greedy) == 1


def test_stream_is_the_answer_in_pieces(client: TestClient) -> None:
    whole = generated(client, variants=BOTH, log_probs=1)
    *tokens, (last, result) = events(client, variants=BOTH, log_probs=1)
    assert {name for name, _ in tokens} == {"token"}
    assert last == "result"
    for each, found in zip(whole["variants"], result["variants"], strict=True):
        mine = [token for _, token in tokens if token["variant"] == each["variant"]]
        assert [{k: v for k, v in token.items() if k != "variant"} for token in mine] == each[
            "tokens"
        ]
        assert found["tokens"] == []
        assert found["text"] == each["text"] == "".join(token["text"] for token in mine)


@pytest.mark.parametrize("variants", [["original"], ["compressed-int8"], BOTH])
def test_state_goes_on_as_if_it_had_been_one_request(
    client: TestClient, variants: list[str]
) -> None:
    whole = generated(client, variants=variants, max_tokens=30)
    parts = [generated(client, variants=variants, max_tokens=11, return_state=True)]
    for number in (1, 18):
        state = parts[-1]["state"]
        again = {"prompt": "", "seed": None, "variants": [], "state": state}
        parts.append(generated(client, **again, max_tokens=number, return_state=True))
    for index, expected in enumerate(whole["variants"]):
        texts = [part["variants"][index] for part in parts]
        assert "".join(each["text"] for each in texts) == expected["text"]
        assert [token for each in texts for token in each["tokens"]] == expected["tokens"]
    assert {part["seed"] for part in parts} == {3}


def test_prompt_goes_on_behind_a_state(client: TestClient) -> None:
    alone = generated(client, prompt="the old man", max_tokens=0, return_state=True)
    assert [each["text"] for each in alone["variants"]] == ["", ""]
    on = generated(client, prompt="sees the", state=alone["state"], variants=["original"])
    once = generated(client, prompt="the old man sees the", variants=["original"])
    assert [each["text"] for each in on["variants"]] == [each["text"] for each in once["variants"]]
    new_seed = generated(client, prompt="", state=alone["state"], seed=4)
    assert new_seed["seed"] == 4


def test_states_that_are_no_states_are_refused(client: TestClient, published: Published) -> None:
    state = generated(client, variants=["original"], return_state=True)["state"]

    def refused(sent: str, status: int, kind: str, **more: Any) -> Json:
        return problem(client.post("/generate", json=ASK | {"state": sent} | more), status, kind)

    version, body, signature = state.split(".")
    other = "A" if body[50] != "A" else "B"
    for wrong in (
        f"{version}.{body[:50]}{other}{body[51:]}.{signature}",
        f"2.{body}.{signature}",
        f"{version}.{body}",
        f"{version}.{body}.{signature[:-1]}",
        f"{version}.{body}.{signature}=",
        f"{version}..",
        "",
        "é",
        "x" * 100_000,
    ):
        refused(wrong, 400, "state-refused")
    refused("x" * 1_500_000, 422, "invalid-request")
    found = refused(state, 409, "state-mismatch", variants=["compressed"])
    assert "original" in str(found["detail"])


def test_state_ends_in_time_and_is_shared_by_services_with_one_key(published: Published) -> None:
    home = published.settings.home
    made = ServiceSettings(home=home, state_key="a key of the whole service", state_seconds=100)
    short = ServiceSettings(home=home, state_key="a key of the whole service", state_seconds=0.01)
    with TestClient(create_app(made)) as one, TestClient(create_app(short)) as two:
        state = generated(one, return_state=True)["state"]
        on = {"prompt": "", "state": state, "seed": None}
        first, second = (generated(each, **on)["variants"][0]["text"] for each in (one, two))
        assert first == second
        expired = generated(two, return_state=True)["state"]
        time.sleep(0.02)
        answer = two.post("/generate", json=ASK | {"state": expired})
        assert "ISS_STATE_SECONDS" in str(problem(answer, 409, "state-expired")["detail"])
    with TestClient(create_app(ServiceSettings(home=home))) as other:
        problem(other.post("/generate", json=ASK | {"state": state}), 400, "state-refused")
        kept = generated(other, return_state=True)["state"]
    assert (home / "state.key").stat().st_mode & 0o777 == 0o600
    with TestClient(create_app(ServiceSettings(home=home))) as restarted:
        generated(restarted, **on | {"state": kept})


def test_stops_end_texts(client: TestClient) -> None:
    whole = generated(client, variants=["original"], max_tokens=60)["variants"][0]
    for stop in ("<eos>", "\n"):
        (text,) = generated(client, variants=["original"], max_tokens=60, stop=[stop])["variants"]
        assert text["finish_reason"] == "stop"
        assert text["text"] == whole["text"][: whole["text"].index("\n")]
        assert text["drawn"] == len(text["tokens"]) + 1


def test_empty_prompt_begins_a_text(client: TestClient) -> None:
    body = generated(client, prompt="", variants=["original"])
    (text,) = body["variants"]
    assert text["prompt_tokens"] == 0
    assert not text["text"].startswith(" ")


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        ({"stop": ["x"] * 17}, 422, "invalid-request"),
        ({"stop": ["x"] * 10_000}, 422, "invalid-request"),
        ({"stop": ["x" * 257]}, 422, "invalid-request"),
        ({"stop": [""]}, 422, "invalid-request"),
        ({"temperature": -1}, 422, "invalid-request"),
        ({"temperature": 1e999}, 422, "invalid-request"),
        ({"top_p": 0}, 422, "invalid-request"),
        ({"seed": 2**63}, 422, "invalid-request"),
        ({"seed": -1}, 422, "invalid-request"),
        ({"max_tokens": -1}, 422, "invalid-request"),
        ({"max_tokens": 251}, 413, "too-large"),
        ({"prompt": "xyzzy"}, 422, "text-refused"),
        ({"prompt": "\ud800"}, 422, "invalid-request"),
        ({"surprise": 1}, 422, "invalid-request"),
        ({"model": "nope"}, 404, "not-found"),
        ({"variants": ["nope"]}, 422, "invalid-request"),
        ({"device": "abacus"}, 422, "device-unavailable"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_get_problems_also_where_a_stream_is_asked_for(
    asked: Json, status: int, kind: str, stream: bool, client: TestClient
) -> None:
    content = json.dumps(ASK | asked | {"stream": stream})
    answer = client.post("/generate", content=content, headers={"content-type": "application/json"})
    problem(answer, status, kind)
