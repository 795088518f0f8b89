"""The soak: wrong answers, refusals and growing memory are found, and a short run has none."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.__main__ import slope_of, soaked
from benchmarks.soak.models import LANGUAGE, Copies
from benchmarks.soak.traffic import MAX_ERRORS, Counts, Question, client, due, same
from isslim.demo.ports import free_port
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from tests.conftest import Published
from tests.service.served import served


@pytest.fixture(scope="module")
def url(published: Published) -> Iterator[str]:
    with served(published.settings.home, {}) as made:
        yield made


def asked(url: str, model: str, expected: Any, short_lived: str | None = None) -> Counts:
    """What a client counts in a moment."""
    body = {"model": model, "texts": ["the cat"], "variants": ["compressed"]}
    question = Question(
        "/score", "/score", body, lambda said: json.loads(said)["variants"][0]["perplexity"]
    )
    counts, done = Counts(), threading.Event()
    going = threading.Thread(
        target=client, args=(url, [(question, expected)], lambda: short_lived, counts, done, 0)
    )
    going.start()
    until = time.monotonic() + 20
    while sum(counts.answers.values()) < 10 and time.monotonic() < until:
        time.sleep(0.01)
    done.set()
    going.join()
    return counts


def test_wrong_answers_and_refusals_are_errors(url: str) -> None:
    wrong = asked(url, "tiny", 1.5)
    assert set(wrong.answers) == {"200"}
    assert len(wrong.errors) == wrong.answers["200"]
    expected = float(wrong.errors[0].split()[1])
    assert f"{expected!r} instead of 1.5" in wrong.errors[0]
    assert asked(url, "tiny", expected).errors == []
    assert asked(url, "tiny", expected * 1.001).errors != []
    gone = asked(url, "nobody", expected, short_lived="0123456789abcdef")
    assert set(gone.answers) == {"404"}
    assert gone.kinds["/score by id"] > 0  # it was deleted: that is no error
    assert len(gone.errors) == gone.kinds["/score"] > 0
    nowhere = asked(f"http://127.0.0.1:{free_port()}", "tiny", expected)
    assert set(nowhere.answers) == {"ConnectionRefusedError"}
    assert len(nowhere.errors) == min(MAX_ERRORS, nowhere.kinds["/score"])


def test_refusals_of_an_overloaded_service_are_due_and_others_are_not() -> None:
    assert due(503, '{"type":"overloaded"}')
    assert due(504, '{"type":"deadline-exceeded"}')
    assert not due(503, '{"type":"run-stopped"}')
    assert not due(500, '{"type":"overloaded"}')
    assert due(409, "", allowed=(409,))


def test_answers_are_compared_with_their_numbers_and_texts() -> None:
    assert same([-9.21, ["a", 0.5]], [-9.210001, ["a", 0.5]])
    assert not same([-9.21, ["a", 0.5]], [-9.22, ["a", 0.5]])
    assert not same(["a"], ["b"])
    assert not same([1.0], [1.0, 2.0])
    assert not same(None, [1.0])


def test_memory_that_grows_has_a_slope_and_its_beginning_does_not_count() -> None:
    minutes = [index / 10 for index in range(50)]
    assert slope_of(minutes, [200 + 3 * at for at in minutes], 2.0) == pytest.approx(3)
    settled = [100 + 50 * min(at, 2.0) for at in minutes]
    assert slope_of(minutes, settled, 2.0) == pytest.approx(0, abs=1e-9)
    assert slope_of([0.0, 1.0], [200.0, 300.0], 0.5) is None


def test_copies_have_ids_of_their_own_and_the_same_graphs(
    published: Published, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    settings = StoreSettings(home=home)
    copies = Copies(settings, {LANGUAGE: published.bundle_id})
    one, other = copies.publish(LANGUAGE), copies.publish(LANGUAGE)
    assert len({published.bundle_id, one, other}) == 3
    store = BundleStore(settings)
    first, copy = store.open(published.bundle_id), store.open(other)
    graph = (first.folder / "compressed.onnx").read_bytes()
    assert (copy.folder / "compressed.onnx").read_bytes() == graph


@pytest.mark.slow
def test_a_short_soak_has_no_errors(tmp_path: Path) -> None:
    found = soaked(tmp_path, minutes=1 / 6, clients=8)
    assert found["errors"] == []
    assert found["answers"]["200"] > 100
    assert len(found["kinds"]) >= 8
    assert sum(found["changes"].values()) > 5
    assert found["memory_mb"][0] > 50
    assert found["live_longest_ms"] > 0
    json.dumps(found)
