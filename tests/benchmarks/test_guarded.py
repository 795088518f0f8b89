"""The service with keys, limits and traces, and beside strangers: every part does what it says."""

from __future__ import annotations

from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.guarded import collecting, forms
from benchmarks.large_text import write_text


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
