"""A Loop of a recurrent cell becomes the operator, and gives what the Loop gives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from onnx import ModelProto

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.split_model import nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.normalise.cells.keras_loops import KerasLayer
from tests.compress.onnx.proving import assert_cut_equals_masked, run

TOLERANCE = 2e-6
"""Float32 sums in another order, over seven steps: outputs are around 1."""
KINDS = ["LSTM", "GRU", "RNN"]
# Sequences that end early, begin late, have a hole, are whole, and have no step at all.
MASKS = np.array(
    [
        [1, 2, 3, 1, 0, 0, 0],
        [0, 0, 1, 2, 3, 4, 5],
        [1, 0, 2, 0, 0, 3, 0],
        [1, 2, 3, 4, 5, 6, 7],
        [0, 0, 0, 0, 0, 0, 0],
    ]
)


def operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in nodes(model.graph))


def assert_replaced(layer: KerasLayer, ids: np.ndarray | None = None) -> ModelProto:
    """The Loop is gone, and all outputs are the same."""
    model = layer.model()
    assert operators(model)["Loop"] == 1
    rewritten = simplified(model)
    found = operators(rewritten)
    assert found[layer.kind] == 1
    assert not found["Loop"]
    feeds = layer.feeds(ids, batch=3 if ids is None else len(ids))
    expected, given = run(model, feeds), run(rewritten, feeds)
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert given[name].shape == value.shape
        np.testing.assert_allclose(given[name], value, rtol=0, atol=TOLERANCE, err_msg=name)
    return rewritten


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"whole": False},
        {"backwards": True},
        {"states": True},
        {"steps": 7},
        {"states": True, "whole": False, "backwards": True, "bias": False},
    ],
    ids=str,
)
def test_a_layer_of_keras_is_its_operator(kind: str, options: dict) -> None:
    assert_replaced(KerasLayer(kind, **options))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["Tanh", "Relu", None])
def test_a_gru_that_resets_before_the_product_is_one(bias: bool, activation: str | None) -> None:
    model = assert_replaced(KerasLayer(bias=bias, reset_after=False, activation=activation))
    (node,) = (each for each in model.graph.node if each.op_type == "GRU")
    assert not {each.name: each.i for each in node.attribute}["linear_before_reset"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "activation", ["Relu", "Elu", "Softsign", "Softplus", "LeakyRelu", "Sigmoid", None]
)
def test_other_activations_become_those_of_the_operator(kind: str, activation: str | None) -> None:
    assert_replaced(KerasLayer(kind, activation=activation))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("gates", ["hard_sigmoid", "Tanh", "Softsign"])
def test_other_activations_of_gates_do_too(kind: str, gates: str) -> None:
    assert_replaced(KerasLayer(kind, gates=gates, activation="Elu"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"zero_output": True},
        {"whole": False},
        {"whole": False, "zero_output": True},
        {"backwards": True},
        {"states": True},
        {"states": True, "zero_output": True},
        {"steps": 7},
    ],
    ids=str,
)
def test_a_mask_may_end_begin_and_have_holes_anywhere(kind: str, options: dict) -> None:
    assert_replaced(KerasLayer(kind, mask=True, **options), MASKS)


@pytest.mark.parametrize("row", range(len(MASKS)))
def test_each_kind_of_mask_by_itself(row: int) -> None:
    assert_replaced(KerasLayer(mask=True, states=True), MASKS[row : row + 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"mask": True}, {"mask": True, "zero_output": True}])
def test_units_of_such_a_layer_can_be_removed(kind: str, options: dict) -> None:
    layer = KerasLayer(kind, classes=2, **options)
    model = layer.model()
    network = assert_cut_equals_masked(simplified(model), layer.feeds())
    assert [axis.reasons for axis in network.report()] == [()]


@pytest.mark.parametrize("activation", ["Selu", "Exp"])
def test_a_loop_that_no_operator_computes_is_refused_with_the_reason(activation: str) -> None:
    layer = KerasLayer(activation=activation)
    with pytest.raises(GraphNotUnderstood, match=f"its activation {activation} is none of those"):
        simplified(layer.model())


def test_a_loop_that_stays_says_why_where_units_meet_it() -> None:
    layer = KerasLayer(activation="Selu", in_front=True)
    rewritten = simplified(layer.model())
    assert operators(rewritten)["Loop"] == 1
    (axis,) = GraphNetwork.from_model(rewritten).report()
    assert "no recurrent operator replaces: its activation Selu" in axis.reasons[0]
