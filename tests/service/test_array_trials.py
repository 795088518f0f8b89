"""Trials of graphs: outputs compared, whichever path they are asked by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from isslim.service.array_trials import MOST_BYTES, ArrayOutcome, decisions, repeatable_run
from isslim.service.context import AppContext
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.service.inference_protocol.asking import binary
from tests.service.test_aliases import put
from tests.service.test_trials import trial, until
from tests.tagger import PublishedGraph, publish

OWN, OTHER = "original", "compressed-int8"
IDS = np.random.default_rng(0).integers(0, 40, (9, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedGraph:
    return publish(tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="module")
def client(made: PublishedGraph) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(home=made.settings.home))) as found:
        yield found


@pytest.fixture(autouse=True)
def begun_anew(client: TestClient) -> Iterator[None]:
    """What one test has found of an alias is not there for the next one."""
    yield
    client.delete("/aliases/prod")


def compared(client: TestClient, expected: int) -> dict[str, Any]:
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    until(lambda: context.trials.running == 0)
    found = trial(client)
    assert (found["requests"], found["failed"], found["dropped"]) == (expected, 0, 0)
    return found


def test_a_shadow_finds_what_run_finds(client: TestClient) -> None:
    inputs = {"ids": IDS.tolist()}
    both = client.post("/models/tagger/run", json={"inputs": inputs, "variants": [OWN, OTHER]})
    own, other = both.json()["variants"]
    put(client, "prod", model="tagger", variant=OWN, shadow={"variant": OTHER, "share": 1})
    assert client.post("/models/prod/run", json={"inputs": inputs}).status_code == 200
    found = compared(client, 1)
    assert found["difference"] is None
    assert found["change"]["mean"] == pytest.approx(other["change"]["scores"], rel=1e-6)
    said = [np.array(each["outputs"]["scores"]).argmax(-1) for each in (own, other)]
    assert found["same"]["mean"] == pytest.approx(np.mean(said[0] == said[1]))
    assert found["time_ratio"]["mean"] > 0
    assert client.post("/v2/models/prod/infer", **binary({"ids": IDS})).status_code == 200
    again = compared(client, 2)
    assert again["change"]["mean"] == pytest.approx(found["change"]["mean"])  # of the same inputs
    report = client.get("/aliases/prod/shadow").json()
    assert report["compared"] == ["/models/{model}/run", "/v2/models/{model}/infer"]
    assert any("of the outputs' spread" in line for line in report["lines"])


def test_a_named_variant_is_not_compared(client: TestClient) -> None:
    put(client, "prod", model="tagger", variant=OWN, shadow={"variant": OTHER, "share": 1})
    body = {"inputs": {"ids": IDS.tolist()}, "variants": [OTHER]}
    assert client.post("/models/prod/run", json=body).status_code == 200
    compared(client, 0)


def outcome(**outputs: NDArray[Any]) -> ArrayOutcome:
    return ArrayOutcome(None, (), 1.0, outputs)


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ([[0.1, 0.9], [0.4, 0.6]], [[0.2, 0.8], [0.7, 0.3]], 0.5),
        ([[0.2], [0.6]], [[0.4], [0.9]], 1.0),
        ([[0.2], [0.4]], [[0.4], [0.9]], 0.5),
        ([[0.2], [-0.4]], [[0.4], [1.9]], 0.5),
        (0.3, 0.4, 1.0),
        ([1, 2, 3, 4], [1, 2, 3, 5], 0.75),
        ([True, False], [True, True], 0.5),
    ],
)
def test_decisions(found: Any, wanted: Any, same: float) -> None:
    pair = [np.array(each) for each in (found, wanted)]
    pair = [each.astype(np.float32) if each.dtype.kind == "f" else each for each in pair]
    one, other = decisions(*pair)
    assert np.mean(one == other) == same


def test_what_cannot_be_compared_has_an_infinite_change() -> None:
    own = outcome(y=np.zeros((2, 3), np.float32))
    for other in (
        outcome(y=np.zeros((2, 4), np.float32)),
        outcome(z=np.zeros((2, 3), np.float32)),
        outcome(y=np.full((2, 3), np.nan, np.float32)),
    ):
        assert other.against(own)["change"] == np.inf
    assert outcome(y=np.zeros((2, 3), np.float32)).against(own)["change"] == 0
    words = np.array(["a"], object)
    assert outcome(words=words).against(outcome(words=words))["same"] == 1


def test_large_inputs_are_not_kept() -> None:
    assert repeatable_run({"x": np.zeros(MOST_BYTES // 8)}, [], "cpu") is not None
    assert repeatable_run({"x": np.zeros(MOST_BYTES // 8 + 1)}, [], "cpu") is None


def test_a_candidate_that_changes_more_than_its_rule_allows_ends(client: TestClient) -> None:
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    rule = {"change_below": 1e-9, "requests": 1000}
    put(
        client, "prod", model="tagger", variant=OWN,
        shadow={"variant": OTHER, "share": 1, "rule": rule},
    )  # fmt: skip
    for _ in range(20):
        asked = client.post("/models/prod/run", json={"inputs": {"ids": IDS.tolist()}})
        assert asked.status_code == 200
        until(lambda: context.trials.running == 0)
    until(lambda: client.get("/aliases/prod").json().get("shadow") is None)
