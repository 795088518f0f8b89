"""The protocol over gRPC: messages made by hand, on the service's own event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from isslim.demo.ports import free_port
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.conftest import WORDS, Published
from tests.service.inference_protocol.asking import NUMPY, Arrays, datatype, raw, same
from tests.service.inference_protocol.test_language import VARIANTS, expected, feed, model

grpc = pytest.importorskip("grpc", reason="gRPC is optional: pip install 'isslim[grpc]'")

__all__ = ["model"]
LISTS = {"INT64": "int64_contents", "INT32": "int_contents", "FP32": "fp32_contents"}


class Caller:
    """A channel to the service, and the types of its messages."""

    def __init__(self, port: int) -> None:
        from isslim.service.inference_protocol import grpc_messages

        self.service = grpc_messages.service_descriptor()
        self.types = grpc_messages.message_classes(self.service)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def method(self, name: str, kind: str = "unary_unary") -> Callable[..., Any]:
        types = self.service.methods_by_name[name]
        found: Callable[..., Any] = getattr(self.channel, kind)(
            f"/{self.service.full_name}/{name}",
            self.types[types.input_type.name].SerializeToString,
            self.types[types.output_type.name].FromString,
        )
        return found

    def call(self, method: str, timeout: float = 30, **fields: Any) -> Any:
        request = self.types[self.service.methods_by_name[method].input_type.name](**fields)
        return self.method(method)(request, timeout=timeout)

    def refused(self, code: str, method: str, **fields: Any) -> str:
        """The text of an error with a status."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, **fields)
        assert caught.value.code().name == code, caught.value.details()
        return str(caught.value.details())


@pytest.fixture(scope="module")
def caller(published: Published) -> Iterator[Caller]:
    port = free_port()
    settings = ServiceSettings(
        home=published.settings.home, grpc_port=port, array_bytes_limit=100_000
    )
    with TestClient(create_app(settings)):
        made = Caller(port)
        yield made
        made.channel.close()


def request_of(inputs: Arrays, **fields: Any) -> dict[str, Any]:
    """Fields of a `ModelInferRequest` with its tensors as bytes."""
    tensors = [
        {"name": name, "datatype": datatype(array), "shape": array.shape}
        for name, array in inputs.items()
    ]
    contents = [raw(array) for array in inputs.values()]
    asked = {"model_name": "tiny", "model_version": "compressed", "inputs": tensors}
    return {**asked, "raw_input_contents": contents, **fields}


def outputs_of(response: Any) -> Arrays:
    return {
        each.name: np.frombuffer(content, NUMPY[each.datatype]).reshape(tuple(each.shape))
        for each, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def test_server_and_models_are_described(caller: Caller) -> None:
    assert caller.call("ServerLive").live
    assert caller.call("ServerReady").ready
    assert caller.call("ServerMetadata").name == "isslim"
    assert caller.call("ModelReady", name="tiny", version="compressed").ready
    assert not caller.call("ModelReady", name="tiny", version="nope").ready
    assert not caller.call("ModelReady", name="nope").ready
    found = caller.call("ModelMetadata", name="tiny:original")
    assert (list(found.versions), found.platform) == (VARIANTS, "onnxruntime_onnx")
    tokens = next(each for each in found.inputs if each.name == "tokens")
    assert (tokens.datatype, list(tokens.shape)) == ("INT64", [-1, -1])
    config = caller.call("ModelConfig", name="tiny").config
    assert (config.name, config.max_batch_size) == ("tiny", 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_is_that_of_the_runtime(variant: str, caller: Caller, model: Any) -> None:
    given = feed(model, variant)
    wanted = dict(sorted(expected(model, variant, given).items()))
    for named in (
        {"model_version": variant},
        {"model_name": f"tiny:{variant}", "model_version": ""},
    ):
        found = caller.call("ModelInfer", **request_of(given, id="mine", **named))
        assert (found.model_version, found.id) == (variant, "mine")
        same(dict(sorted(outputs_of(found).items())), wanted)


def test_lists_give_what_bytes_give(caller: Caller, model: Any) -> None:
    given = feed(model)
    asked = request_of(given, raw_input_contents=[], outputs=[{"name": "token_log_probs"}])
    for each in asked["inputs"]:
        values = given[each["name"]].ravel().tolist()
        each["contents"] = {LISTS[each["datatype"]]: values}
    found = outputs_of(caller.call("ModelInfer", **asked))
    wanted = expected(model, "compressed", given)["token_log_probs"]
    same(found, {"token_log_probs": wanted})


def test_a_stream_answers_each_request_and_goes_on_after_an_error(
    caller: Caller, model: Any
) -> None:
    given = feed(model)
    asked = [request_of(given), request_of({}), request_of(given)]
    requests = [caller.types["ModelInferRequest"](**each) for each in asked]
    found = list(caller.method("ModelStreamInfer", "stream_stream")(iter(requests), timeout=30))
    assert [bool(each.error_message) for each in found] == [False, True, False]
    assert "is missing" in found[1].error_message
    same(outputs_of(found[2].infer_response), outputs_of(found[0].infer_response))


def test_errors_have_their_status(caller: Caller, model: Any) -> None:
    given = feed(model)
    infer = "ModelInfer"
    unknown = request_of(given, model_name="nope")
    assert "there is no model 'nope'" in caller.refused("NOT_FOUND", infer, **unknown)
    unknown = request_of(given, model_version="nope")
    assert "there is no variant" in caller.refused("NOT_FOUND", infer, **unknown)
    caller.refused("NOT_FOUND", "ModelConfig", name="nope")
    wrong = request_of({**given, "tokens": given["tokens"] + len(WORDS)})
    assert "vocabulary" in caller.refused("INVALID_ARGUMENT", infer, **wrong)
    huge = request_of(given)
    huge["inputs"][0]["shape"] = [1 << 40, 1]
    assert "has 8,796,093,022,208" in caller.refused("INVALID_ARGUMENT", infer, **huge)
    negative = request_of(given)
    negative["inputs"][0]["shape"] = [-1, 1]
    assert "/inputs/shape/0" in caller.refused("INVALID_ARGUMENT", infer, **negative)
    short = request_of(given, raw_input_contents=[b""])
    assert "1 `raw_input_contents`" in caller.refused("INVALID_ARGUMENT", infer, **short)
    large = request_of({**given, "positions": np.zeros((2000, 2), np.int64)})
    assert "would take" in caller.refused("RESOURCE_EXHAUSTED", infer, **large)
    caller.refused("RESOURCE_EXHAUSTED", infer, **request_of({"x": np.zeros(20 << 20, np.int8)}))
    assert caller.call(infer, **request_of(given)).model_version == "compressed"


def test_the_caller_s_deadline_holds(caller: Caller, model: Any) -> None:
    began = time.perf_counter()
    caller.refused("DEADLINE_EXCEEDED", "ModelInfer", timeout=0.0001, **request_of(feed(model)))
    assert time.perf_counter() - began < 5


def test_repository_and_statistics(caller: Caller, model: Any) -> None:
    found = caller.call("RepositoryIndex").models
    assert [(each.name, each.version, each.state) for each in found] == [
        ("tiny", variant, "READY") for variant in VARIANTS
    ]
    caller.call("RepositoryModelLoad", model_name="tiny")
    before = caller.call("ModelStatistics", name="tiny", version="compressed").model_stats[0]
    caller.call("ModelInfer", **request_of(feed(model)))
    after = caller.call("ModelStatistics", name="tiny", version="compressed").model_stats[0]
    assert after.inference_count == before.inference_count + 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    caller.call("RepositoryModelUnload", model_name="tiny")
    caller.refused("NOT_FOUND", "RepositoryModelLoad", model_name="nope")
