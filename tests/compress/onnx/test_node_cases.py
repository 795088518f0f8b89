"""Every LSTM, GRU and RNN test that ships with onnx, read, cut and written.

As they are, their weights are inputs; with these as constants, their units are the graph's outputs.
Nothing may be removed either way, and each case's reason must name that cause. With a matrix behind
every output units may be removed, and the cut graph must equal the masked one: the causes named
before were the true ones.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.node_cases import node_cases
from tests.compress.onnx.proving import assert_cut_equals_masked, run

CAUSES: dict[str, tuple[str, ...]] = {
    "test_gru_defaults": ("output 'Y_h' (GRU 'Y_h')",),
    "test_gru_with_initial_bias": ("output 'Y_h' (GRU 'Y_h')",),
    "test_gru_seq_length": ("output 'Y_h' (GRU 'Y_h')",),
    "test_gru_batchwise": (
        "output 'Y' (GRU 'Y' -> Transpose 'Y')",
        "output 'Y_h' (GRU 'Y' -> Transpose 'Y_h')",
    ),
    "test_gru_reverse": ("output 'Y' (GRU 'Y')", "output 'Y_h' (GRU 'Y')"),
    "test_gru_bidirectional": ("output 'Y' (GRU 'Y')", "output 'Y_h' (GRU 'Y')"),
    "test_lstm_defaults": ("output 'Y_h' (LSTM 'Y_h')",),
    "test_lstm_with_initial_bias": ("output 'Y_h' (LSTM 'Y_h')",),
    # Its state is given (`initial_h`) and handed out (`Y_h`), and nothing else reads it.
    "test_lstm_with_peepholes": ("outputs only, as a state that the caller carries",),
    "test_lstm_batchwise": (
        "output 'Y' (LSTM 'Y' -> Transpose 'Y')",
        "output 'Y_h' (LSTM 'Y' -> Transpose 'Y_h')",
    ),
    "test_lstm_reverse": ("output 'Y_h' (LSTM 'Y_h')", "output 'Y_c' (LSTM 'Y_h')"),
    "test_lstm_bidirectional": ("output 'Y_h' (LSTM 'Y_h')", "output 'Y_c' (LSTM 'Y_h')"),
    "test_simple_rnn_defaults": ("output 'Y_h' (RNN 'Y_h')",),
    "test_simple_rnn_with_initial_bias": ("output 'Y_h' (RNN 'Y_h')",),
    "test_rnn_seq_length": ("output 'Y_h' (RNN 'Y_h')",),
    "test_simple_rnn_batchwise": (
        "output 'Y' (RNN 'Y' -> Transpose 'Y')",
        "output 'Y_h' (RNN 'Y' -> Transpose 'Y_h')",
    ),
    "test_simple_rnn_reverse": ("output 'Y_h' (RNN 'Y_h')",),
    "test_simple_rnn_bidirectional": ("output 'Y_h' (RNN 'Y_h')",),
}
"""Where the units of each case go when its weights are constants, after `it reaches the graph's `:
all of it, in order."""
_COUNTS: Counter[str] = Counter()
_WEIGHTS = ("W", "R", "B", "P")


@cache
def recurrent() -> dict[str, Any]:
    """The cases of recurrent layers, by name."""
    return {
        case.name: case
        for case in node_cases()
        if case.model.graph.node[0].op_type in ("LSTM", "GRU", "RNN")
    }


def bound(name: str) -> tuple[ModelProto, dict[str, np.ndarray], list[np.ndarray]]:
    """A case with its weights as constants, its other inputs, and what it must give."""
    case = recurrent()[name]
    model = ModelProto()
    model.CopyFrom(case.model)
    inputs, expected = case.data_sets[0]
    feeds = {
        port.name: np.asarray(value) for port, value in zip(model.graph.input, inputs, strict=True)
    }
    weights = {key: feeds.pop(key) for key in _WEIGHTS if key in feeds}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, key) for key, value in weights.items()
    )
    kept = [port for port in model.graph.input if port.name in feeds]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, feeds, [np.asarray(value) for value in expected]


def directions(name: str) -> int:
    """Directions of a case's layer: each has units of its own."""
    attributes = {
        each.name: onnx.helper.get_attribute_value(each)
        for each in recurrent()[name].model.graph.node[0].attribute
    }
    return 2 if attributes.get("direction") == b"bidirectional" else 1


def test_all_cases_are_found_and_each_has_its_cause() -> None:
    assert len(recurrent()) == 18
    assert recurrent().keys() == CAUSES.keys()


@pytest.mark.parametrize("name", CAUSES)
def test_a_case_whose_weights_are_inputs_is_left_alone_and_says_why(name: str) -> None:
    network = GraphNetwork.from_model(simplified(recurrent()[name].model))
    assert network.declaration().axes == {}
    node = recurrent()[name].model.graph.node[0]
    layer = next(filter(None, node.output))  # a nameless node goes by its first output
    reason = f"at {node.op_type} '{layer}': its weights are not constants of the graph"
    assert [axis.reasons for axis in network.report()] == [(reason,)] * directions(name)
    _COUNTS["left alone, weights are inputs"] += 1


@pytest.mark.parametrize("name", CAUSES)
def test_a_case_whose_units_are_outputs_is_left_alone_and_still_right(name: str) -> None:
    model, feeds, expected = bound(name)
    network = GraphNetwork.from_model(simplified(model))
    assert network.declaration().axes == {}
    reasons = tuple(f"it reaches the graph's {cause}" for cause in CAUSES[name])
    assert [axis.reasons for axis in network.report()] == [reasons] * directions(name)
    made = run(network.model(), feeds)
    for port, value in zip(model.graph.output, expected, strict=True):
        np.testing.assert_allclose(made[port.name], value, rtol=1e-5, atol=1e-5)
    cause = "a state that the caller carries" if "carries" in reasons[0] else "outputs"
    _COUNTS[f"left alone, units are {cause}"] += 1


@pytest.mark.parametrize("name", CAUSES)
def test_a_case_with_a_matrix_behind_its_outputs_is_cut(name: str) -> None:
    model, feeds, expected = bound(name)
    rng = np.random.default_rng(0)
    for index, (port, value) in enumerate(zip(list(model.graph.output), expected, strict=True)):
        matrix = rng.normal(0, 1, (value.shape[-1], 2)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(matrix, f"matrix_{index}"))
        model.graph.node.append(
            onnx.helper.make_node("MatMul", [port.name, f"matrix_{index}"], [f"read_{index}"])
        )
        port.name = f"read_{index}"
        port.type.tensor_type.shape.dim[-1].dim_value = 2
    network = assert_cut_equals_masked(GraphNetwork.from_model(simplified(model)).model(), feeds)
    assert network.declaration().axes
    assert not any(axis.reasons for axis in network.report())
    _COUNTS["cut, read by a matrix"] += 1


def test_the_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what became of the cases; in a whole run every case was met once in each way."""
    told = "; ".join(f"{count} {what}" for what, count in _COUNTS.items())
    with capsys.disabled():
        sys.stdout.write(f"\nonnx's {len(CAUSES)} node tests of recurrent operators: {told}\n")
    assert sum(_COUNTS.values()) <= 3 * len(CAUSES)
