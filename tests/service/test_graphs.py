"""`/models/{model}/run` over HTTP on a real bundle: both forms of body, variants, refusals."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from isslim.runtime.graphs.model import LoadedGraph
from isslim.runtime.registry import load
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from isslim.types.arrays import dump_npz
from tests.conftest import Published
from tests.service.test_routes import problem
from tests.tagger import PublishedGraph, publish

RUN = "/models/tagger/run"
IDS = [[3, 17], [5, 0], [39, 2]]
JSON, NPZ = {"content-type": "application/json"}, {"content-type": "application/x-npz"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedGraph:
    return publish(tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="module")
def client(made: PublishedGraph) -> Iterator[TestClient]:
    limits = {
        "entries_limit": 2000,
        "array_bytes_limit": 100_000,
        "body_limit_bytes": 20_000,
        "json_values_limit": 120_000,
    }
    app = create_app(ServiceSettings(home=made.settings.home, **limits))
    with TestClient(app, raise_server_exceptions=False) as found:
        yield found


@pytest.fixture(scope="module")
def model(made: PublishedGraph) -> LoadedGraph:
    found = load(BundleStore(made.settings).open(made.bundle_id))
    assert isinstance(found, LoadedGraph)
    return found


def expected(model: LoadedGraph, variant: str, ids: Any = IDS) -> np.ndarray[Any, Any]:
    session = model.session(variant)
    return session.run(session.checked({"ids": ids}))["scores"]


def unpacked(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_json_is_answered_by_every_variant_as_the_runtime_does(
    client: TestClient, model: LoadedGraph
) -> None:
    variants = ["original", "original-int8", "compressed", "compressed-int8"]
    response = client.post(RUN, json={"inputs": {"ids": IDS}, "variants": variants})
    assert response.status_code == 200, response.text
    found = response.json()
    assert (found["model"], found["model_id"], found["device"]) == ("tagger", model.id, "cpu")
    assert [each["variant"] for each in found["variants"]] == variants
    first = expected(model, "original").astype(np.float64)
    for each in found["variants"]:
        outputs = expected(model, each["variant"])
        assert np.array_equal(
            np.array(each["outputs"]["scores"], np.float32), outputs
        )  # exactly, through text
        assert each["not_finite"] == {}
        assert set(each["timing"]) == {"queue_ms", "run_ms"}
        assert all(value > 0 for value in each["timing"].values())
        if each["variant"] == "original":
            assert each["change"] is None
            assert each["speedup"] is None
        else:
            change = np.sqrt(np.mean(np.square(outputs - first))) / first.std()
            assert each["change"] == {"scores": pytest.approx(change, rel=1e-6)}
            assert 0 < change < 0.5
            assert each["speedup"] > 0
    stages = [part.split(";")[0] for part in response.headers["server-timing"].split(", ")]
    assert stages == ["queue", "read", "run", *(f"run-{name}" for name in variants), "serialize"]


def test_without_names_original_and_recommended_variant_run(
    client: TestClient, model: LoadedGraph
) -> None:
    found = client.post(RUN, json={"inputs": {"ids": IDS}}).json()
    assert [each["variant"] for each in found["variants"]] == model.default_variants("cpu")
    verdict = client.get(f"/models/{model.id}/report").json()["conclusions"]
    assert model.default_variants("cpu") == ["original", verdict["variant"]]


@pytest.mark.parametrize("kind", ["application/x-npz", "application/octet-stream"])
def test_npz_is_answered_with_the_same_numbers_as_json(
    client: TestClient, model: LoadedGraph, kind: str
) -> None:
    ids = np.array(IDS)
    for arrays in ({"ids": ids}, {"0/ids": ids.astype(np.int32)}):
        response = client.post(
            RUN,
            content=dump_npz(arrays),
            headers={"content-type": kind},
            params={"variants": ["original", "compressed"]},
        )
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/x-npz"
        found = unpacked(response.content)
        assert list(found) == ["original/scores", "compressed/scores"]
        for name, array in found.items():
            assert array.dtype == np.float32
            assert np.array_equal(array, expected(model, name.split("/")[0]))
        assert "run-compressed;dur=" in response.headers["server-timing"]


def test_bad_inputs_get_clear_problems(client: TestClient, published: Published) -> None:
    def refused(status: int, kind: str, **change: object) -> dict[str, Any]:
        body = {
            name: value
            for name, value in {"inputs": {"ids": IDS}, **change}.items()
            if value is not None
        }
        return problem(client.post(RUN, content=json.dumps(body), headers=JSON), status, kind)

    def issues(inputs: object) -> list[str]:
        return [each["detail"] for each in refused(422, "inputs-refused", inputs=inputs)["errors"]]

    assert issues({}) == ["input 'ids' is missing"]
    assert issues({"ids": IDS, "more": [1]}) == ["there is no input 'more'"]
    assert issues({"x": IDS}) == ["input 'ids' is missing", "there is no input 'x'"]
    assert "has the shape [3], the graph reads" in issues({"ids": [1, 2, 3]})[0]
    assert "decimal point" in issues({"ids": [[1.5]]})[0]
    assert "unequal lengths" in issues({"ids": [[1, 2], [3]]})[0]
    assert "unequal lengths" in issues({"ids": [[1, 2], 3]})[0]
    assert "found NoneType" in issues({"ids": [[None]]})[0]
    assert "found dict" in issues({"ids": {"a": 1}})[0]
    assert "found texts" in issues({"ids": [["a"]]})[0]
    assert "found int, str" in issues({"ids": [["a", 1]]})[0]
    assert "outside" in issues({"ids": [[2**63]]})[0]
    assert "is no tensor(int64)" in issues({"ids": [[10**30]]})[0]
    assert "too deep" in issues({"ids": json.loads("[" * 80 + "1" + "]" * 80)})[0]
    for absent in (40, -41):  # rows that the embedding lacks: told by ONNX Runtime
        assert "ONNX Runtime cannot run" in issues({"ids": [[absent]]})[0]
    assert (
        "there is: scores"
        in refused(422, "inputs-refused", outputs=["nope"])["errors"][0]["detail"]
    )
    refused(422, "invalid-request", inputs=None)
    refused(422, "invalid-request", inputs=[1])
    refused(422, "invalid-request", variants=["huge"])
    refused(422, "invalid-request", variants=["original", "original"])
    refused(422, "invalid-request", surprise=1)
    refused(422, "device-unavailable", device="abacus")
    problem(client.post("/models/nope/run", json={"inputs": {}}), 404, "not-found")
    assert "2,000 as JSON" in refused(413, "too-large", inputs={"ids": [[1] * 100] * 3})["detail"]
    for content in (b"{", b"\xff", b"", b'{"inputs": {"ids": "\\ud800"}}', b"[" * 100_000):
        problem(client.post(RUN, content=content, headers=JSON), 422, "invalid-request")
    problem(
        client.post(RUN, json={"inputs": {"ids": IDS}}, params={"device": "cpu"}),
        422,
        "invalid-request",
    )
    for kind in (
        "text/plain",
        "multipart/form-data; boundary=b",
        "application/x-www-form-urlencoded",
    ):
        sent = client.post(RUN, content=b"x", headers={"content-type": kind})
        assert "application/x-npz" in problem(sent, 415, "unsupported-media-type")["detail"]
    problem(client.post(RUN, content=b"x"), 415, "unsupported-media-type")
    problem(client.post(RUN, content=b" " * 3_100_000, headers=JSON), 413, "too-large")
    problem(
        client.post(RUN, content=(b" " * 50_000 for _ in range(61)), headers=JSON), 413, "too-large"
    )
    assert client.post(RUN, json={"inputs": {"ids": IDS}}).status_code == 200


def test_arrays_up_to_the_limit_are_run_and_no_larger_ones(client: TestClient) -> None:
    """Whatever the limit on ordinary bodies is, here 20,000 bytes."""
    for shape, status, detail in (
        ((51, 50), 200, ""),
        ((125, 100), 413, "the answer would take 250,000 bytes"),
        ((12_501, 1), 422, "at most 100,000"),
    ):
        content = dump_npz({"ids": np.zeros(shape, np.int64)})
        assert len(content) > 20_000
        answer = client.post(RUN, content=content, headers=NPZ, params={"variants": "original"})
        assert answer.status_code == status, answer.text
        assert detail in answer.text


def test_json_up_to_the_limit_on_values_is_run_and_no_more(client: TestClient) -> None:
    def ask(values: int, padding: int) -> Any:
        ids = (b"," + b" " * padding).join([b"3"] * values)
        return client.post(RUN, content=b'{"inputs": {"ids": [[' + ids + b"]]}}", headers=JSON)

    assert ask(100, 500).status_code == 200  # 50 kB
    long = problem(ask(119_000, 0), 413, "too-large")  # read, run, and too long as an answer
    assert "numbers; at most 2,000 as JSON" in str(long["detail"])
    assert "values; at most 120,000" in str(problem(ask(120_010, 0), 413, "too-large")["detail"])


def archive(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, member in members.items():
            file.writestr(f"{name}.npy" if "." not in name else name, member)
    return content.getvalue()


def saved(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def headed(shape: tuple[int, ...], kind: str = "<i8", data: bytes = b"") -> bytes:
    header = (
        repr({"descr": kind, "fortran_order": False, "shape": shape}).encode().ljust(118) + b"\n"
    )
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


HOSTILE = {
    "nothing": b"",
    "no zip": b"PK\x03\x04" + b"\0" * 50,
    "an npy": saved(np.array(IDS)),
    "empty zip": archive(),
    "a text": archive(**{"ids.txt": b"1 2 3"}),
    "no array": archive(ids=b"1 2 3"),
    "cut off": dump_npz({"ids": np.array(IDS)})[:-30],
    "objects": archive(ids=saved(np.array([{"a": 1}], dtype=object), allow_pickle=True)),
    "a bomb": archive(ids=headed((1 << 17,), data=bytes(1 << 20))),
    "a shape that is not there": archive(ids=headed((1 << 40, 1 << 10))),
    "a negative shape": archive(ids=headed((-1, 2))),
    "a broken header": archive(ids=b"\x93NUMPY\x01\x00" + struct.pack("<H", 12) + b"{'descr': (("),
    "a header of the future": archive(ids=b"\x93NUMPY\x09\x00" + b"\0" * 30),
    "dates": dump_npz({"ids": np.array([["2026-01-01"]], "datetime64[D]")}),
    "complex numbers": dump_npz({"ids": np.array(IDS, np.complex64)}),
    "texts": dump_npz({"ids": np.array([["a"]])}),
    "decimal points": dump_npz({"ids": np.array(IDS, np.float32)}),
    "records": dump_npz({"ids": np.zeros((2, 2), [("a", "<i4")])}),
    "two runs": dump_npz({"0/ids": np.array(IDS), "1/ids": np.array(IDS)}),
    "runs and none": dump_npz({"0/ids": np.array(IDS), "ids": np.array(IDS)}),
    "another name": dump_npz({"x": np.array(IDS)}),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_npz_is_refused(client: TestClient, content: bytes) -> None:
    found = problem(client.post(RUN, content=content, headers=NPZ), 422, "inputs-refused")
    assert found["errors"]
    assert client.post(RUN, json={"inputs": {"ids": IDS}}).status_code == 200


def test_npz_with_wrong_parameters_is_refused(client: TestClient) -> None:
    content = dump_npz({"ids": np.array(IDS)})
    for wrong, status, kind in (
        ({"variants": "huge"}, 422, "invalid-request"),
        ({"variants": ["original", "original"]}, 422, "invalid-request"),
        ({"device": "abacus"}, 422, "device-unavailable"),
        ({"outputs": "nope"}, 422, "inputs-refused"),
    ):
        problem(client.post(RUN, content=content, headers=NPZ, params=wrong), status, kind)
    large = dump_npz({"ids": np.zeros((60, 100), np.int64)})  # 48 kB in, 2 x 120 kB out
    problem(client.post(RUN, content=large, headers=NPZ), 413, "too-large")


def test_empty_sequences_are_refused_which_would_end_the_process(client: TestClient) -> None:
    for shape in ((0, 1), (1, 0), (0, 0)):
        response = client.post(
            RUN, content=dump_npz({"ids": np.zeros(shape, np.int64)}), headers=NPZ
        )
        assert "is empty" in problem(response, 422, "inputs-refused")["errors"][0]["detail"]


def test_each_task_is_asked_at_its_own_address(client: TestClient, published: Published) -> None:
    for path, body in (
        ("/score", {"texts": ["a"]}),
        ("/qa", {"question": "a", "context": "b"}),
    ):
        detail = str(
            problem(client.post(path, json={"model": "tagger", **body}), 422, "wrong-task")[
                "detail"
            ]
        )
        assert "is of the kind graph" in detail
        assert "POST /models/{model}/run" in detail
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as other:
        detail = str(
            problem(other.post("/models/tiny/run", json={"inputs": {}}), 422, "wrong-task")[
                "detail"
            ]
        )
        assert "POST /score" in detail


def test_latency_is_measured_on_the_recorded_run(client: TestClient, model: LoadedGraph) -> None:
    found = client.get("/models/tagger/latency").json()
    assert set(found["results"]) == {variant.name for variant in model.manifest.variants}
    assert all(records[0]["median_ms"] > 0 for records in found["results"].values())
    assert found["results"]["original"][0]["speedup"] == 1.0
    # Twelve to fourteen steps of one to four sequences were recorded.
    timed = {"median": (26, 36), "smallest": (12, 12), "largest": (52, 56)}
    for run, (least, most) in timed.items():
        asked = {"run": run, "threads": 1}
        record = client.get("/models/tagger/latency", params=asked).json()["results"]["original"][0]
        assert least <= record["steps"] * record["batch"] <= most, run
        assert (
            record["run"] == f"the {run} recorded run (ids: {record['steps']} x {record['batch']})"
        )


def test_latency_of_a_graph_is_measured_at_the_shape_that_is_named(
    client: TestClient, published: Published
) -> None:
    def ask(**params: object) -> Any:
        return client.get("/models/tagger/latency", params=params)  # type: ignore[arg-type]

    found = ask(steps=5, batch=3).json()["results"]["compressed"][0]
    assert (found["steps"], found["batch"]) == (5, 3)
    assert found["run"] == "the median recorded run, repeated or cut (ids: 5 x 3)"
    assert ask(steps=200).json()["results"]["compressed"][0]["steps"] == 200
    problem(ask(run="first"), 422, "invalid-request")
    problem(ask(steps=0), 422, "invalid-request")
    with TestClient(create_app(ServiceSettings(home=published.settings.home))) as other:
        body = problem(
            other.get("/models/tiny/latency", params={"run": "largest"}), 422, "inputs-refused"
        )
        assert "name `steps` and `batch`" in str(body)


def test_runs_are_counted_and_documented(client: TestClient, model: LoadedGraph) -> None:
    client.post(RUN, json={"inputs": {"ids": IDS}})
    text = client.get("/metrics").text
    assert 'http_response_status_code="200",http_route="/models/{model}/run"' in text
    labels = f'model_id="{model.id}",protocol="isslim",variant="original"'
    label = f'device="cpu",model="{model.manifest.name}",{labels}'
    assert f"isslim_inference_run_seconds_count{{{label}}}" in text
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/models/{model}/run"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        *JSON.values(),
        *NPZ.values(),
        "application/octet-stream",
    }
    assert set(operation["responses"]["200"]["content"]) == {
        "application/json",
        "application/x-npz",
    }
    example = document["components"]["schemas"]["GraphRequest"]["example"]
    assert (
        client.post(RUN, json={**example, "inputs": {"ids": example["inputs"]["x"]}}).status_code
        == 200
    )
