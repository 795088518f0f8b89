"""The load generator against a real service: every body apart, failures counted, nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load_generator import Group, load, percentile
from isslim.demo.ports import free_port
from tests.conftest import Published
from tests.service.served import served


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    with served(published.settings.home, {"ISS_WAITING_LIMIT": "64"}) as made:
        yield made


def written(folder: Path, name: str, body: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(body))
    return path


@pytest.mark.slow
def test_bodies_are_measured_apart_and_failures_are_counted(url: str, tmp_path: Path) -> None:
    one = written(tmp_path, "one", {"model": "tiny", "texts": ["the cat"]})
    large = written(
        tmp_path, "large", {"model": "tiny", "texts": ["the cat"] * 64, "per_token": True}
    )
    wrong = written(tmp_path, "wrong", {"model": "nope", "texts": ["the cat"]})
    groups = {
        "mixed": Group(4, {one: 0.5, wrong: 0.5}),
        "other": Group(1, {large: 1.0}),
    }
    found = load(f"{url}/score", groups, 1.5, warm_up=0.5, cpu=None)
    assert set(found) == {"mixed/one", "mixed/wrong", "other/large"}
    for name in ("mixed/one", "other/large"):
        each = found[name]
        assert each["answers"] > 0
        assert each["failures"] == {}
        assert each["requests_per_second"] == pytest.approx(each["answers"] / 1.5)
        assert 0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"]
    assert found["mixed/wrong"]["answers"] == 0
    assert found["mixed/wrong"]["p50_ms"] is None
    assert set(found["mixed/wrong"]["failures"]) == {"404"}


def test_service_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    body = written(tmp_path, "one", {})
    found = load(
        f"http://127.0.0.1:{free_port()}/score", {"a": Group(1, {body: 1.0})}, 0.3, cpu=None
    )
    assert found["a/one"]["answers"] == 0
    assert set(found["a/one"]["failures"]) == {"ConnectionRefusedError"}


def test_percentiles_are_values_that_were_measured() -> None:
    times = [float(each) for each in range(1, 101)]
    assert [percentile(times, part) for part in (0.0, 0.5, 0.99, 1.0)] == [1, 51, 100, 100]
    assert percentile([], 0.5) is None
