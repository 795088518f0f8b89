"""`/score` of many at a time: what waits shares runs, and no answer depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient

from isslim.service.context import AppContext
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import Published
from tests.service.occupied import occupied

TEXTS = [
    "the cat sees the river",
    "a dog follows nothing and the old man likes the road",
    " ".join(["my friend hears its shadow"] * 40),
    "no bird sees a small house",
    " ".join(["the cat likes the green tree"] * 11),
    "the old man follows the river and a dog",
]


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    """A service of one run at a time."""
    settings = ServiceSettings(home=published.settings.home, runs_at_once=1)
    with TestClient(create_app(settings)) as made:
        yield made


@contextmanager
def held(client: TestClient, waiting: int) -> Iterator[None]:
    """The only slot is taken until so many requests wait for it."""
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    with occupied(client) as go:
        yield
        # From its admission to its first turn a request waits for nothing else.
        while context.metrics.registry.get_sample_value("isslim_inference_pending") != waiting:
            assert not go.wait(0.002)


def asked(client: TestClient, model: str, text: str, variant: str) -> dict[str, Any]:
    body = {"model": model, "texts": [text], "variants": [variant], "per_token": True, "top_k": 2}
    answer = client.post("/score", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["variants"][0]
    return found


def together(client: TestClient, model: str, variant: str) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(len(TEXTS)) as threads:
        with held(client, len(TEXTS)):
            tasks = [threads.submit(asked, client, model, text, variant) for text in TEXTS]
        return [task.result(20) for task in tasks]


def runs_and_inputs(client: TestClient) -> tuple[float, float]:
    registry = client.app.state.context.metrics.registry  # type: ignore[attr-defined]
    names = ("isslim_inference_shared_inputs_count", "isslim_inference_shared_inputs_sum")
    runs, inputs = (registry.get_sample_value(name) for name in names)
    return runs, inputs


def test_float32_requests_share_runs_and_answers_are_those_of_one_by_one(
    client: TestClient, published: Published
) -> None:
    model = published.bundle_id
    expected = [asked(client, model, text, "compressed") for text in TEXTS]
    saved = 0.0
    for _ in range(5):  # on a busy machine, requests that are sent together may arrive apart
        before = runs_and_inputs(client)
        found = together(client, model, "compressed")
        after = runs_and_inputs(client)
        saved = after[1] - before[1] - (after[0] - before[0])
        if saved > 2:
            break
    assert saved > 2
    for one, other in zip(found, expected, strict=True):
        tokens, alone_tokens = one["texts"][0]["tokens"], other["texts"][0]["tokens"]
        assert [each["id"] for each in tokens] == [each["id"] for each in alone_tokens]
        assert [each["log_prob"] for each in tokens[1:]] == pytest.approx(
            [each["log_prob"] for each in alone_tokens[1:]], rel=0, abs=1e-5
        )


def test_int8_answers_are_the_same_to_the_last_digit_whoever_else_asks(
    client: TestClient, published: Published
) -> None:
    model = published.bundle_id
    expected = [asked(client, model, text, "compressed-int8")["texts"] for text in TEXTS]
    before = runs_and_inputs(client)
    found = together(client, model, "compressed-int8")
    after = runs_and_inputs(client)
    assert after[0] - before[0] == after[1] - before[1]
    assert [each["texts"] for each in found] == expected
