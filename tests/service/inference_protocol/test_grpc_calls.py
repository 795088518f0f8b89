"""Calls over gRPC: ids, the log, and how many large, slow and lasting ones there may be."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from isslim.demo.ports import free_port
from isslim.service.inference_protocol.grpc_calls import READS_AT_ONCE, STREAMS_AT_ONCE
from isslim.service.large_bodies import LARGE_AT_ONCE
from tests.conftest import Published
from tests.service.inference_protocol.test_grpc import Caller, grpc, request_of
from tests.service.inference_protocol.test_language import feed, model
from tests.service.served import served
from tests.service.test_large_bodies import MEGABYTE, npz_of, peak_bytes

__all__ = ["model"]
ID = "x-request-id"


class Service:
    """A process that serves gRPC, what it logs, and a caller of it."""

    def __init__(self, made: served, caller: Caller) -> None:
        self.made, self.caller = made, caller

    def lines(self) -> list[dict[str, Any]]:
        """Of its log."""
        return [json.loads(line) for line in self.made.log.read_text().splitlines()]

    def line_of(self, request_id: str) -> dict[str, Any]:
        """About an answer."""
        limit = time.monotonic() + 10
        while True:
            found = [each for each in self.lines() if each.get("request_id") == request_id]
            if found:
                return found[-1]
            assert time.monotonic() < limit
            time.sleep(0.05)


@pytest.fixture(scope="module")
def service(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    port, log = free_port(), tmp_path_factory.mktemp("log") / "log"
    settings = {"ISS_GRPC_PORT": str(port), "ISS_LOG_LEVEL": "INFO"}
    made = served(published.settings.home, settings, log)
    with made:
        caller = Caller(port)
        yield Service(made, caller)
        caller.channel.close()


def asked(caller: Caller, model: Any, **fields: Any) -> Any:
    return caller.types["ModelInferRequest"](**request_of(feed(model), **fields))


def trailing(call: Any) -> dict[str, str]:
    return dict(call.trailing_metadata())


def test_a_call_has_the_id_of_its_sender_or_a_new_one(service: Service, model: Any) -> None:
    method = service.caller.method("ModelInfer")
    request = asked(service.caller, model, id="mine")
    answer, call = method.with_call(request, metadata=[(ID, "given-1")], timeout=30)
    assert (answer.id, trailing(call)[ID]) == ("mine", "given-1")
    assert trailing(call)["x-isslim-model"].endswith(":compressed")
    line = service.line_of("given-1")
    assert (line["route"], line["status"], line["id"]) == ("ModelInfer", "OK", "mine")
    made = [trailing(method.with_call(request, timeout=30)[1])[ID] for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(each) == 32 for each in made)
    odd = trailing(method.with_call(request, metadata=[(ID, "a b")], timeout=30)[1])
    assert odd[ID] != "a b"


def test_a_refusal_has_its_id_too(service: Service, model: Any) -> None:
    request = asked(service.caller, model, model_name="nope")
    with pytest.raises(grpc.RpcError) as caught:
        service.caller.method("ModelInfer")(request, metadata=[(ID, "given-2")], timeout=30)
    assert trailing(caught.value)[ID] == "given-2"
    assert service.line_of("given-2")["status"] == "NOT_FOUND"


def test_a_stream_has_one_id_and_its_messages_have_theirs(service: Service, model: Any) -> None:
    requests = [asked(service.caller, model, id="a"), asked(service.caller, model, id="b")]
    requests[1].model_name = "nope"
    call = service.caller.method("ModelStreamInfer", "stream_stream")(
        iter(requests), metadata=[(ID, "given-3")], timeout=30
    )
    answers = list(call)
    assert [each.infer_response.id for each in answers] == ["a", "b"]
    assert [bool(each.error_message) for each in answers] == [False, True]
    assert dict(call.initial_metadata())[ID] == trailing(call)[ID] == "given-3"
    lines = [each for each in service.lines() if each.get("request_id") == "given-3"]
    assert [(each["id"], each["status"]) for each in lines] == [("a", "OK"), ("b", "NOT_FOUND")]


def test_what_is_no_message_is_refused(service: Service) -> None:
    method = service.caller.channel.unary_unary(f"/{service.caller.service.full_name}/ModelInfer")
    with pytest.raises(grpc.RpcError) as caught:
        method(b"\xff\xff", timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no ModelInferRequest" in caught.value.details()


def test_large_messages_are_refused_beyond_those_in_memory(service: Service) -> None:
    """Each is read, and refused for what it holds, or refused at once: few are there at a time."""
    caller, size, calls = service.caller, 20 * MEGABYTE, 24
    large = caller.types["ModelInferRequest"](**request_of({"x": np.zeros(size, np.int8)}))
    method, before = caller.method("ModelInfer"), peak_bytes(service.made.process.pid)

    def ask(_: int) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            method(large, timeout=120)
        return caught.value.code()

    with ThreadPoolExecutor(calls) as pool:
        codes = set(pool.map(ask, range(calls)))
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE}
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    # As it arrives, whole, parsed, and its tensor.
    most = 4 * (READS_AT_ONCE + LARGE_AT_ONCE)
    taken = peak_bytes(service.made.process.pid) - before
    assert taken < most * size, f"{taken / size:.1f} times a message"


@contextmanager
def stalled(caller: Caller, count: int) -> Iterator[list[Any]]:
    """Calls that begin, and do not send their message until the block ends."""
    done = threading.Event()

    def none() -> Iterator[Any]:
        done.wait(60)
        yield from ()

    method = caller.method("ModelInfer", "stream_unary")
    calls = [method.future(none(), timeout=60) for _ in range(count)]
    try:
        yield calls
    finally:
        done.set()
        for each in calls:
            each.exception()


def test_senders_that_stall_hold_up_large_messages_alone(service: Service, model: Any) -> None:
    caller = service.caller
    large = caller.types["ModelInferRequest"](**request_of({"x": np.zeros(9 << 20, np.int8)}))
    with stalled(caller, 2 * LARGE_AT_ONCE) as calls:
        limit = time.monotonic() + 20
        while sum(each.done() for each in calls) < LARGE_AT_ONCE:
            assert time.monotonic() < limit
            time.sleep(0.05)
        codes = [each.code() for each in calls if each.done()]
        assert codes == [grpc.StatusCode.UNAVAILABLE] * LARGE_AT_ONCE
        began = time.perf_counter()
        caller.method("ModelInfer")(asked(caller, model), timeout=30)
        assert time.perf_counter() - began < 2
        with pytest.raises(grpc.RpcError) as caught:
            caller.method("ModelInfer")(large, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        # They are counted together with those of HTTP.
        url = f"{service.made.url}/models/tiny/run"
        kind = {"content-type": "application/x-npz"}
        assert httpx.post(url, content=npz_of(9 << 20), headers=kind).status_code == 503
    limit = time.monotonic() + 20
    while True:
        with pytest.raises(grpc.RpcError) as caught:
            caller.method("ModelInfer")(large, timeout=30)
        if caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT:
            break
        assert time.monotonic() < limit


def test_only_so_many_streams_are_open(service: Service, model: Any) -> None:
    method = service.caller.method("ModelStreamInfer", "stream_stream")
    request, done = asked(service.caller, model), threading.Event()

    def kept_open() -> Iterator[Any]:
        yield request
        done.wait(60)

    with ExitStack() as stack:
        stack.callback(done.set)
        streams = [method(kept_open(), timeout=60) for _ in range(STREAMS_AT_ONCE)]
        assert all(next(each).infer_response.model_version for each in streams)
        with pytest.raises(grpc.RpcError) as caught:
            next(method(iter([request]), timeout=30))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "streams are open" in caught.value.details()
        service.caller.method("ModelInfer")(request, timeout=30)
