"""Every LSTM, GRU and RNN test that ships with onnx, read, cut and written.

As they are, their units are the graph's outputs: nothing may be removed, and the reason must say so. With a matrix behind
every output they may be removed, and the cut graph must equal the silenced one.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from compress.graphs.network import GraphNetwork
from compress.graphs.reading import simplified
from tests.compress.graphs.proving import assert_cut_equals_silenced, run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other cases overflow on purpose
    from onnx.backend.test.case.node import collect_testcases

    CASES = {
        case.name: case
        for case in collect_testcases(None)
        if case.model.graph.node[0].op_type in ("LSTM", "GRU", "RNN")
    }

_COUNTS: Counter[str] = Counter()
_WEIGHTS = ("W", "R", "B", "P")


def bound(name: str) -> tuple[ModelProto, dict[str, np.ndarray], list[np.ndarray]]:
    """A case with its weights as constants of the graph, its other inputs, and what it must give."""
    case = CASES[name]
    model = ModelProto()
    model.CopyFrom(case.model)
    inputs, expected = case.data_sets[0]
    feeds = {port.name: np.asarray(value) for port, value in zip(model.graph.input, inputs, strict=True)}
    weights = {key: feeds.pop(key) for key in _WEIGHTS if key in feeds}
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in weights.items())
    kept = [port for port in model.graph.input if port.name in feeds]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, feeds, [np.asarray(value) for value in expected]


def test_all_cases_are_found() -> None:
    assert len(CASES) == 18


@pytest.mark.parametrize("name", CASES)
def test_a_case_whose_weights_are_inputs_is_left_alone_and_says_why(name: str) -> None:
    network = GraphNetwork.from_model(simplified(CASES[name].model))
    assert network.declaration().axes == {}
    kind = CASES[name].model.graph.node[0].op_type
    for axis in network.report():
        (reason,) = axis.reasons
        assert re.fullmatch(rf"at {kind} '\w+': its weights are not constants of the graph", reason)
    assert network.report()
    _COUNTS["weights are inputs: left alone"] += 1


@pytest.mark.parametrize("name", CASES)
def test_a_case_whose_units_are_outputs_is_left_alone_and_still_right(name: str) -> None:
    model, feeds, expected = bound(name)
    network = GraphNetwork.from_model(simplified(model))
    assert network.declaration().axes == {}
    for axis in network.report():
        # Each with the way that led there; in one case the state is given and handed out, and nothing else reads it.
        kind = CASES[name].model.graph.node[0].op_type
        way = rf"it reaches the graph's output '\w+' \({kind} '\w+'( -> Transpose '\w+')?\)"
        carried = "it reaches the graph's outputs only, as a state that the caller carries"
        assert axis.reasons
        assert all(re.fullmatch(way, reason) or reason == carried for reason in axis.reasons)
    made = run(network.model(), feeds)
    for port, value in zip(model.graph.output, expected, strict=True):
        np.testing.assert_allclose(made[port.name], value, rtol=1e-5, atol=1e-5)
    _COUNTS["units are outputs: left alone"] += 1


@pytest.mark.parametrize("name", CASES)
def test_a_case_with_a_matrix_behind_its_outputs_is_cut(name: str) -> None:
    model, feeds, expected = bound(name)
    rng = np.random.default_rng(0)
    for index, (port, value) in enumerate(zip(list(model.graph.output), expected, strict=True)):
        matrix = rng.normal(0, 1, (value.shape[-1], 2)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(matrix, f"matrix_{index}"))
        model.graph.node.append(onnx.helper.make_node("MatMul", [port.name, f"matrix_{index}"], [f"read_{index}"]))
        port.name = f"read_{index}"
        port.type.tensor_type.shape.dim[-1].dim_value = 2
    simple = simplified(model)
    if onnx.helper.get_node_attr_value(CASES[name].model.graph.node[0], "hidden_size") < 2:
        assert GraphNetwork.from_model(simple).declaration().axes == {}
        return
    network = assert_cut_equals_silenced(GraphNetwork.from_model(simple).model(), feeds)
    assert network.declaration().axes
    assert not any(axis.reasons for axis in network.report())
    _COUNTS["read by a matrix: cut"] += 1


def test_the_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what became of the cases; in a whole run each way has all of them."""
    with capsys.disabled():
        sys.stdout.write(f"\nonnx's node tests of recurrent operators: {len(CASES)}; {dict(_COUNTS)}\n")
    assert set(_COUNTS.values()) <= {len(CASES)}
