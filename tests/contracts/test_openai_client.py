"""The `openai` package against the service; minutes, for its installation."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow
TEXT = "the old man sees the river\na dog likes"
CALLS = Path(__file__).with_name("openai_calls.py")


@pytest.fixture(scope="module")
def found(clients: Path, url: str) -> dict[str, Any]:
    done = subprocess.run(
        [clients / "python", CALLS, url, TEXT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    calls: dict[str, Any] = json.loads(done.stdout)
    limit = time.monotonic() + 1
    while "isslim_inference_pending 0.0" not in httpx.get(f"{url}/metrics").text:
        assert time.monotonic() < limit, "runs go on although their senders have left"
        time.sleep(0.05)
    return calls


def test_echoed_log_probabilities_are_those_of_score(found: dict[str, Any], url: str) -> None:
    ask = {"model": "tiny", "texts": [TEXT], "per_token": True, "variants": list(found["scores"])}
    for each in httpx.post(f"{url}/score", json=ask).json()["variants"]:
        expected = [token["log_prob"] for token in each["texts"][0]["tokens"]]
        assert found["scores"][each["variant"]] == pytest.approx(expected, abs=1e-6)


def test_pieces_joined_are_the_text(found: dict[str, Any]) -> None:
    texts = found["texts"]
    assert "".join(texts["pieces"]) == texts["whole"]
    assert len(texts["pieces"]) == 31
    assert texts["usage"][0] == texts["usage"][1]
    assert texts["usage"][0]["completion_tokens"] == 30
    assert texts["one"] in texts["models"]


def test_refusals_are_the_exceptions_of_the_client(found: dict[str, Any]) -> None:
    assert found["refusals"] == {
        "model": ["NotFoundError", "model_not_found", "model"],
        "ids": ["BadRequestError", None, None],
        "stops": ["BadRequestError", None, "stop"],
    }


def test_streams_that_are_followed_end_whole_beside_those_that_are_left(
    found: dict[str, Any],
) -> None:
    assert found["whole_streams"] == 20
