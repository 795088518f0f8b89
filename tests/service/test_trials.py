"""Shadows and canaries: compared on live requests, promoted or ended by their rules."""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from collections.abc import Callable, Iterator
from statistics import fmean, stdev
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from starlette.types import Message

from isslim.service.context import AppContext
from isslim.service.main import create_app
from isslim.service.serving.registry import LOOK_SECONDS
from isslim.service.text_trials import repeatable_texts
from isslim.settings.service import ServiceSettings
from tests.conftest import OBJECTS, SUBJECTS, VERBS, Published
from tests.service.copies import publish_as
from tests.service.test_aliases import ask, put
from tests.service.test_routes import problem

TEXTS = [f"{who} {what} {thing}" for who in SUBJECTS for what in VERBS for thing in OBJECTS][:100]


@pytest.fixture
def client(published: Published) -> Iterator[TestClient]:
    """A service of one run at a time, on whose queue three may wait."""
    settings = ServiceSettings(home=published.settings.home, runs_at_once=1, waiting_limit=3)
    with TestClient(create_app(settings)) as made:
        yield made
        for each in made.get("/aliases").json():
            made.delete(f"/aliases/{each['alias']}")


def trial(client: TestClient, number: int = 0) -> dict[str, Any]:
    answer = client.get("/aliases/prod/shadow")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["trials"][number]
    return found


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.002)


def each_compared(client: TestClient, texts: list[str]) -> None:
    """Asks one after the other, each when the one before it was compared."""
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    for text in texts:
        body = {"model": "prod", "texts": [text]}
        assert client.post("/score", json=body).status_code == 200
        until(lambda: context.trials.running == 0)


def test_shadow_finds_what_score_finds_on_the_same_texts(client: TestClient) -> None:
    variants = ["compressed-int8", "original"]
    put(
        client,
        "prod",
        model="tiny",
        variant=variants[0],
        shadow={"variant": variants[1], "share": 1},
    )
    each_compared(client, TEXTS)
    differences = []
    for text in TEXTS:
        scored = ask(client, "tiny", texts=[text], variants=variants)["variants"]
        one, other = (each["texts"][0] for each in scored)
        differences.append((other["log_prob"] - one["log_prob"]) / one["counted"])
    found = trial(client)
    assert (found["role"], found["requests"], found["failed"], found["dropped"]) == (
        "shadow",
        len(TEXTS),
        0,
        0,
    )
    assert found["difference"]["mean"] == pytest.approx(fmean(differences), abs=1e-6)
    changes = [abs(each) for each in differences]
    assert found["change"]["mean"] == pytest.approx(fmean(changes), abs=1e-6)
    half = 1.9842 * stdev(changes) / math.sqrt(len(changes))  # Student's t, 99 degrees of freedom
    assert found["change"]["high"] - found["change"]["mean"] == pytest.approx(half, rel=1e-3)
    assert 0 < found["same"]["low"] < found["same"]["high"] <= 1
    assert found["time_ratio"]["mean"] > 0
    metrics = client.app.state.context.metrics.registry.get_sample_value  # type: ignore[attr-defined]
    named = {"alias": "prod"}
    assert metrics("isslim_shadow_log_prob_change_count", named) == len(TEXTS)
    total = metrics("isslim_shadow_log_prob_change_sum", named)
    assert total == pytest.approx(sum(changes), abs=1e-4)
    assert metrics("isslim_shadow_time_ratio_count", named) == len(TEXTS)
    decided = (
        metrics("isslim_shadow_same_decision_total", named | {"same": each})
        for each in ("true", "false")
    )
    assert sum(each or 0 for each in decided) == len(TEXTS)


def test_share_of_a_shadow_is_compared_and_named_variants_are_not(client: TestClient) -> None:
    put(client, "prod", model="tiny", variant="original", shadow={"share": 0.2})
    for number in range(60):
        client.post(
            "/score",
            json={"model": "prod", "texts": ["the cat"]},
            headers={"x-request-id": f"request-{number}"},
        )
    for _ in range(10):
        ask(client, "prod", variants=["compressed"])
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    until(lambda: context.trials.running == 0)
    found = trial(client)
    assert found["candidate"]["variant"] == "compressed-int8"
    assert 2 <= found["requests"] + found["dropped"] <= 30  # of 60 requests; 12 are expected


def test_shadow_is_left_out_while_more_than_half_of_the_queue_is_in_use(
    client: TestClient,
) -> None:
    put(client, "prod", model="tiny", variant="original", shadow={"share": 1})
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    assert client.portal is not None

    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    def waiting() -> Any:
        request = Request({"type": "http", "headers": []}, receive)
        admitted = context.admission.admit(request, 60, "ISS_SCORE_SECONDS")
        return client.portal.wrap_async_context_manager(admitted)  # type: ignore[union-attr]

    with waiting(), waiting():
        each_compared(client, TEXTS[:1])
        with waiting():
            each_compared(client, TEXTS[:2])
    found = trial(client)
    assert (found["requests"], found["dropped"]) == (1, 2)
    dropped = context.metrics.registry.get_sample_value
    assert dropped("isslim_shadow_dropped_total", {"alias": "prod"}) == 2


def test_canary_that_keeps_to_its_rule_is_promoted(client: TestClient) -> None:
    rule = {"change_below": 10, "requests": 5}
    put(
        client,
        "prod",
        model="tiny",
        variant="original",
        canary={"variant": "compressed", "share": 1, "rule": rule},
    )
    each_compared(client, TEXTS[:5])
    until(lambda: bool(client.get("/aliases/prod").json()["variant"] == "compressed"))
    found = client.get("/aliases/prod").json()
    assert found["canary"] is None
    newest = found["history"][0]
    assert newest["action"] == "promoted"
    assert newest["by"].startswith("rule of canary ")
    assert newest["note"].startswith("rule held: change ")
    assert client.post("/aliases/prod/rollback").json()["variant"] == "original"


def test_canary_that_breaks_its_rule_ends_by_itself(client: TestClient) -> None:
    rule = {"change_below": 1e-9, "requests": 5}
    put(
        client,
        "prod",
        model="tiny",
        variant="original",
        canary={"variant": "compressed", "share": 1, "rule": rule},
    )
    assert ask(client, "prod")["variants"][0]["variant"] == "compressed"
    each_compared(client, TEXTS[:5])
    until(lambda: client.get("/aliases/prod").json()["canary"] is None)
    found = client.get("/aliases/prod").json()
    assert (found["variant"], found["history"][0]["action"]) == ("original", "rolled back")
    assert ask(client, "prod")["variants"][0]["variant"] == "original"


def test_processes_add_up_what_they_have_found(client: TestClient, published: Published) -> None:
    put(client, "prod", model="tiny", variant="original", shadow={"share": 1})
    settings = ServiceSettings(home=published.settings.home)
    with TestClient(create_app(settings)) as other:
        each_compared(client, TEXTS[:3])
        each_compared(other, TEXTS[3:5])
        trial(client)
        assert trial(other)["requests"] == 5
    put(client, "prod", model="tiny", variant="original", shadow={"share": 0.9})
    assert trial(client)["requests"] == 0


def test_senders_stay_with_the_canary_or_without_it(client: TestClient) -> None:
    put(
        client,
        "prod",
        model="tiny",
        variant="original",
        canary={"variant": "compressed", "share": 0.5},
    )
    seen = set()
    for user in range(12):
        answers = {
            client.post(
                "/score",
                json={"model": "prod", "texts": ["the cat"]},
                headers={"x-user": f"user-{user}"},
            ).headers["x-isslim-model"]
            for _ in range(2)
        }
        assert len(answers) == 1
        seen |= answers
    assert len(seen) == 2


def test_report_says_in_words_what_was_found(client: TestClient) -> None:
    problem(client.get("/aliases/prod/shadow"), 404, "not-found")
    put(client, "prod", model="tiny", variant="original")
    assert "tries nothing" in client.get("/aliases/prod/shadow").json()["lines"][0]
    rule = {"change_below": 0.02, "requests": 500}
    put(client, "prod", model="tiny", variant="original", shadow={"share": 1, "rule": rule})
    each_compared(client, TEXTS[:2])
    lines = client.get("/aliases/prod/shadow").json()["lines"]
    assert lines[0].endswith(": 2 requests compared")
    assert lines[-1] == "- rule (change below 0.02 on 500 requests): undecided"


def test_trial_whose_candidate_was_deleted_says_so_in_one_line(
    client: TestClient, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    home = published.settings.home
    other = publish_as("other", published, home)
    put(client, "prod", model="tiny", variant="original", shadow={"model": other, "share": 1})
    each_compared(client, TEXTS[:1])
    assert not trial(client)["is_gone"]
    shutil.rmtree(home / "artifacts" / "bundles" / other)  # no request, which would be refused
    time.sleep(2 * LOOK_SECONDS)
    each_compared(client, TEXTS[1:4])
    told = [each for each in caplog.records if each.name == "service.trials"]
    assert [each.getMessage() for each in told] == [
        f"the trial of 'prod' compares nothing: the model {other}:compressed-int8 of its shadow "
        "was deleted"
    ]
    assert [each.exc_info for each in told] == [None]
    found = client.get("/aliases/prod/shadow").json()
    assert found["trials"][0]["is_gone"]
    assert (found["trials"][0]["requests"], found["trials"][0]["failed"]) == (1, 3)
    assert found["lines"][1].startswith("- its model was deleted")


def test_trial_whose_own_model_was_deleted_meanwhile_says_so_in_one_line(
    client: TestClient, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    home = published.settings.home
    own = publish_as("own", published, home)
    put(client, "prod", model=own, variant="original", shadow={"model": "tiny", "share": 1})
    context: AppContext = client.app.state.context  # type: ignore[attr-defined]
    alias = context.models.aliases.get("prod")
    shutil.rmtree(home / "artifacts" / "bundles" / own)
    assert alias.shadow is not None
    assert client.portal is not None
    repeatable = repeatable_texts(TEXTS[:1], "cpu", context.settings)
    assert repeatable is not None
    for _ in range(2):
        client.portal.call(context.trials._compare, alias, alias.shadow, repeatable)
    told = [each for each in caplog.records if each.name == "service.trials"]
    assert [each.getMessage() for each in told] == [
        f"the trial of 'prod' compares nothing: the model {own}:original of the alias was deleted"
    ]
    found = client.get("/aliases/prod/shadow").json()
    assert (found["trials"][0]["failed"], found["trials"][0]["dropped"]) == (0, 2)
    assert any("which was deleted" in line for line in found["lines"])
