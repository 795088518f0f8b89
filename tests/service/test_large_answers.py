"""Large answers: the same as small ones, while others are answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from starlette.types import Message

from benchmarks.serving_load import watched
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.scoring import score_batch
from isslim.service.routes.score import TOKENS_AT_ONCE
from isslim.service.timing import PART_BYTES, json_response
from isslim.store.bundles import BundleStore
from isslim.types.schemas.scores import ScoreResponse
from tests.conftest import Published
from tests.service.served import served
from tests.service.test_large_bodies import LIVE_SECONDS


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    with served(published.settings.home, {}) as made:
        yield made


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_tokens_that_are_serialised_in_parts_are_those_of_the_runtime(
    encoding: str, url: str, published: Published
) -> None:
    model = LoadedLanguageModel(BundleStore(published.settings).open(published.bundle_id))
    session, codec = model.session("compressed-int8"), model.codec
    random = np.random.default_rng(0)
    lengths = (3, TOKENS_AT_ONCE, 2 * TOKENS_AT_ONCE + 1)
    ids = [random.integers(0, session.vocabulary, length).tolist() for length in lengths]
    body = {"model": "tiny", "token_ids": ids, "per_token": True, "top_k": 2}
    variants = ["compressed-int8", "original"]
    answer = httpx.post(
        f"{url}/score",
        json={**body, "variants": variants},
        headers={"accept-encoding": encoding},
        timeout=60,
    )
    assert answer.status_code == 200
    assert answer.headers.get("content-encoding", "identity") == encoding
    found = ScoreResponse.model_validate_json(answer.content)
    assert [each.variant for each in found.variants] == variants
    expected = score_batch(session, ids, codec.start_id, top_k=2)
    for text, sequence, score in zip(found.variants[0].texts, ids, expected, strict=True):
        assert text.tokens is not None
        assert [each.id for each in text.tokens] == sequence
        assert [each.token for each in text.tokens] == [codec.token(each) for each in sequence]
        scored = score.log_probs[~np.isnan(score.log_probs)]
        assert [
            each.log_prob for each in text.tokens if each.log_prob is not None
        ] == scored.tolist()
        tops = [[(top.id, top.log_prob) for top in each.top] for each in text.tokens]
        assert tops == [each or [] for each in score.top]
    assert "tokens" in json.loads(answer.content)["variants"][1]["texts"][0]


@pytest.mark.slow
def test_largest_answer_stops_nobody(url: str) -> None:
    """Of the default limits: half a million log-probabilities, 25 megabytes."""
    body = {"model": "tiny", "token_ids": [[3] * 45_000], "per_token": True, "top_k": 10}
    body["variants"] = ["compressed-int8"]
    with watched(url) as seconds:
        time.sleep(0.05)
        answer = httpx.post(f"{url}/score", json=body, timeout=60)
        time.sleep(0.05)
    assert answer.status_code == 200
    assert len(answer.content) > 20_000_000
    assert max(seconds) < LIVE_SECONDS


@pytest.mark.parametrize(
    "lengths", [[0], [10], [PART_BYTES], [PART_BYTES + 1], [1] * 3000 + [3 * PART_BYTES, 0, 7, 5]]
)
def test_parts_are_sent_in_equal_pieces_that_are_the_whole(lengths: list[int]) -> None:
    random, sent = np.random.default_rng(0), list[Message]()
    parts = [random.bytes(length) for length in lengths]

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("the request was read")

    answer = json_response(parts, {"run": 1.0})
    asyncio.run(answer({"type": "http"}, receive, send))
    start, *bodies = sent
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(sum(lengths)).encode()
    assert b"".join(each["body"] for each in bodies) == b"".join(parts)
    assert [each.get("more_body", False) for each in bodies] == [True] * (len(bodies) - 1) + [False]
    assert len(bodies) <= sum(lengths) // PART_BYTES + 1
