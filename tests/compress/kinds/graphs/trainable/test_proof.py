"""The proof: equal graphs pass, and each kind of fault is found and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.running import temporary_session
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from isslim.compress.kinds.graphs.trainable.proof import TOLERANCE, computed, prove
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.compress.kinds.graphs.trainable.same import built, floats
from tests.compress.onnx.drawing import Builder

RUNS = [{"x": floats(5, 2, 4, seed=seed)} for seed in range(3)]


@pytest.fixture
def graph_and_session() -> Iterator[tuple[TorchGraph, GraphSession]]:
    b = Builder()
    x = b.floats("x", (5, 2, 4), ["T", "B", 4])
    y, last, _ = b.recurrent("LSTM", x, 4, 6)
    scores = b.node("MatMul", [last, b.weights(6, 3)])
    model = built(b, y, scores)
    with temporary_session(model) as session:
        yield TorchGraph.of(model), session


def test_equal_graphs_are_proven(graph_and_session: tuple[TorchGraph, GraphSession]) -> None:
    graph, session = graph_and_session
    proof = prove(graph, session, RUNS, ["y0", "y1"])
    assert 0 <= proof.error < TOLERANCE / 10
    assert proof.output in ("y0", "y1")
    assert proof.runs == 3


def test_an_output_that_is_a_weight_is_proven_too() -> None:
    b = Builder()
    y, *_ = b.recurrent("LSTM", b.floats("x", (5, 2, 4), ["T", "B", 4]), 4, 6)
    model = built(b, y, b.weights(6, 3))
    with temporary_session(model) as session:
        assert prove(TorchGraph.of(model), session, RUNS, ["y0", "y1"]).error < TOLERANCE / 10


def test_faulty_executor_is_found_with_the_output_and_by_how_much(
    graph_and_session: tuple[TorchGraph, GraphSession],
) -> None:
    graph, session = graph_and_session
    weight = list(graph.weights.values())[-1]
    with torch.no_grad():
        weight += 0.01
    proof = prove(graph, session, RUNS, ["y0"])  # the matrix is behind y1 alone
    assert proof.output == "y0"
    with pytest.raises(NotTrainable, match=r"'y1': the largest difference is \d\.\d+e-0[1-3]"):
        prove(graph, session, RUNS, ["y0", "y1"])


def test_fault_of_one_run_among_several_is_found(
    graph_and_session: tuple[TorchGraph, GraphSession],
) -> None:
    graph, session = graph_and_session
    usual = graph.forward

    class Faulty(TorchGraph):
        def forward(self, inputs, outputs):  # type: ignore[no-untyped-def]
            made = usual(inputs, outputs)
            if np.array_equal(inputs["x"].numpy(), RUNS[1]["x"]):
                made["y1"] = made["y1"] * float("nan")
            return made

    graph.__class__ = Faulty
    with pytest.raises(NotTrainable, match="'y1': the largest difference is inf"):
        prove(graph, session, RUNS, ["y0", "y1"])


def test_proof_leaves_no_gradients(
    graph_and_session: tuple[TorchGraph, GraphSession], tmp_path: Path
) -> None:
    graph, session = graph_and_session
    prove(graph, session, RUNS, ["y0"])
    assert all(each.grad is None for each in graph.parameters())


@pytest.mark.parametrize(("runs", "outputs"), [([], ["y0"]), (RUNS, [])])
def test_nothing_is_proven_on_nothing(
    graph_and_session: tuple[TorchGraph, GraphSession], runs: list, outputs: list[str]
) -> None:
    with pytest.raises(NotTrainable, match="there is no recorded run, or no output"):
        prove(*graph_and_session, runs, outputs)


def test_texts_are_refused_by_the_name_of_their_input(
    graph_and_session: tuple[TorchGraph, GraphSession],
) -> None:
    for words in (np.array(["a"]), np.array(["a"], np.object_)):
        with pytest.raises(NotTrainable, match="words: texts"):
            computed(graph_and_session[0], {**RUNS[0], "words": words}, ["y0"])
