"""Graphs and readers over HTTP: all datatypes in both forms, compressed bodies, hostile ones."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from tests.reader import publish as publish_reader
from tests.service.inference_protocol.asking import HEADER, Arrays, as_json, binary, outputs, same
from tests.service.inference_protocol.mixed import extra, publish_mixed
from tests.service.test_error_shapes import inference_error

INFER = "/v2/models/mixed/versions/compressed/infer"
BINARY = {"binary_data_output": True}
LIMIT = 100_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("protocol")
    publish_mixed(home)
    publish_reader(home)
    settings = ServiceSettings(
        home=home, array_bytes_limit=LIMIT, body_limit_bytes=LIMIT, json_values_limit=20_000
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made


def feed(count: int = 5) -> Arrays:
    ids = np.random.default_rng(count).integers(0, 40, (7, 2))
    return {"ids": ids, **extra(count)}


@pytest.fixture(scope="module")
def wanted(client: TestClient) -> Arrays:
    """What `/models/mixed/run` answers."""
    inputs = {name: array.tolist() for name, array in feed().items()}
    body = {"inputs": inputs, "variants": ["compressed"]}
    found = client.post("/models/mixed/run", json=body).json()["variants"][0]["outputs"]
    kinds = {"scores": np.float32, "same_halves": np.float16, "same_words": object}
    return {name: np.array(value, kinds.get(name, bool)) for name, value in found.items()}


def test_all_forms_give_what_a_run_gives(client: TestClient, wanted: Arrays) -> None:
    for asked in (binary(feed()), as_json(feed()), as_json(feed(), nested=True)):
        same(outputs(client.post(INFER, **asked)), wanted)
    asked = binary(feed(), parameters=BINARY)
    same(outputs(client.post(INFER, **asked)), wanted)
    asked["headers"]["content-type"] = "application/octet-stream"
    same(outputs(client.post(INFER, **asked)), wanted)
    mixed = binary({name: feed()[name] for name in ("ids", "words")})
    header = json.loads(mixed["content"][: int(mixed["headers"][HEADER])])
    tail = mixed["content"][int(mixed["headers"][HEADER]) :]
    others = as_json({name: feed()[name] for name in ("flags", "halves")})["json"]["inputs"]
    text = json.dumps({"inputs": [header["inputs"][0], *others, header["inputs"][1]]}).encode()
    answer = client.post(INFER, content=text + tail, headers={HEADER: str(len(text))})
    same(outputs(answer), wanted)


def test_datatypes_are_told(client: TestClient) -> None:
    found = client.get("/v2/models/mixed").json()
    kinds = {each["name"]: each["datatype"] for each in found["inputs"] + found["outputs"]}
    assert kinds == {
        "ids": "INT64",
        "flags": "BOOL",
        "halves": "FP16",
        "words": "BYTES",
        "scores": "FP32",
        "inverted": "BOOL",
        "same_halves": "FP16",
        "same_words": "BYTES",
    }


def test_a_reader_answers_as_its_graph(client: TestClient) -> None:
    asked = client.get("/v2/models/reader/versions/original").json()["inputs"]
    sizes = {"context": 9, "question": 4}
    generator = np.random.default_rng(0)
    given: Arrays = {}
    for each in asked:
        steps = sizes[each["name"].split("_")[0]]
        if each["datatype"] == "INT32":
            given[each["name"]] = np.full(2, steps, np.int32)
        elif each["datatype"] == "FP32":
            shape = (steps, 2, each["shape"][2])
            given[each["name"]] = generator.normal(size=shape).astype(np.float32)
        else:
            given[each["name"]] = generator.integers(0, 5, (steps, 2, 6))
    answer = client.post("/v2/models/reader/versions/original/infer", **binary(given))
    found = outputs(answer)
    assert found["start_log_probs"].shape == (2, 9)
    assert np.allclose(np.exp(found["start_log_probs"]).sum(1), 1, atol=1e-4)
    given["context_characters"][0, 0, 0] = 10_000
    answer = client.post("/v2/models/reader/versions/original/infer", **binary(given))
    assert "ONNX Runtime cannot run the graph" in inference_error(answer, 400)


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_bodies_are_read_up_to_the_limit(
    encoding: str, encode: Any, client: TestClient, wanted: Arrays
) -> None:
    def ask(content: bytes, headers: dict[str, str]) -> Any:
        return client.post(
            INFER, content=content, headers={**headers, "content-encoding": encoding}
        )

    for asked in (binary(feed()), {"content": json.dumps(as_json(feed())["json"]).encode()}):
        headers = asked.get("headers", {})
        same(outputs(ask(encode(asked["content"]), headers)), wanted)
        inference_error(ask(encode(asked["content"])[:-12], headers), 400)
    assert "is not" in inference_error(ask(b"x" * 100, {}), 400)
    inference_error(ask(encode(bytes(20 << 20)), {}), 413)
    answer = client.post(INFER, content=b"x", headers={"content-encoding": "br"})
    assert "send gzip or deflate" in inference_error(answer, 415)


def tensor(**change: Any) -> dict[str, Any]:
    """A request of one input of 8 bytes, changed."""
    first = {
        "name": "ids",
        "shape": [1, 1],
        "datatype": "INT64",
        "parameters": {"binary_data_size": 8},
    }
    header = json.dumps({"inputs": [{**first, **change}]}).encode()
    return {"content": header + bytes(8), "headers": {HEADER: str(len(header))}}


HOSTILE = {
    "no JSON": {"content": b"{"},
    "nothing": {"content": b""},
    "no inputs": {"content": b"{}"},
    "header longer than body": {"content": b"{}", "headers": {HEADER: "99"}},
    "negative header": {"content": b"{}", "headers": {HEADER: "-1"}},
    "header of many digits": {"content": b"{}", "headers": {HEADER: "9" * 5000}},
    "header is no number": {"content": b"{}", "headers": {HEADER: b"\xb2"}},
    "2^40 elements": tensor(shape=[1 << 20, 1 << 20]),
    "2^40 elements as JSON": tensor(shape=[1 << 40], parameters=None, data=[1]),
    "sizes beyond 64 bits": tensor(shape=[1 << 70]),
    "sizes whose product is beyond 64 bits": tensor(shape=[1 << 62] * 32),
    "a size of nothing beside a large one": tensor(
        shape=[0, 1 << 62], parameters={"binary_data_size": 0}
    ),
    "negative sizes": tensor(shape=[-1, -1]),
    "many dimensions": tensor(shape=[1] * 100),
    "negative bytes": tensor(parameters={"binary_data_size": -8}),
    "more bytes than there are": tensor(parameters={"binary_data_size": 1 << 40}),
    "bytes as a text": tensor(parameters={"binary_data_size": "8"}),
    "fewer bytes than the shape": tensor(shape=[2, 1]),
    "bytes that belong to nothing": tensor(parameters={"binary_data_size": 0}, shape=[0, 1]),
    "both forms": tensor(data=[1]),
    "neither form": tensor(parameters=None),
    "an unknown datatype": tensor(datatype="FP8"),
    "a datatype that is no text": tensor(datatype=[]),
    "shared memory": tensor(parameters={"shared_memory_region": "a", "binary_data_size": 8}),
    "texts that end within a length": tensor(
        datatype="BYTES", shape=[1], parameters={"binary_data_size": 2}
    ),
    "a text longer than the body": {
        **tensor(datatype="BYTES", shape=[1], parameters={"binary_data_size": 8}),
    },
    "nested beyond reason": {"content": b'{"inputs":' + b"[" * 15_000},
    "an input twice": as_json({"ids": np.zeros((1, 1), np.int64)}),
    "lists of unequal lengths": tensor(parameters=None, data=[[1], [1, 2]], shape=[3]),
    "objects": tensor(parameters=None, data=[{"a": 1}], shape=[1]),
    "null": tensor(parameters=None, data=[None], shape=[1]),
    "not UTF-8": {"content": b'{"inputs":"\xff"}'},
}
HOSTILE["an input twice"]["json"]["inputs"] *= 2
HOSTILE["a text longer than the body"]["content"] = (
    HOSTILE["a text longer than the body"]["content"][:-8] + b"\xff\xff\xff\xff\x00\x00\x00\x00"
)


@pytest.mark.parametrize("asked", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_body_is_refused_within_a_second(asked: Any, client: TestClient) -> None:
    client.get("/v2/models/mixed/versions/compressed")  # a load would be timed too
    began = time.perf_counter()
    inference_error(client.post(INFER, **asked), 400)
    assert time.perf_counter() - began < 1
    assert client.get("/v2/health/ready").json()["ready"] is True


def test_large_bodies_have_the_limit_of_arrays(client: TestClient) -> None:
    ids = np.zeros((LIMIT // 8 + 200_000, 1), np.int64)
    inference_error(client.post(INFER, **binary({**feed(), "ids": ids})), 413)
    many = {**feed(), "words": np.array([""] * 30_000)}
    assert "30,000 texts" in inference_error(client.post(INFER, **binary(many)), 400)
    assert "at most 20,000" in inference_error(client.post(INFER, **as_json(many)), 413)
    wide = {**feed(), "ids": np.zeros((LIMIT // 16, 1), np.int64)}
    answer = client.post(INFER, **binary(wide, parameters=BINARY))
    assert "the answer would take" in inference_error(answer, 413)


def test_unknown_names_are_told_with_those_there_are(client: TestClient) -> None:
    asked = binary(feed())
    for path, said in (
        ("/v2/models/nope/infer", "there is no model 'nope'"),
        ("/v2/models/mixed/versions/1/infer", "there is: original, original-int8, compressed"),
        ("/v2/models/mixed:1/infer", "there is no variant '1'"),
    ):
        assert said in inference_error(client.post(path, **asked), 404)
    path = "/v2/models/mixed:original/versions/compressed/infer"
    assert "name one variant" in inference_error(client.post(path, **asked), 400)
    named = binary(feed(), outputs=[{"name": "more"}])
    assert "there is: scores" in inference_error(client.post(INFER, **named), 400)
    classes = binary(feed(), outputs=[{"name": "scores", "parameters": {"classification": 3}}])
    assert "is not offered" in inference_error(client.post(INFER, **classes), 400)
    elsewhere = binary(feed(), parameters={"device": "tpu"})
    assert "there is no device 'tpu'" in inference_error(client.post(INFER, **elsewhere), 400)
