"""`/qa` over HTTP on a real bundle: answers of the runtime, alone and together, and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.runtime.registry import load
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recommendation import recommended
from tests.conftest import Published
from tests.reader import publish
from tests.service.test_routes import problem

CONTEXT = "The cat sat on a mat. It purred; a dog slept under the tree — naïve café, 1990s!"
PAIRS = [
    {"question": "Who sat?", "context": CONTEXT},
    {
        "question": "Who slept under the tree, and where did the old cat purr at night?",
        "context": "a dog slept",
    },
    {"question": "?", "context": "cat"},
    {"question": "who purred", "context": " ".join([CONTEXT] * 40)},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> StoreSettings:
    settings = StoreSettings(home=tmp_path_factory.mktemp("questions"))
    publish(settings.home)
    return settings


@pytest.fixture(scope="module")
def client(home: StoreSettings) -> Iterator[TestClient]:
    limits = {"question_tokens_limit": 50, "context_tokens_limit": 2000, "texts_limit": 8}
    with TestClient(create_app(ServiceSettings(home=home.home, **limits))) as made:
        yield made


@pytest.fixture(scope="module")
def model(home: StoreSettings) -> LoadedQuestionModel:
    store = BundleStore(home)
    found = load(store.open(store.manifests()[0][0]))
    assert isinstance(found, LoadedQuestionModel)
    return found


def test_answers_are_the_runtimes_side_by_side(
    client: TestClient, model: LoadedQuestionModel
) -> None:
    body = {"model": "reader", **PAIRS[0], "top_k": 3, "max_answer_tokens": 5}
    response = client.post("/qa", json=body)
    assert response.status_code == 200, response.text
    found = response.json()
    assert (found["model"], found["model_id"], found["device"]) == ("reader", model.id, "cpu")
    best = recommended(model.manifest.variants)
    assert best is not None
    assert [each["variant"] for each in found["variants"]] == ["original", best.name]
    reading = encode_question(model.codec, tokenize_question(**PAIRS[0]))
    for variant in found["variants"]:
        expected = answer(
            model.session(variant["variant"]), reading, top_k=3, max_answer_tokens=5
        ).answers
        (best,) = variant["answers"]
        spans = [
            (each["answer"], each["start"], each["end"], each["score"]) for each in best["top_k"]
        ]
        assert spans == [
            (each.text, each.start, each.end, pytest.approx(each.score)) for each in expected
        ]
        assert (best["answer"], best["start"], best["end"], best["score"]) == spans[0]
        assert best["answer"] == CONTEXT[best["start"] : best["end"]]
        assert best["windows"] == 1
        assert set(variant["timing"]) == {"queue_ms", "tokenize_ms", "run_ms", "search_ms"}
        assert all(value > 0 for value in variant["timing"].values())
    assert found["variants"][0]["speedup"] is None
    assert found["variants"][1]["speedup"] > 0
    stages = [part.split(";")[0] for part in response.headers["server-timing"].split(", ")]
    assert stages == ["queue", "tokenize", "run", "search", "serialize"]


def test_samples_of_the_report_are_answered_alike(client: TestClient) -> None:
    (sample,) = client.get("/models/reader/report").json()["samples"]
    assert (sample["golden"], sample["golden_span"]) == ([], None)
    names = [each["variant"] for each in sample["answers"]]
    body = {
        "model": "reader",
        "question": sample["asked"],
        "context": sample["context"],
        "variants": names,
    }
    for recorded, found in zip(
        sample["answers"], client.post("/qa", json=body).json()["variants"], strict=True
    ):
        (best,) = found["answers"]
        assert found["variant"] == recorded["variant"]
        assert (best["answer"], best["start"], best["end"]) == (
            recorded["text"],
            recorded["start"],
            recorded["end"],
        )
        assert best["score"] == pytest.approx(recorded["score"], rel=1e-6)


@pytest.mark.parametrize("variant", ["original", "original-int8", "compressed", "compressed-int8"])
def test_unequal_questions_in_one_request_equal_one_by_one_exactly(
    client: TestClient, variant: str
) -> None:
    ask = {"model": "reader", "variants": [variant], "top_k": 2}
    together = client.post("/qa", json={**ask, "inputs": PAIRS}).json()["variants"][0]["answers"]
    alone = [
        client.post("/qa", json={**ask, **pair}).json()["variants"][0]["answers"][0]
        for pair in PAIRS
    ]
    assert together == alone
    assert [each["windows"] > 1 for each in together] == [False, False, False, True]
    assert all(
        each["answer"] == pair["context"][each["start"] : each["end"]]
        for each, pair in zip(alone, PAIRS, strict=True)
    )


def test_bad_questions_get_clear_problems(client: TestClient) -> None:
    ask = {"model": "reader", **PAIRS[0]}

    def refused(status: int, kind: str, **change: object) -> str:
        body = {name: value for name, value in {**ask, **change}.items() if value is not None}
        content = json.dumps(body)  # plain ASCII, so that a lone surrogate can be sent
        sent = client.post("/qa", content=content, headers={"content-type": "application/json"})
        return str(problem(sent, status, kind)["detail"])

    refused(404, "not-found", model="nope")
    refused(422, "invalid-request", question="")
    refused(422, "invalid-request", context="")
    assert "question 0: the question holds no token" in refused(
        422, "text-refused", question=" \n\t"
    )
    assert "question 0: the context holds no token" in refused(
        422, "text-refused", context="\u2003 "
    )
    inputs = [PAIRS[0], {"question": "who", "context": "  "}]
    blank = refused(422, "text-refused", question=None, context=None, inputs=inputs)
    assert "question 1: the context" in blank
    for change in (
        {"question": None},
        {"context": None},
        {"inputs": PAIRS},
        {"question": None, "inputs": PAIRS},
    ):
        assert "send either" in refused(422, "invalid-request", **change)
    refused(422, "invalid-request", question=None, context=None, inputs=[])
    refused(422, "invalid-request", question=None, context=None, inputs=[{"question": "who"}])
    refused(422, "invalid-request", question="\ud800")
    refused(422, "invalid-request", variants=["huge"])
    refused(422, "invalid-request", variants=["original", "original"])
    refused(422, "invalid-request", surprise=1)
    for name, values in {"top_k": (0, 51, "many"), "max_answer_tokens": (0, 1001, 2.5)}.items():
        for value in values:
            refused(422, "invalid-request", **{name: value})
    refused(422, "device-unavailable", device="abacus")
    assert "51 tokens" in refused(413, "too-large", question="who " * 51)
    assert "2,001 tokens" in refused(413, "too-large", context="cat " * 2001)
    assert "9 questions" in refused(
        413, "too-large", question=None, context=None, inputs=[PAIRS[0]] * 9
    )
    problem(
        client.post("/qa", content=b"{", headers={"content-type": "application/json"}),
        422,
        "invalid-request",
    )
    problem(client.post("/qa", content=b"x" * (9 << 20)), 413, "too-large")
    assert client.post("/qa", json=ask).status_code == 200


def test_each_task_is_asked_at_its_own_address(client: TestClient, published: Published) -> None:
    detail = problem(
        client.post("/score", json={"model": "reader", "texts": ["a cat"]}), 422, "wrong-task"
    )["detail"]
    assert "question-answering" in str(detail)
    assert "POST /qa" in str(detail)
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as other:
        detail = problem(other.post("/qa", json={"model": "tiny", **PAIRS[0]}), 422, "wrong-task")[
            "detail"
        ]
        assert "language-model" in str(detail)
        assert "POST /score" in str(detail)


def test_absurd_texts_are_answered_or_refused(client: TestClient) -> None:
    for context in (
        "x" * 100_000,
        "é" * 5000,
        "a\x00b \x07",
        "👩‍👩‍👧‍👦 " * 20,
        "\u0301\u0301",
        "1,0.0." * 300,
        "中文没有空格" * 50,
    ):
        response = client.post(
            "/qa", json={"model": "reader", "question": "中 who 👩‍👩‍👧‍👦?", "context": context}
        )
        assert response.status_code == 200, response.text
        for variant in response.json()["variants"]:
            (best,) = variant["answers"]
            assert best["answer"] == context[best["start"] : best["end"]]
            assert 0 <= best["score"] <= 1


def test_latency_of_a_reader_is_measured_on_contexts(client: TestClient) -> None:
    found = client.get("/models/reader/latency", params={"steps": 20, "batch": 2}).json()
    assert set(found["results"]) == {"original", "original-int8", "compressed", "compressed-int8"}
    assert found["results"]["original"][0]["steps"] == 20
    body = problem(
        client.get("/models/reader/latency", params={"steps": 1000, "batch": 256}), 413, "too-large"
    )
    assert "fewer steps" in str(body["detail"])


def test_questions_are_counted_and_listed(client: TestClient, model: LoadedQuestionModel) -> None:
    client.post("/qa", json={"model": "reader", **PAIRS[0]})
    text = client.get("/metrics").text
    assert 'http_response_status_code="200",http_route="/qa"' in text
    labels = f'model_id="{model.id}",protocol="isslim",variant="original"'
    label = f'device="cpu",model="{model.manifest.name}",{labels}'
    assert f"isslim_inference_run_seconds_count{{{label}}}" in text
    (listed,) = client.get("/models").json()
    assert (listed["task"], listed["metric"]) == ("question-answering", "f1")


def test_the_example_in_the_documentation_is_valid(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    example = {**schemas["QuestionRequest"]["example"], "model": "reader"}
    assert client.post("/qa", json=example).status_code == 200
    assert "Server-Timing" in json.dumps(schemas["StageTimes"])
