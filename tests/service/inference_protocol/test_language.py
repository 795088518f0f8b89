"""A language model as its graph of tensors: states go on, and what would harm it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.registry import load
from isslim.service.main import create_app
from isslim.settings.service import ServiceSettings
from isslim.store.bundles import BundleStore
from tests.conftest import WORDS, Published
from tests.service.inference_protocol.asking import Arrays, as_json, binary, outputs, same
from tests.service.test_error_shapes import inference_error

INFER = "/v2/models/tiny/versions/compressed/infer"
STEPS, BATCH = 6, 3
VARIANTS = ["original", "original-int8", "compressed", "compressed-int8"]


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[TestClient]:
    settings = ServiceSettings(
        home=published.settings.home, tensor_run_bytes=200_000, entries_limit=1000
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def model(published: Published) -> LoadedLanguageModel:
    found = load(BundleStore(published.settings).open(published.bundle_id))
    assert isinstance(found, LoadedLanguageModel)
    return found


def feed(model: LoadedLanguageModel, variant: str = "compressed", steps: int = STEPS) -> Arrays:
    generator = np.random.default_rng(steps)
    tokens = generator.integers(0, len(WORDS), (steps, BATCH))
    return {
        "tokens": tokens,
        "targets": np.roll(tokens, -1, 0),
        "lengths": np.array([steps, steps - 1, steps], np.int32),
        "positions": np.array([[steps - 1, 0], [0, 2]]),
        **model.session(variant).zero_state(BATCH),
    }


def expected(model: LoadedLanguageModel, variant: str, given: Arrays) -> Arrays:
    session = model.session(variant)
    state = {name: given[name] for name in session.zero_state(BATCH)}
    found, rows, after = session.run(
        given["tokens"], given["targets"], given["lengths"], state, given["positions"]
    )
    states = {f"{name}_out": value for name, value in after.items()}
    return {"token_log_probs": found, "log_probs": rows, **states}


def test_metadata_has_every_input_with_free_sizes(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    found = client.get("/v2/models/tiny").json()
    assert found["name"] == "tiny"
    assert found["platform"] == "onnxruntime_onnx"
    assert found["versions"] == VARIANTS
    inputs = {each["name"]: (each["datatype"], each["shape"]) for each in found["inputs"]}
    assert inputs["tokens"] == ("INT64", [-1, -1])
    assert inputs["lengths"] == ("INT32", [-1])
    assert inputs["positions"] == ("INT64", [-1, 2])
    given = feed(model, "compressed-int8")
    assert inputs.keys() == given.keys()
    state = next(iter(model.session("compressed-int8").zero_state(1)))
    assert inputs[state] == ("FP32", [1, -1, given[state].shape[2]])
    made = {each["name"] for each in found["outputs"]}
    assert made == expected(model, "compressed-int8", given).keys()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_answers_as_the_runtime_does(
    variant: str, client: TestClient, model: LoadedLanguageModel
) -> None:
    given = feed(model, variant)
    for path in (
        f"/v2/models/tiny/versions/{variant}/infer",
        f"/v2/models/tiny:{variant}/infer",
        f"/v2/models/tiny%3A{variant}/infer",
        f"/v2/models/{model.id}/versions/{variant}/infer",
    ):
        found = outputs(client.post(path, **binary(given, parameters={"binary_data_output": True})))
        same(dict(sorted(found.items())), dict(sorted(expected(model, variant, given).items())))


def test_json_flat_or_nested_gives_the_same(client: TestClient, model: LoadedLanguageModel) -> None:
    given = feed(model)
    wanted = expected(model, "compressed", given)
    for nested in (False, True):
        answer = client.post(INFER, **as_json(given, nested=nested, id="mine", unknown=1))
        body = answer.json()
        assert (body["model_name"], body["model_version"], body["id"]) == (
            "tiny",
            "compressed",
            "mine",
        )
        found = outputs(answer)
        same({name: found[name] for name in wanted}, wanted)


def test_the_last_variant_answers_where_none_is_named(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    asked = as_json(feed(model, "compressed-int8"))
    assert client.post("/v2/models/tiny/infer", **asked).json()["model_version"] == VARIANTS[-1]


def test_outputs_are_those_that_are_named_each_in_its_form(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    given = feed(model)
    named = [{"name": "log_probs"}, {"name": "token_log_probs", "parameters": {"binary_data": 1}}]
    answer = client.post(INFER, **as_json(given, outputs=named))
    assert list(outputs(answer)) == ["log_probs", "token_log_probs"]
    named[1]["parameters"] = {"binary_data": True}
    answer = client.post(INFER, **binary(given, outputs=named))
    wanted = expected(model, "compressed", given)
    same(outputs(answer), {each["name"]: wanted[str(each["name"])] for each in named})


def test_states_go_on_from_request_to_request(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    given = feed(model)
    given["lengths"][:] = STEPS
    whole = expected(model, "compressed", given)
    states = {name: given[name] for name in model.session("compressed").zero_state(BATCH)}
    rows = []
    for step in range(STEPS):
        piece = {
            "tokens": given["tokens"][step : step + 1],
            "targets": given["targets"][step : step + 1],
            "lengths": np.ones(BATCH, np.int32),
            "positions": np.empty((0, 2), np.int64),
            **states,
        }
        asked = binary(piece, parameters={"binary_data_output": True})
        found = outputs(client.post(INFER, **asked))
        assert found["log_probs"].shape == (0, len(WORDS))
        rows.append(found["token_log_probs"])
        states = {name: found[f"{name}_out"] for name in states}
    assert np.allclose(np.concatenate(rows), whole["token_log_probs"], atol=1e-5)
    for name, value in states.items():
        assert np.allclose(value, whole[f"{name}_out"], atol=1e-5)


def changed(given: Arrays, **change: Any) -> Arrays:
    return {**given, **{name: np.asarray(value) for name, value in change.items()}}


def test_what_the_graph_would_not_survive_is_refused(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    given = feed(model)
    state = next(iter(model.session("compressed").zero_state(1)))
    tokens, lengths, places = given["tokens"], given["lengths"], given["positions"]
    cases = [
        ({"tokens": tokens - len(WORDS)}, "is not in the vocabulary"),
        ({"targets": tokens + len(WORDS)}, "is not in the vocabulary"),
        ({"lengths": lengths * 0}, "lengths must lie between 1 and 6"),
        ({"lengths": lengths + 1}, "lengths must lie between 1 and 6"),
        ({"lengths": lengths[:2]}, "'lengths' has the shape [2]"),
        ({"positions": places - 1}, "positions are steps from 0 to 5"),
        ({"positions": places + 9}, "positions are steps from 0 to 5"),
        ({"positions": places[:, :1]}, "'positions' has the shape [2, 1]"),
        ({"targets": tokens[:-1]}, "'targets' has the shape [5, 3]"),
        ({"tokens": tokens[0]}, "'tokens' has the shape [3]"),
        ({"tokens": tokens[:0]}, "'tokens' is empty"),
        ({"tokens": tokens * 1.5}, "decimal point"),
        ({"tokens": tokens.astype(str)}, "found texts"),
        ({state: given[state][:, :2]}, f"'{state}' has the shape [1, 2, "),
        ({state: given[state][:, :, :2]}, f"'{state}' has the shape [1, 3, 2]"),
        ({"more": lengths}, "there is no input 'more'"),
    ]
    for change, said in cases:
        for asked in (binary(changed(given, **change)), as_json(changed(given, **change))):
            assert said in inference_error(client.post(INFER, **asked), 400)
    missing = {name: array for name, array in given.items() if name != "lengths"}
    assert "'lengths' is missing" in inference_error(client.post(INFER, **binary(missing)), 400)
    assert client.post(INFER, **binary(given)).status_code == 200


def test_a_run_that_would_take_too_much_memory_is_refused(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    given = feed(model, steps=500)
    detail = inference_error(client.post(INFER, **binary(given)), 400)
    assert "a run of 500 steps" in detail
    assert "with the states of the one before" in detail
    rows = changed(feed(model), positions=np.zeros((3000, 2), np.int64))
    assert "3,000 positions" in inference_error(client.post(INFER, **binary(rows)), 400)


def test_answer_of_too_many_numbers_is_refused(
    client: TestClient, model: LoadedLanguageModel
) -> None:
    asked = changed(feed(model), positions=np.zeros((100, 2), np.int64))
    assert "`binary_data`" in inference_error(client.post(INFER, **binary(asked)), 413)
    answer = client.post(INFER, **binary(asked, parameters={"binary_data_output": True}))
    assert outputs(answer)["log_probs"].shape == (100, len(WORDS))
