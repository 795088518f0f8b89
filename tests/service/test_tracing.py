"""Traces and logs of a request and of its job, by a real collector; and that they cost nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from isslim.client.api import Client
from isslim.demo.ports import free_port
from tests.conftest import Published
from tests.service.inference_protocol.test_language import feed, model
from tests.service.served import served, wait_for
from tests.trace_collector import collector

__all__ = ["model"]
ASK = {"model": "tiny", "texts": ["the cat sees the river"]}
TRACE, ROOT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{ROOT}-01"}


@contextmanager
def processes(home: Path, folder: Path, **environment: str) -> Iterator[str]:
    """Service and worker, which write their logs to files in a folder; the service's address."""
    port = free_port()
    variables = {
        "ISS_HOME": str(home),
        "ISS_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "ISS_LOG_LEVEL": "INFO",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    started = []
    for name, module in (("service", "isslim.service"), ("worker", "isslim.compress.worker")):
        with (folder / name).open("w") as log:
            command = [sys.executable, "-m", module]
            started.append(
                subprocess.Popen(command, env=os.environ | variables | environment, stderr=log)
            )
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(client)
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def lines(path: Path) -> list[dict[str, object]]:
    """The lines of a log that are JSON, and so all but those of the start."""
    text = path.read_text().splitlines()
    return [json.loads(each) for each in text if each.startswith("{")]


def ended(url: str, job: str) -> str:
    limit = time.monotonic() + 60
    while True:
        state = str(httpx.get(f"{url}/jobs/{job}").json()["state"])
        if state not in ("queued", "running"):
            return state
        assert time.monotonic() < limit
        time.sleep(0.2)


@pytest.mark.slow
def test_request_and_job_are_one_connected_tree_each(published: Published, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    with collector() as traces:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url}
        with processes(home, tmp_path, **variables) as url:
            assert httpx.post(f"{url}/score", json=ASK, headers=CALLER).status_code == 200
            steps = ("queue", "tokenize", "run original", "run compressed-int8")
            found = traces.trace(TRACE, "POST /score", *steps)
            assert traces.is_connected(TRACE, ROOT)
            assert found["POST /score"].parent == ROOT
            assert all(found[step].seconds <= found["POST /score"].seconds for step in steps)
            assert httpx.get(f"{url}/health/ready").status_code == 200

            other = TRACE[::-1]
            headers = {"traceparent": f"00-{other}-{ROOT}-01"}
            files = {"model": ("model.pt", b"no model")}
            queued = httpx.post(f"{url}/compress", files=files, headers=headers).json()
            assert ended(url, queued["id"]) == "failed"
            spans = traces.trace(other, "POST /compress", "stage ingest")
            limit = time.monotonic() + 20
            while not traces.is_connected(other, ROOT):
                assert time.monotonic() < limit, list(traces.spans)
                time.sleep(0.2)
            assert {each.service for each in spans.values()} == {"isslim", "isslim-worker"}
        names = {each.name for each in traces.spans}
    assert not any("health" in name for name in names)
    asked = next(each for each in lines(tmp_path / "service") if each["event"] == "request")
    assert asked["trace_id"] == TRACE
    (put,) = [each for each in lines(tmp_path / "service") if each["event"] == "job queued"]
    assert (put["job_id"], put["trace_id"]) == (queued["id"], other)
    of_worker = [each for each in lines(tmp_path / "worker") if each["logger"] == "worker.jobs"]
    events = [str(each["event"]) for each in of_worker]
    assert events[0] == "job taken"
    assert events[-1] == "job ended"
    assert {each["job_id"] for each in of_worker} == {queued["id"]}
    assert {each["trace_id"] for each in of_worker} == {other}
    assert of_worker[-1]["outcome"] == "failed"
    assert float(str(of_worker[-1]["seconds"])) > 0


def test_requests_and_calls_are_in_the_traces_of_their_senders(
    published: Published, model: Any
) -> None:
    """Whether answered or refused; each message of a stream over gRPC is a span of its own."""
    grpc = pytest.importorskip("grpc", reason="gRPC is optional: pip install 'isslim[grpc]'")
    from tests.service.inference_protocol.test_grpc import Caller, request_of

    port, metadata = free_port(), [("traceparent", CALLER["traceparent"])]
    other = TRACE[::-1]
    with collector() as traces:
        variables = {
            "ISS_GRPC_PORT": str(port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        third, alone = "5" * 32, {"traceparent": f"00-{'6' * 32}-{ROOT}-00"}
        with served(published.settings.home, variables) as url:
            for sent_by in ({"traceparent": f"00-{third}-{ROOT}-01"}, alone, {}):
                assert httpx.post(f"{url}/score", json=ASK, headers=sent_by).status_code == 200
            score = traces.trace(third, "POST /score", "queue", "tokenize", "run original")
            caller = Caller(port)
            asked = caller.types["ModelInferRequest"](**request_of(feed(model)))
            caller.method("ModelInfer")(asked, metadata=metadata, timeout=30)
            refused = caller.types["ModelInferRequest"](model_name="nope")
            streamed = caller.method("ModelStreamInfer", "stream_stream")
            sent = [("traceparent", f"00-{other}-{ROOT}-01")]
            list(streamed(iter([asked, refused]), metadata=sent, timeout=30))
            with pytest.raises(grpc.RpcError):
                caller.method("ModelInfer")(refused, metadata=sent, timeout=30)
            caller.call("ServerReady")
            caller.channel.close()
            found = traces.trace(TRACE, "gRPC ModelInfer", "queue", "run compressed")
            traces.trace(other, "gRPC ModelStreamInfer", "gRPC ModelInfer", "run compressed")
    assert score["POST /score"].parent == ROOT
    assert {score[each].parent for each in ("queue", "tokenize", "run original")} == {
        score["POST /score"].id
    }
    roots = [each for each in traces.spans if each.name == "POST /score" and not each.parent]
    assert len(roots) == 1  # of the one without a context
    assert not any(each.trace == "6" * 32 for each in traces.spans)  # its sender samples it not
    call = found["gRPC ModelInfer"]
    assert call.parent == ROOT
    assert found["queue"].parent == found["run compressed"].parent == call.id
    assert traces.is_connected(other, ROOT)
    below = [each.name for each in traces.spans if (each.trace, each.parent) == (other, ROOT)]
    assert sorted(below) == ["gRPC ModelInfer", *["gRPC ModelStreamInfer"] * 2]
    assert not any("ServerReady" in each.name for each in traces.spans)


UNSAMPLED = """
from isslim.store.tracing import begin_tracing, end_tracing, request_span, span, trace_context
begin_tracing("test")
for _ in range(3):
    with request_span("POST /score", dict), span("queue", trace_context(), {}):
        pass
end_tracing()
"""


@pytest.mark.parametrize(("sampler", "sent"), [("always_off", 0), ("always_on", 6)])
def test_nothing_is_sent_where_nothing_is_sampled(sampler: str, sent: int) -> None:
    with collector() as traces:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_TRACES_SAMPLER": sampler}
        subprocess.run([sys.executable, "-c", UNSAMPLED], env=os.environ | variables, check=True)
    assert (len(traces.spans), traces.requests) == (sent, min(sent, 1))


ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import logging
from isslim.store.tracing import (
    begin_tracing, is_tracing, span, start_span, trace_context, trace_id
)
begin_tracing("test")
assert not is_tracing()
with span("x", trace_context(), {}):
    assert start_span("y", None) is None and trace_id() is None
loaded = [name for name in sys.modules if name.startswith("opentelemetry.")]
assert loaded == [], loaded
"""


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_without_the_extra_or_a_collector_nothing_is_loaded(endpoint: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ABSENT],
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ("pip install 'isslim[otel]'" in ran.stderr) is bool(endpoint)
