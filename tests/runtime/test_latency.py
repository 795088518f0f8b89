"""How long a comparison of latency takes, whatever it compares."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from runtime import latency
from runtime.latency import BURST, interleave


def test_time_is_counted_from_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    runs: Counter[str] = Counter()

    def run(name: str) -> None:
        runs[name] += 1
        if runs[name] == 1:  # loading, as the first run of a large graph does
            time.sleep(0.3)

    times = interleave({name: lambda name=name: run(name) for name in ("original", "compressed")})  # type: ignore[misc]
    assert {name: len(each) for name, each in times.items()} == {"original": 1, "compressed": 1}


def test_slow_runs_are_timed_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(latency, "WARM_SECONDS", 0.0)
    runs: Counter[str] = Counter()

    def slow() -> None:
        runs["slow"] += 1
        time.sleep(0.08)

    def fast() -> None:
        runs["fast"] += 1

    times = interleave({"slow": slow, "fast": fast}, pairs=3)
    assert runs == {"slow": 1 + 3, "fast": 2 + 3 * (1 + BURST)}
    assert all(80 <= each < 800 for each in times["slow"])


def test_comparison_of_the_hopelessly_slow_ends_after_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SLOW_SECONDS", 0.01), ("MOST_SECONDS", 0.02), ("SECONDS", 0.01)):
        monkeypatch.setattr(latency, name, seconds)
    runs: list[float] = []

    def slow() -> None:
        runs.append(1)
        time.sleep(0.03)

    assert len(interleave({"original": slow})["original"]) == 1
    assert len(runs) == 2
