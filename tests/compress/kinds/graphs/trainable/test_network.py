"""Graphs as torch modules: what is run, what is trained, and what is given back."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.kinds.graphs.trainable.same import assert_same, built, floats, tensors
from tests.compress.onnx.drawing import Builder
from tests.compress.onnx.proving import cut, run, some
from tests.compress.onnx.test_written_forms import FORMS

WIDTH, UNITS = 4, 6


def tagger() -> tuple[Builder, str, str]:
    """A layer and a matrix behind it, and a second output with an operator that torch lacks."""
    b = Builder()
    x = b.floats("x", (5, 3, WIDTH), ["T", "B", WIDTH])
    y = b.squeeze(b.recurrent("LSTM", x, WIDTH, UNITS)[0], 1)
    return b, b.node("MatMul", [y, b.weights(UNITS, 2)]), b.node("Det", [b.weights(3, 3)])


def test_cut_graph_is_trained_under_the_names_of_its_initialisers() -> None:
    b, scores, _ = tagger()
    network = GraphNetwork.from_model(simplified(built(b, scores)))
    model = cut(network, some(network, 0)).model()
    graph = assert_same(model, b.feeds, 1e-5)
    optimizer = torch.optim.SGD(graph.parameters(), 0.1)
    before = graph.trained_weights()
    graph(tensors(b.feeds), ["y0"])["y0"].square().sum().backward()
    optimizer.step()
    after = graph.trained_weights()
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    assert before.keys() == after.keys() <= stored.keys()
    assert len(before) == 4
    assert all((before[name] != after[name]).any() for name in before)
    # Back in the file, they give what torch computes now.
    for name, value in after.items():
        stored[name].raw_data = value.tobytes()
    with torch.no_grad():
        found = graph(tensors(b.feeds), ["y0"])["y0"]
    np.testing.assert_allclose(found, run(model, b.feeds)["y0"], rtol=1e-5, atol=1e-5)


def test_weights_that_were_read_back_stay_when_training_goes_on() -> None:
    b, scores, _ = tagger()
    graph = TorchGraph.of(built(b, scores))
    taken = graph.trained_weights()
    kept = copy.deepcopy(taken)
    with torch.no_grad():
        for each in graph.parameters():
            each.zero_()
    for name, value in taken.items():
        np.testing.assert_array_equal(value, kept[name])


def test_copy_is_trained_by_itself() -> None:
    b, scores, _ = tagger()
    graph = TorchGraph.of(built(b, scores))
    other = copy.deepcopy(graph)
    with torch.no_grad():
        for each in other.weights.values():
            each.zero_()
    assert not other(tensors(b.feeds), ["y0"])["y0"].any()
    assert graph(tensors(b.feeds), ["y0"])["y0"].any()


def test_operator_that_torch_lacks_is_named_unless_only_other_outputs_need_it() -> None:
    b, scores, unknown = tagger()
    model = built(b, scores, unknown)
    with pytest.raises(NotTrainable, match=r"Det 'det_\d+': the operator is not supported"):
        TorchGraph.of(model)
    graph = TorchGraph.of(model, ["y0"])
    assert graph.outputs == ("y0",)
    wanted = run(model, b.feeds)["y0"]
    found = graph(tensors(b.feeds), ["y0"])["y0"]
    np.testing.assert_allclose(found.detach(), wanted, rtol=1e-5, atol=1e-5)


def test_all_operators_that_torch_lacks_are_named_nested_ones_too() -> None:
    b = Builder()
    x = b.floats("x", (3, 3), [3, 3])
    value = b.node("Unheard", [b.node("Det", [x])])
    inner = [
        helper.make_graph(
            [helper.make_node("Unseen", [value], [f"seen in {name}"])],
            name, [], [helper.make_tensor_value_info(f"seen in {name}", TensorProto.FLOAT, [])],
        )
        for name in ("one", "other")
    ]  # fmt: skip
    flag = b.constant(True, bool)
    model = built(b, b.node("If", [flag], then_branch=inner[0], else_branch=inner[1]))
    with pytest.raises(NotTrainable) as refused:
        TorchGraph.of(model)
    assert [each.split(" ")[0] for each in refused.value.issues] == ["Det", "Unheard", "Unseen"]


def test_only_the_nodes_that_the_outputs_need_are_run() -> None:
    b = Builder()
    x, other = b.floats("x", (2, 3), [2, 3]), b.floats("other", (2, 3), [2, 3])
    model = built(b, b.node("Tanh", [x]), b.node("MatMul", [x, other]))  # sizes do not fit
    graph = TorchGraph.of(model)
    found = graph({"x": torch.ones(2, 3)}, ["y0"])
    assert found.keys() == {"y0"}
    with pytest.raises(NotTrainable, match=r"MatMul 'matmul_1': .*shapes"):
        graph(tensors(b.feeds), ["y1"])


def test_missing_input_is_named() -> None:
    b, scores, _ = tagger()
    with pytest.raises(NotTrainable, match="'x' is not given"):
        TorchGraph.of(built(b, scores))({}, ["y0"])


def test_constants_that_are_texts_are_refused() -> None:
    b = Builder()
    b.constants["texts"] = np.array(["a", "b"], object)
    b.input("x", floats(2), [2])
    with pytest.raises(NotTrainable, match="'texts' holds texts"):
        TorchGraph.of(built(b, b.node("Identity", ["texts"])))


@pytest.mark.parametrize("name", FORMS)
def test_graphs_as_exporters_write_them_are_the_same_in_torch(name: str) -> None:
    """The cut ones, with their sizes computed and their weights shared."""
    b = Builder()
    b.output(FORMS[name][0](b), "y", ["N", "M", 2])
    network = GraphNetwork.from_model(simplified(b.model()))
    graph = assert_same(cut(network, some(network, 0)).model(), b.feeds, 1e-5)
    graph(tensors(b.feeds), ["y"])["y"].sum().backward()
    assert graph.weights
    assert all(each.grad is not None for each in graph.weights.values())
