"""Outputs that are random, not finite, or independent of a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isslim.compress.kinds.graphs.output_checks import (
    SEEN,
    changes,
    random_operators,
    redrawn_outputs,
    strange_values,
    without_units,
)
from isslim.compress.kinds.graphs.running import temporary_session
from isslim.compress.kinds.graphs.understanding import understood
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.compress.kinds.graphs.models import inputs, layer_graph, noisy_graph, twin_graph


def test_a_random_output_differs_from_itself_and_its_operator_is_named(tmp_path: Path) -> None:
    path = noisy_graph(tmp_path, shown=True)
    _, network = understood(path)
    graph = GraphSession(path)
    assert redrawn_outputs(graph, inputs(2), {"RandomNormalLike"}) == ["drawn"]
    (operator,) = random_operators(network.source.structure, "drawn")
    assert operator.startswith("RandomNormalLike '")
    assert random_operators(network.source.structure, "mean") == []


def test_a_deterministic_output_does_not(tmp_path: Path) -> None:
    assert redrawn_outputs(GraphSession(layer_graph(tmp_path)), inputs(2), {"LSTM"}) == []


def test_only_an_output_that_reads_a_layer_changes_when_it_is_masked(tmp_path: Path) -> None:
    path = twin_graph(tmp_path)
    _, network = understood(path)
    graph, runs = GraphSession(path), inputs(3)
    found = {}
    for axis, size in network.declaration().axes.items():
        with temporary_session(without_units(network, [axis])) as masked:
            found[size] = changes(masked, graph, runs, ["y"])["y"]
    assert found[8] == 0.0
    assert found[12] > 0.01 > SEEN


def test_minus_infinity_is_a_logarithm_and_all_else_that_is_not_finite_is_strange() -> None:
    outputs = {
        "plain": np.array([[1.0, 2.0]], np.float32),
        "log": np.array([-np.inf, 0.0], np.float32),
        "whole": np.array([1, 2]),
        "bad": np.array([[0.0, 1.0], [np.nan, np.inf]], np.float32),
    }
    assert strange_values(outputs) == {
        "bad": "2 of 4 values are NaN or infinite, the first at [1, 0]"
    }
