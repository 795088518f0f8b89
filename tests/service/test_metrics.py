"""Metrics: their names and labels, what is refused, jobs and workers, earlier names."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Counter, Histogram
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.registry import CollectorRegistry

from isslim import __version__
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.earlier_metrics import EARLIER, WithEarlierNames
from isslim.service.main import create_app
from isslim.service.metrics import Metrics
from isslim.settings.process_metrics import ProcessesCollector
from isslim.settings.service import ServiceSettings
from isslim.store.liveness import locks_of
from isslim.types.jobs import CompressionRequest, UploadRef
from tests.conftest import Published
from tests.service.occupied import occupied
from tests.service.printed_metrics import Printed

REQUEST = CompressionRequest(model=UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1))
ASK = {"model": "tiny", "texts": ["the cat sees"], "variants": ["original"]}
OIP = {
    "inputs": [
        {"name": "tokens", "shape": [2, 1], "datatype": "INT64", "data": [1, 2]},
    ]
}


def printed(client: TestClient) -> Printed:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE_PLAIN_0_0_4
    return Printed(answer.text)


def test_runs_are_told_apart_by_model_variant_device_and_protocol(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    client.post("/score", json=ASK)
    completion = {"model": "tiny:original", "prompt": "the cat", "max_tokens": 3}
    assert client.post("/v1/completions", json=completion).status_code == 200
    found = printed(client)
    for protocol in ("isslim", "openai"):
        labels = {
            "model": "tiny",
            "model_id": model.id,
            "variant": "original",
            "device": "cpu",
            "protocol": protocol,
        }
        assert found.value("isslim_inference_run_seconds_count", **labels) >= 1
        assert found.value("isslim_inference_queue_seconds_count", **labels) >= 1
    read = {"model": "tiny", "variant": "original"}
    assert found.value("isslim_tokens_total", kind="scored", **read) == 3 + 2
    assert found.value("isslim_tokens_total", kind="generated", **read) == 3
    assert {"files", "graphs"} <= {sample.labels.get("step") for sample in found.samples}


def test_versions_process_and_interpreter_are_among_them(client: TestClient) -> None:
    found = printed(client)
    assert found.value("isslim_build_info", version=__version__) == 1
    assert found.value("process_resident_memory_bytes") > 1e6
    assert found.value("process_cpu_seconds_total") > 0
    assert found.value("python_info", implementation="CPython") == 1
    assert len(found.values("python_gc_collections_total")) == 3


def test_scrapers_get_the_format_that_they_ask_for(client: TestClient) -> None:
    asked = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.1"}
    answer = client.get("/metrics", headers=asked)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {each.name for each in openmetrics.text_string_to_metric_families(answer.text)}
    assert {"isslim_inference_run_seconds", "isslim_inference_refused", "jobs"} <= families


def test_requests_refused_for_want_of_room_or_time_are_counted(published: Published) -> None:
    settings = ServiceSettings(home=published.settings.home, runs_at_once=1, waiting_limit=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert printed(client).value("isslim_inference_limit") == 2
        with occupied(client):
            late = client.post("/score", json=ASK, headers={"x-request-timeout-ms": "20"})
            assert late.status_code == 504
            context = client.app.state.context  # type: ignore[attr-defined]
            context.admission._pending += 2
            assert client.post("/score", json=ASK).status_code == 503
            context.admission._pending -= 2
        assert client.post("/score", json=ASK | {"model": "nope"}).status_code == 404
        found = printed(client)
    reasons = {
        reason: found.value("isslim_inference_refused_total", reason=reason)
        for reason in ("overloaded", "deadline", "rate")
    }
    assert reasons == {"overloaded": 1, "deadline": 1, "rate": 0}


def test_jobs_that_wait_and_workers_that_live_are_seen(tmp_path: Path) -> None:
    settings = ServiceSettings(home=tmp_path)
    with TestClient(create_app(settings)) as client:
        found = printed(client)
        assert found.value("isslim_oldest_queued_job_seconds") == 0
        assert found.value("isslim_workers") == 0
        client.app.state.context.queue.enqueue(REQUEST)  # type: ignore[attr-defined]
        held = [locks_of(settings).acquire(name) for name in ("one", "two")]
        time.sleep(0.1)
        found = printed(client)
        assert found.value("isslim_oldest_queued_job_seconds") >= 0.1
        assert found.value("isslim_workers") == 2
        ready = client.get("/health/ready").json()
        assert (ready["workers"], ready["warnings"]) == (2, [])
        assert found.value("isslim_jobs", state="queued") == 1
        for each in held:
            assert each is not None
            each.close()
        assert printed(client).value("isslim_workers") == 0
        ready = client.get("/health/ready").json()
        assert (ready["status"], ready["workers"]) == ("ok", 0)
        (missing,) = ready["warnings"]
        assert missing.startswith("no-worker: ")


def test_metrics_are_there_while_the_database_is_not(tmp_path: Path) -> None:
    settings = ServiceSettings(home=tmp_path, database_wait_seconds=0.1)
    with TestClient(create_app(settings)) as client:
        assert printed(client).value("isslim_database_up") == 1
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as damaging:
            damaging.execute("DROP TABLE iss_jobs")
        found = printed(client)
        assert found.value("isslim_database_up") == 0
        assert found.value("process_open_fds") > 0


def test_earlier_names_have_the_same_sums() -> None:
    registry = CollectorRegistry()
    labels = ("model", "model_id", "variant", "device", "protocol")
    runs = Histogram(
        "isslim_inference_run_seconds", "d", labels, buckets=(1, 10), registry=registry
    )
    Counter("isslim_tokens", "d", registry=registry).inc()
    for protocol, seconds in (("isslim", 0.5), ("openai", 5.0), ("openai", 50.0)):
        runs.labels("mine", "id", "original", "cpu", protocol).observe(seconds)
    runs.labels("other", "id2", "original", "cpu", "isslim").observe(2.0)
    families = {each.name: each for each in WithEarlierNames(registry).collect()}
    assert set(families) == {
        "isslim_inference_run_seconds",
        "inference_run_seconds",
        "isslim_tokens",
    }
    found = [
        (each.name, each.labels.get("le"), each.value)
        for each in families["inference_run_seconds"].samples
        if each.labels.get("model") == "id"
    ]
    assert found == [
        ("inference_run_seconds_bucket", "1.0", 1),
        ("inference_run_seconds_bucket", "10.0", 2),
        ("inference_run_seconds_bucket", "+Inf", 3),
        ("inference_run_seconds_count", None, 3),
        ("inference_run_seconds_sum", None, 55.5),
    ]
    names = {"device", "model", "variant"}
    assert {
        frozenset(each.labels) - {"le"} for each in families["inference_run_seconds"].samples
    } == {frozenset(names)}


def test_each_earlier_name_is_that_of_a_metric() -> None:
    known = {each.name for each in Metrics().registry.collect()}
    assert set(EARLIER) <= known


def test_processes_are_told_apart_and_one_that_ended_is_left_out() -> None:
    (families,) = [list(ProcessesCollector([os.getpid(), 2**22 + 1]).collect())]
    cpu = next(each for each in families if each.name == "process_cpu_seconds")
    assert [each.labels for each in cpu.samples] == [{"pid": str(os.getpid())}]


@pytest.mark.parametrize("path", ["/v2/models/tiny/infer", "/models/tiny/run"])
def test_oversized_bodies_count_as_no_refusal(client: TestClient, path: str) -> None:
    before = printed(client).values("isslim_inference_refused_total")
    answer = client.post(path, content=b"", headers={"content-length": str(1 << 40)})
    assert answer.status_code == 413
    assert printed(client).values("isslim_inference_refused_total") == before
