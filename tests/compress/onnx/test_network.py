"""A graph as a network: arrays are copies, sizes are those of the arrays, reports in order."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from isslim.compress.onnx.network import AxisReport, GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import cut, run
from tests.compress.onnx.rewrite.made import UNITS, WIDTH, tagger

FORWARD, BACKWARD = "units:lstm_0.forward", "units:lstm_0.backward"


def test_a_network_as_it_was_read_gives_what_the_graph_gives() -> None:
    b = tagger()
    network = GraphNetwork.from_model(simplified(b.model()))
    expected = run(b.model(), b.feeds)["y"]
    np.testing.assert_allclose(run(network.model(), b.feeds)["y"], expected, rtol=1e-5, atol=1e-6)
    masked = network.masked_reference({})
    np.testing.assert_array_equal(run(masked, b.feeds)["y"], expected)


def test_arrays_are_copies_and_other_arrays_make_another_network() -> None:
    b = tagger()
    network = GraphNetwork.from_model(simplified(b.model()))
    before = run(network.model(), b.feeds)["y"]
    arrays = network.arrays()
    for value in arrays.values():
        value *= 2
    np.testing.assert_array_equal(run(network.model(), b.feeds)["y"], before)
    doubled = network.rebuilt(arrays)
    assert not np.allclose(run(doubled.model(), b.feeds)["y"], before)
    # The reference of other values is the graph with these values, not the one that was read.
    np.testing.assert_array_equal(
        run(doubled.masked_reference({}), b.feeds)["y"], run(doubled.model(), b.feeds)["y"]
    )


def test_a_smaller_network_declares_its_own_sizes() -> None:
    network = GraphNetwork.from_model(simplified(tagger().model()))
    assert network.declaration().axes == {FORWARD: UNITS, BACKWARD: UNITS}
    small = cut(network, {FORWARD: np.array([1]), BACKWARD: np.array([0, 2, 3])})
    assert small.declaration().axes == {FORWARD: 1, BACKWARD: 3}
    small.declaration().check(small.arrays())
    assert network.declaration().axes == {FORWARD: UNITS, BACKWARD: UNITS}


def test_the_report_names_every_axis_in_order_and_why_some_are_left_alone() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    first = b.squeeze(b.recurrent("RNN", x, WIDTH, UNITS)[0], 1)
    second = b.squeeze(b.recurrent("RNN", first, UNITS, UNITS)[0], 1)
    both = b.node("Add", [first, second])
    third = b.squeeze(b.recurrent("GRU", both, UNITS, 5)[0], 1)
    b.output(third, "y", ["T", "B", 5])
    network = GraphNetwork.from_model(simplified(b.model()))
    added, last = network.report()
    names = ("units:rnn_0.forward", "units:rnn_2.forward")
    assert added == AxisReport(names[0], names, UNITS, ())
    assert (last.name, last.size) == ("units:gru_5.forward", 5)
    assert last.reasons[0].startswith("it reaches the graph's output 'y' (GRU 'gru_5'")
    assert list(network.declaration().axes) == [names[0]]


@pytest.mark.parametrize("added", [None, 0, 1])
def test_states_of_the_caller_are_named(added: int | None) -> None:
    """Also behind the addition of zero with which an exporter keeps an input that is not used."""
    b = Builder()
    state = b.floats("before", (1, BATCH, UNITS), [1, "B", UNITS])
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    outputs = b.recurrent("GRU", x, WIDTH, UNITS, initial=[state])
    b.output(b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    after = outputs[1]
    if added is not None:
        unused = b.node(
            "Mul", [b.input("rate", np.array(16_000), []), b.constant(np.array(added), np.int64)]
        )
        after = b.node("Add", [after, b.node("Cast", [unused], to=TensorProto.FLOAT)])
    b.output(after, "after", [1, "B", UNITS])
    network = GraphNetwork.from_model(simplified(b.model()))
    changed = added == 1
    assert network.state_outputs() == (set() if changed else {"after"})
    assert network.carried_states() == ({} if changed else {"after": "before"})
