"""A kind of model that only `ISS_KINDS` names, from its upload to an answer over HTTP.

Service, worker and child are processes of their own; nothing of the product knows of the kind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from isslim.client.api import Client
from isslim.client.cli import app
from isslim.types.arrays import dump_npz
from isslim.types.jobs import Job, JobState
from isslim.types.kinds import registry
from isslim.types.kinds.plugins import BadPlugin, plugin_module
from isslim.types.recipe import Budget, Recipe
from tests.row_classifier.description import ROWS
from tests.service.inference_protocol.asking import binary, outputs
from tests.service.served import served, service_and_worker

ROOT = Path(__file__).parent.parent
WIDTH, USEFUL, IDLE, CLASSES = 6, 10, 6, 3


def upload(folder: Path) -> tuple[Path, Path]:
    """A classifier of 16 hidden units, 6 of which reach no output, and rows that it labels."""
    generator = np.random.default_rng(1)
    output = generator.normal(size=(CLASSES, USEFUL + IDLE)).astype(np.float32)
    output[:, USEFUL:] = 0.0
    arrays = {
        "row-classifier-1": np.array(1),
        "hidden.weight": generator.normal(size=(USEFUL + IDLE, WIDTH)).astype(np.float32),
        "hidden.bias": generator.normal(size=USEFUL + IDLE).astype(np.float32),
        "output.weight": output,
        "output.bias": np.zeros(CLASSES, np.float32),
    }
    rows = generator.normal(size=(2000, WIDTH)).astype(np.float32)
    (folder / "model.npz").write_bytes(dump_npz(arrays))
    labels = classes_of(arrays, rows)
    (folder / "rows.npz").write_bytes(dump_npz({"rows": rows, "labels": labels}))
    return folder / "model.npz", folder / "rows.npz"


def classes_of(arrays: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """One row after the other, in float64: what the answers are compared with."""
    found = []
    for row in rows.astype(np.float64):
        hidden = [
            np.tanh(sum(w * x for w, x in zip(weights, row, strict=True)) + bias)
            for weights, bias in zip(arrays["hidden.weight"], arrays["hidden.bias"], strict=True)
        ]
        scores = [
            sum(w * h for w, h in zip(ws, hidden, strict=True)) for ws in arrays["output.weight"]
        ]
        found.append(int(np.argmax(scores)))
    return np.array(found)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    kinds = json.dumps(["tests.row_classifier"])
    settings = {"ISS_KINDS": kinds, "ISS_COMPARISON_SECONDS": "0.1", "PYTHONPATH": str(ROOT)}
    with service_and_worker(home, **settings) as address:
        yield address


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return upload(tmp_path_factory.mktemp("upload"))


@pytest.fixture(scope="module")
def job(url: str, files: tuple[Path, Path]) -> Job:
    model, rows = files
    recipe = Recipe(name="mine", budget=Budget(loss=0.03))
    with Client(url) as client:
        return client.wait(client.compress(model, calibration=rows, recipe=recipe).id)


def test_upload_of_a_plugin_s_kind_becomes_a_smaller_model(url: str, job: Job) -> None:
    assert job.state is JobState.SUCCEEDED, job.problem
    assert job.inspection is not None
    assert job.inspection.kind == "row-classifier"
    with Client(url) as client:
        manifest, card = client.manifest("mine"), client.card("mine")
    compressed = manifest.variant("compressed")
    assert (manifest.task, manifest.metric) == ("row-classifier", "row_accuracy")
    assert compressed is not None
    assert compressed.sizes["units:hidden"] <= USEFUL  # those that reach no output went first
    assert compressed.loss <= 0.03
    assert [check.name for check in manifest.checks] == [
        "pruned = masked reference",
        "ONNX Runtime = NumPy (original)",
        "ONNX Runtime = NumPy (compressed)",
    ]
    assert all(check.error <= check.tolerance for check in manifest.checks)
    for words in (
        "| accuracy |",
        "a fall of accuracy by at most 3 points",
        '"$ISS_URL/classify"',
    ):
        assert words in card


def test_model_of_a_plugin_s_kind_answers_at_its_own_address(
    url: str, job: Job, files: tuple[Path, Path]
) -> None:
    with np.load(files[0]) as model, np.load(files[1]) as data:
        rows, expected = data["rows"][:50], classes_of(dict(model), data["rows"][:50])
    asked = {"model": "mine", "rows": rows.tolist()}
    answer = httpx.post(f"{url}/classify", json=asked).raise_for_status().json()
    original, compressed = answer["variants"]
    assert answer["model_id"] == job.model_id
    assert original["classes"] == expected.tolist()
    assert (np.array(compressed["classes"]) == expected).mean() >= 0.9
    narrow = httpx.post(f"{url}/classify", json={"model": "mine", "rows": [[1.0]]})
    assert (narrow.status_code, narrow.json()["detail"]) == (
        422,
        "rows: a row of this model has 6 numbers",
    )
    wrong = httpx.post(f"{url}/score", json={"model": "mine", "texts": ["a"]})
    assert wrong.json()["type"] == "wrong-task"
    assert "ask it at POST /classify" in wrong.json()["detail"]
    document = httpx.get(f"{url}/openapi.json").json()
    assert "/classify" in document["paths"]
    assert "row-classifier" in json.dumps(document["components"]["schemas"]["ManifestView"])


def test_graph_of_a_plugin_s_kind_runs_on_tensors(
    url: str, job: Job, files: tuple[Path, Path]
) -> None:
    with np.load(files[0]) as model, np.load(files[1]) as data:
        rows, expected = data["rows"][:50], classes_of(dict(model), data["rows"][:50])
    answer = httpx.post(f"{url}/v2/models/mine:original/infer", **binary({"rows": rows}))
    assert outputs(answer)["scores"].argmax(1).tolist() == expected.tolist()


def test_service_without_the_plugin_says_what_it_lacks(home: Path, job: Job) -> None:
    with served(home, {}) as address:
        with Client(address) as client:
            assert [model.id for model in client.models()] == [job.model_id]
        answer = httpx.post(f"{address}/score", json={"model": "mine", "texts": ["a"]})
        said = httpx.get(f"{address}/models/mine").json()["unserved"]
        listed = httpx.post(f"{address}/v2/repository/index", json={}).json()
        shown = CliRunner().invoke(app, ["models", "show", "mine", "--url", address])
    assert said in " ".join(shown.output.split())
    assert said == answer.json()["detail"]
    assert {(each["state"], each["reason"]) for each in listed} == {("UNAVAILABLE", said)}
    assert (answer.status_code, answer.json()["type"]) == (409, "unknown-kind")
    assert "does not know the kind 'row-classifier'" in said
    assert "ISS_KINDS" in said


def test_client_without_the_plugin_shows_its_models(url: str, job: Job) -> None:
    runner = CliRunner(env={"ISS_URL": url, "COLUMNS": "160"})
    done = runner.invoke(app, ["models"])
    assert done.exit_code == 0, done.output
    assert "mine" in done.output
    assert httpx.get(f"{url}/models/mine").json()["unserved"] == ""
    latency = httpx.get(f"{url}/models/mine/latency", params={"batch": 4}).raise_for_status().json()
    assert latency["results"]["compressed"][0]["batch"] == 4


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("no_such_kind", "'no_such_kind' cannot be imported: No module named 'no_such_kind'"),
        ("tests.service", "'tests.service' has no module 'description'"),
    ],
)
def test_package_that_is_no_plugin_ends_the_service_at_its_start(
    package: str, reason: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "isslim.service"],
        env=os.environ
        | {"ISS_HOME": str(tmp_path), "ISS_KINDS": json.dumps([package]), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert reason in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_part_of_a_plugin_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(BadPlugin, match=r"'tests.row_classifier.nothing' cannot be imported"):
        plugin_module("tests.row_classifier", "nothing")


def test_kind_or_metric_of_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="another kind of the name 'graph'"):
        registry.register(replace(ROWS, name="graph"))
    with pytest.raises(ValueError, match="metric 'f1' is of the kind 'question-answering'"):
        registry.register(replace(ROWS, name="other", metrics={"f1": ROWS.metrics["row_accuracy"]}))
