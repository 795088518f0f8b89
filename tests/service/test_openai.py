"""OpenAI completions and the tokenizer's calls, in the shapes that their clients read."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.copies import publish_as

Json = dict[str, Any]
VARIANTS = ["original", "original-int8", "compressed", "compressed-int8"]
ASK: Json = {"model": "tiny:original", "prompt": "the old man", "max_tokens": 12, "seed": 3}
TEXT = "the cat sees the river\na dog likes nothing"


def completed(client: TestClient, **asked: Any) -> Json:
    response = client.post("/v1/completions", json=ASK | asked)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def streamed(client: TestClient, **asked: Any) -> list[Json]:
    response = client.post("/v1/completions", json=ASK | asked | {"stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(each.removeprefix("data: ")) for each in events]


def fault(answer: httpx.Response, status: int, code: str | None, param: str | None) -> Json:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    found: Json = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert (found["code"], found["param"]) == (code, param)
    assert found["message"]
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_echoed_texts_have_the_log_probabilities_of_score(
    variant: str, client: TestClient, model: LoadedLanguageModel
) -> None:
    ask = {"model": "tiny", "texts": [TEXT], "variants": [variant], "per_token": True, "top_k": 2}
    (scored,) = client.post("/score", json=ask).json()["variants"][0]["texts"]
    ids = model.codec.encode(TEXT)
    for prompt, given in ((TEXT, 0), ([model.codec.start_id, *ids], 1)):
        asked = {"model": f"tiny:{variant}", "prompt": prompt, "logprobs": 2, "echo": True}
        (choice,) = completed(client, **asked, max_tokens=0)["choices"]
        found = choice["logprobs"]
        assert found["token_logprobs"][:given] == [None] * given
        assert found["token_logprobs"][given:] == pytest.approx(
            [each["log_prob"] for each in scored["tokens"]], abs=1e-6
        )
        assert found["tokens"][given:] == [each["token"] for each in scored["tokens"]]
        for mine, theirs in zip(found["top_logprobs"][given:], scored["tokens"], strict=True):
            assert list(mine) == [each["token"] for each in theirs["top"]]
        for offset, token in list(zip(found["text_offset"], found["tokens"], strict=True))[given:]:
            said = "\n" if token == "<eos>" else token
            assert choice["text"][offset:].startswith(said)
        assert choice["text"].endswith(TEXT)


def test_scored_token_is_greedy_exactly_where_it_is_the_most_likely(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    """As lm-evaluation-harness finds out: by the equality of two floats."""
    greedy = completed(client, temperature=0)["choices"][0]["text"]
    asked = {"prompt": ASK["prompt"] + greedy, "logprobs": 1, "echo": True, "max_tokens": 1}
    found = completed(client, **asked)["choices"][0]["logprobs"]
    same = [
        mine == max(top.values())
        for mine, top in zip(found["token_logprobs"], found["top_logprobs"], strict=True)
    ]
    assert same[3:-1] == [True] * 12
    assert len(same) == 3 + 12 + 1


def test_scoring_writes_exactly_the_tokens_that_were_asked_for(client: TestClient) -> None:
    whole = completed(client, max_tokens=40)["choices"][0]["text"]
    assert "\n" in whole
    stopped = completed(client, max_tokens=40, stop=["<eos>"])["choices"][0]
    assert stopped["finish_reason"] == "stop"
    assert stopped["text"] == whole[: whole.index("\n")]
    scored = completed(client, max_tokens=40, stop="\n", echo=True, logprobs=0)["choices"][0]
    assert scored["finish_reason"] == "length"
    assert len(scored["logprobs"]["tokens"]) == 43
    assert scored["logprobs"]["top_logprobs"] is None
    assert scored["text"] == ASK["prompt"] + whole


def test_texts_are_those_of_generate(client: TestClient) -> None:
    body = {"model": "tiny", "prompt": ASK["prompt"], "max_tokens": 12, "seed": 3}
    made = client.post("/generate", json=body | {"variants": ["compressed-int8"]}).json()
    found = completed(client, model="tiny:compressed-int8")
    assert found["choices"][0]["text"] == made["variants"][0]["text"]
    assert found["system_fingerprint"] == made["model_id"]
    assert found["model"] == "tiny:compressed-int8"
    assert completed(client, model="tiny")["choices"] == found["choices"]
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}


@pytest.mark.parametrize("asked", [{}, {"logprobs": 2}, {"echo": True}, {"stop": ["\n"], "n": 2}])
def test_pieces_of_a_stream_are_the_answer(asked: Json, client: TestClient) -> None:
    prompts = {"prompt": [ASK["prompt"], "a"], **asked}
    whole = completed(client, **prompts)
    parts = streamed(client, **prompts, stream_options={"include_usage": True})
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"] == whole["usage"]
    assert len({part["id"] for part in parts}) == 1
    for expected in whole["choices"]:
        mine = [
            each for part in parts for each in part["choices"] if each["index"] == expected["index"]
        ]
        assert "".join(each["text"] for each in mine) == expected["text"]
        assert [each["finish_reason"] for each in mine[:-1]] == [None] * (len(mine) - 1)
        assert (mine[-1]["text"], mine[-1]["finish_reason"]) == ("", expected["finish_reason"])
        if "logprobs" in asked:
            for name, values in expected["logprobs"].items():
                joined = [value for each in mine for value in each["logprobs"][name]]
                assert joined == values
    assert "usage" not in streamed(client)[-1] or streamed(client)[-1]["usage"] is None


def test_several_prompts_and_texts_are_in_order(client: TestClient) -> None:
    one = completed(client, prompt=["the", "a"], n=2)
    assert [each["index"] for each in one["choices"]] == [0, 1, 2, 3]
    alone = completed(client, prompt="a", n=2)
    texts = [each["text"] for each in one["choices"]]
    assert texts[2:] == [each["text"] for each in alone["choices"]]
    assert texts[2] != texts[3]
    assert one["usage"]["prompt_tokens"] == 2


def test_text_begins_without_a_prompt_and_with_unknown_words(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    for prompt in (None, "", [], [model.codec.start_id]):
        assert completed(client, prompt=prompt)["choices"][0]["finish_reason"] == "length"
    unknown = completed(client, prompt="xyzzy plugh", echo=True, logprobs=1, max_tokens=1)
    assert unknown["choices"][0]["logprobs"]["tokens"][:2] == ["<unk>", "<unk>"]


def test_fields_without_meaning_are_ignored_and_named(client: TestClient) -> None:
    answer = client.post("/v1/completions", json=ASK | {"user": "me", "é": 1, "top_a": None})
    assert answer.status_code == 200
    assert answer.headers["x-isslim-ignored"] == "user, \\u00e9"
    stream = client.post("/v1/completions", json=ASK | {"user": "me", "stream": True})
    assert stream.headers["x-isslim-ignored"] == "user"
    nulls = dict.fromkeys(("temperature", "n", "stop", "logprobs", "echo", "suffix", "best_of"))
    assert "x-isslim-ignored" not in client.post("/v1/completions", json=ASK | nulls).headers


@pytest.mark.parametrize(
    ("asked", "status", "code", "param"),
    [
        ({"model": "nope"}, 404, "model_not_found", "model"),
        ({"model": "tiny:nope"}, 404, "model_not_found", "model"),
        ({"model": None}, 400, None, "model"),
        ({"prompt": [[1, 99999]]}, 400, None, None),
        ({"prompt": [-1]}, 400, None, None),
        ({"prompt": [2**70]}, 400, None, "prompt"),
        ({"prompt": [1, "the"]}, 400, None, "prompt"),
        ({"prompt": {"a": 1}}, 400, None, "prompt"),
        ({"prompt": ["a"] * 300}, 400, "context_length_exceeded", "prompt"),
        ({"prompt": [2] * 200_001}, 400, "context_length_exceeded", "prompt"),
        ({"max_tokens": 501}, 400, "context_length_exceeded", "max_tokens"),
        ({"max_tokens": 0}, 400, None, "max_tokens"),
        ({"max_tokens": -1}, 400, None, "max_tokens"),
        ({"logprobs": 51}, 400, None, "logprobs"),
        ({"n": 9}, 400, None, "n"),
        ({"stop": ["x"] * 10_000}, 400, None, "stop"),
        ({"stop": "x" * 1000}, 400, None, "stop"),
        ({"suffix": "end"}, 400, None, "suffix"),
        ({"best_of": 2}, 400, None, "best_of"),
        ({"presence_penalty": 0.5}, 400, None, "presence_penalty"),
        ({"frequency_penalty": -0.5}, 400, None, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, 400, None, "logit_bias"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_get_errors_of_the_protocol(
    asked: Json, status: int, code: str | None, param: str | None, stream: bool, client: TestClient
) -> None:
    answer = client.post("/v1/completions", json=ASK | asked | {"stream": stream})
    assert fault(answer, status, code, param)["type"] == "invalid_request_error"


def test_every_error_below_its_paths_has_its_shape(client: TestClient) -> None:
    json_type = {"content-type": "application/json"}
    for path in ("/v1/nope", "/v1", "/models/tiny/v1/nope", "/v1/models/x/y"):
        fault(client.get(path), 404, None, None)
    for path in ("/v1/completions", "/tokenize", "/models/tiny/detokenize"):
        answer = client.get(path)
        fault(answer, 405, None, None)
        assert answer.headers["allow"] == "POST"
    fault(client.post("/v1/completions", content=b"x" * (9 << 20)), 413, None, None)
    fault(client.post("/v1/completions", content=b"{", headers=json_type), 400, None, None)
    fault(client.post("/v1/completions", content=b"\xff", headers=json_type), 400, None, None)
    fault(client.post("/v1/completions", content=b"{}"), 415, None, None)
    fault(client.get("/v1/models/nope"), 404, "model_not_found", "model")
    fault(client.get("/models/nope/tokenizer_info"), 404, "model_not_found", "model")
    fault(client.post("/tokenize", json={}), 400, None, "prompt")
    assert client.get("/models/nope").json()["type"] == "not-found"


def test_models_are_the_variants(client: TestClient, published: Published) -> None:
    found = client.get("/v1/models").json()
    assert found["object"] == "list"
    assert [each["id"] for each in found["data"]] == [f"tiny:{each}" for each in VARIANTS]
    for name in ("tiny:original", "tiny", f"{published.bundle_id}:compressed"):
        one = client.get(f"/v1/models/{name}").json()
        assert one == found["data"][0] | {"id": name}
    assert client.get("/models/tiny/v1/models").json() == found
    assert client.get("/models/tiny:original/v1/models").json()["data"] == found["data"][:1]


def test_address_of_a_model_has_all_of_it(client: TestClient) -> None:
    body = {name: value for name, value in ASK.items() if name != "model"}
    there = client.post("/models/tiny:original/v1/completions", json=body).json()
    assert there["choices"] == completed(client)["choices"]
    assert there["model"] == "tiny:original"
    assert client.get("/models/tiny%3Aoriginal/tokenizer_info").status_code == 200


def test_tokenizer_reads_any_text_and_special_tokens(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    codec = model.codec
    info = client.get("/tokenizer_info").json()
    assert info == {
        "eos_token": "<eos>",
        "bos_token": "<eos>",
        "pad_token": None,
        "chat_template": None,
    }
    for prompt, expected in (
        (TEXT, codec.encode(TEXT)),
        ("", []),
        (" ", []),
        ("<eos>", [codec.start_id]),
        ("xyzzy the", [codec.unknown_id, *codec.encode("the")]),
        ("xyzzy", [codec.unknown_id]),
    ):
        asked = {"prompt": prompt, "add_special_tokens": False, "surprise": 1}
        found = client.post("/tokenize", json=asked).json()
        assert found == {
            "tokens": expected,
            "count": len(expected),
            "max_model_len": 200_000,
        }
        begun = client.post("/tokenize", json=asked | {"add_special_tokens": True}).json()
        assert begun["tokens"] == [codec.start_id, *expected]
        back = client.post("/models/tiny/detokenize", json={"tokens": expected}).json()
        assert back == {"prompt": codec.decode(expected)}
    fault(client.post("/detokenize", json={"tokens": [999]}), 400, None, None)
    fault(client.post("/detokenize", json={"tokens": [2**64]}), 400, None, "tokens")


def test_bare_addresses_want_one_model_or_a_default(published: Published, tmp_path: Path) -> None:
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        fault(client.get("/tokenizer_info"), 400, None, "model")
        assert client.get("/v1/models").json()["data"] == []
    for name in ("one", "two"):
        publish_as(name, published, tmp_path)
    with TestClient(create_app(ServiceSettings(home=tmp_path))) as client:
        found = fault(client.post("/tokenize", json={"prompt": "the"}), 400, None, "model")
        assert "/models/" in found["message"]
        asked = {"prompt": "the", "model": "two"}
        assert client.post("/tokenize", json=asked).status_code == 200
    with TestClient(create_app(ServiceSettings(home=tmp_path, default_model="one"))) as client:
        assert client.post("/tokenize", json={"prompt": "the"}).status_code == 200


def test_full_service_and_its_deadline_are_told_apart(published: Published) -> None:
    limits = {"generated_limit": 10**6, "entries_limit": 10**6, "generate_seconds": 1.0}
    made = ServiceSettings(home=published.settings.home, runs_at_once=1, waiting_limit=0, **limits)
    long = ASK | {"max_tokens": 10**6}
    with (
        TestClient(create_app(made), raise_server_exceptions=False) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        completed(client, max_tokens=1)
        stream = threads.submit(client.post, "/v1/completions", json=long | {"stream": True})
        while "isslim_inference_pending 1.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        full = client.post("/v1/completions", json=ASK)
        assert fault(full, 503, "overloaded", None)["type"] == "server_error"
        assert full.headers["retry-after"] == "1"
        *_, last, end = stream.result().text.split("\n\n")
        assert end == ""
        assert "ISS_GENERATE_SECONDS" in json.loads(last.removeprefix("data: "))["error"]["message"]
        late = client.post("/v1/completions", json=long)
        assert fault(late, 504, None, None)["type"] == "server_error"
        assert late.headers["x-should-retry"] == "false"
