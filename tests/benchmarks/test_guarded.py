"""The service with keys, limits and traces, and beside strangers: every part does what it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.guarded import beside, collecting, cost, forms
from benchmarks.large_text import measured, write_text
from tests.conftest import Published

ASK = json.dumps({"model": "tiny", "texts": ["the cat"], "variants": ["compressed-int8"]})


def test_forms_differ_in_what_is_measured(tmp_path: Path) -> None:
    key, variables = forms(tmp_path, "http://127.0.0.1:9")
    assert variables["plain"] == {}
    assert variables["all"] == variables["keys"] | variables["traces"]
    assert key not in Path(variables["keys"]["ISS_API_KEYS_FILE"]).read_text()


def test_a_collector_takes_spans() -> None:
    with collecting() as url:
        sent = ExportTraceServiceRequest().SerializeToString()
        assert httpx.post(f"{url}/v1/traces", content=sent).status_code == 200


def test_a_text_has_its_size_and_unknown_words(tmp_path: Path) -> None:
    write_text(tmp_path / "text", 20)
    text = (tmp_path / "text").read_bytes()
    assert len(text) == 20_000_000
    assert b"unheard-of" in text[:10_000_000]


@pytest.mark.long
def test_figures_of_a_moment(published: Published, tmp_path: Path) -> None:
    found = cost(published.settings.home, tmp_path, ASK, rounds=2)
    assert found.keys() == {"plain", "keys", "traces", "all"}
    assert found["plain"]["p50_more_ms"] == 0 < found["plain"]["cpu_ms"]
    home = tmp_path / "home"
    shutil.copytree(published.settings.home / "artifacts", home / "artifacts")
    near = beside(home, tmp_path, ASK, seconds=1, rounds=1)
    assert near["alone"]["p99_ratio"] == 1
    assert near.keys() == {"alone", "long_uploads", "endless_upload", "queue_of_jobs"}


@pytest.mark.long
@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_large_text_is_watched(unit: Literal["word", "character"], tmp_path: Path) -> None:
    found = measured(tmp_path, 5, unit)
    assert found["inspection"]["understood"]
    assert found["job"]["problem"] is None
    assert found["is_within"]
    assert len(found["children_peak_bytes"]) >= 2
