"""The comparison with other tools: the protocol, the networks, and rows of tools that cannot."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.baseline import Baseline
from benchmarks.peers import __main__ as peers
from benchmarks.peers import contestants, plain, pruners
from benchmarks.peers.contestants import Contestant, own_arrays, plain_arrays, same_work
from benchmarks.peers.environments import NoEnvironment, environment
from benchmarks.peers.worker import Worker, WorkerFailed, race
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec, declare
from isslim.compress.pruning import axes
from isslim.runtime.language.scoring import perplexity
from isslim.runtime.language.session import LanguageSession

VOCABULARY = 30


def network() -> LstmLanguageModel:
    made = LstmLanguageModel(LstmSpec(VOCABULARY, 12, (16, 16)))
    made.initialise(0.4, torch.Generator().manual_seed(1))
    return made.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a graph and as arrays, and a text."""
    made = tmp_path_factory.mktemp("peers")
    export(network(), made / "model.onnx")
    plain.save(made / "model.npz", plain_arrays(network()))
    np.save(made / "text.npy", np.random.default_rng(2).integers(0, VOCABULARY, 200))
    return made


@pytest.mark.parametrize(
    ("engine", "int8", "tolerance"),
    [
        ("onnxruntime", False, 1e-5),
        ("onnxruntime", True, 0.02),
        ("torch", False, 1e-5),
        ("torch", True, 0.02),
    ],
)
def test_workers_score_a_text_as_the_runtime_does(
    engine: str, int8: bool, tolerance: float, folder: Path, tmp_path: Path
) -> None:
    file = folder / ("model.npz" if engine == "torch" else "model.onnx")
    ids = np.load(folder / "text.npy").tolist()
    expected = perplexity(LanguageSession(folder / "model.onnx"), ids[1:], ids[0])
    with Worker(Path(sys.executable), tmp_path / "log") as worker:
        made = worker.ask("open", engine=engine, file=str(file), int8=int8, work=str(tmp_path))
        found = worker.ask("score", text=str(folder / "text.npy"))["perplexity"]
        timed = race({"one": worker}, (5, 2), VOCABULARY, seconds=0)
    assert found == pytest.approx(expected, rel=tolerance)
    assert (found == pytest.approx(expected, rel=1e-7)) is not int8 or engine == "torch"
    assert 0.001 < made["file_mb"] < 0.1
    assert timed.timed["one"].wall.min() > 0


def test_a_worker_says_why_it_cannot(folder: Path, tmp_path: Path) -> None:
    with Worker(Path(sys.executable), tmp_path / "log") as worker:
        with pytest.raises(WorkerFailed, match="'score' before 'open'"):
            worker.ask("score", text="")
        with pytest.raises(WorkerFailed, match="No module named 'openvino'"):
            worker.ask("open", engine="openvino", file="x", int8=False, work=str(tmp_path))
    with (
        Worker(Path("/bin/false"), tmp_path / "log") as worker,
        pytest.raises(WorkerFailed, match="it ended during 'open'"),
    ):
        worker.ask("open")


def test_the_plain_model_computes_what_the_network_does() -> None:
    whole = network()
    tokens = torch.randint(VOCABULARY, (7, 3), generator=torch.Generator().manual_seed(3))
    model = plain.from_arrays(plain_arrays(whole))
    expected, _ = whole(tokens, whole.zero_state(3))
    torch.testing.assert_close(model(tokens), expected, rtol=1e-5, atol=1e-6)
    back = own_arrays(plain.arrays_of(model))
    assert back.keys() == whole.arrays().keys()
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(back[name], array)


def test_training_on_lowers_the_loss() -> None:
    ids = np.tile(np.arange(10), 300)
    model = plain.from_arrays(plain_arrays(network()))

    def loss() -> float:
        tokens, targets = torch.from_numpy(ids[:50])[:, None], torch.from_numpy(ids[1:51])
        return torch.nn.functional.cross_entropy(model(tokens)[:, 0], targets).item()

    before = loss()
    assert plain.tune(model, ids, seconds=0.5) > 5
    assert loss() < before


def test_the_pruner_of_torch_leaves_a_smaller_network_that_runs() -> None:
    model = plain.from_arrays(plain_arrays(network()))
    small = pruners.torch_ao(model, 0.25)
    assert small.lstm.hidden_size == 12
    assert model.lstm.hidden_size == 16
    assert small(torch.zeros(4, 2, dtype=torch.int64)).shape == (4, 2, VOCABULARY)


def test_the_smaller_network_has_the_asked_work() -> None:
    spec = LstmSpec(10_000, 256, (256, 256))
    asked = axes.mult_adds(declare(LstmSpec(10_000, 101, (101, 101))))
    assert same_work(spec, asked) == 101
    assert same_work(spec, asked + 10_000) in (101, 102)


def test_an_environment_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISS_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NoEnvironment, match="no-such-tool==1"):
        environment(["no-such-tool==1"])
    assert list(tmp_path.rglob("whole")) == []  # it is tried again next time


def test_every_contestant_has_a_row(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISS_HOME", str(tmp_path))
    for engine in ("onnxruntime", "torch", "openvino"):
        monkeypatch.setitem(contestants.ENVIRONMENTS, engine, ((), True))
    text = torch.from_numpy(np.load(folder / "text.npy"))
    dense = Baseline(network(), [str(index) for index in range(VOCABULARY)], text, text, text)
    rows = peers.measured(
        [
            Contestant("original", file=folder / "model.onnx", note="float32"),
            Contestant(peers.BASE, file=folder / "model.onnx", int8=True),
            Contestant("OpenVINO", "openvino", folder / "model.onnx"),
            Contestant("a pruner", note="not measured: a reason"),
        ],
        dense,
        tmp_path,
        tokens=100,
        seconds=0,
    )
    assert [row["tool"] for row in rows] == ["original", peers.BASE, "OpenVINO", "a pruner"]
    assert rows[0]["note"] == f"float32; torch {torch.__version__}"
    assert rows[1]["as_fast"] == {"batch": 1.0, "sentence": 1.0, "step": 1.0}
    assert all(rows[0][f"{shape}_ms"] > 0 for shape in peers.SHAPES)
    assert rows[2]["perplexity"] is None
    assert "No module named 'openvino'" in rows[2]["note"]
    assert rows[3]["step_ms"] is None
    json.dumps(rows)
    printed = io.StringIO()
    Console(file=printed, width=200).print(peers.table(rows))
    assert "not measured: a reason" in printed.getvalue()
