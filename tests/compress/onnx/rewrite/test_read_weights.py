"""New values of written constants: they are written again exactly, and some may not change."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import cut, run
from tests.compress.onnx.rewrite.made import UNITS, WIDTH, tagger
from tests.compress.onnx.rewrite.test_narrow_layers import narrowed, stacked


def constants(model: ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def changed(network: GraphNetwork, seed: int = 0) -> dict[str, np.ndarray]:
    """Other values of all weights, where they are free."""
    rng, now = np.random.default_rng(seed), constants(network.model())
    return {
        name: np.where(free, now[name] + rng.normal(0, 0.1, free.shape), now[name]).astype(
            np.float32
        )
        for name, free in network.free_weights().items()
    }


def head(beta: float = 1.0, alpha: float = 1.0) -> Builder:
    """A GRU whose last state a Gemm reads, behind a matrix of fixed dimensions."""
    b = Builder()
    x = b.node("MatMul", [b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH]),
                          b.weights(WIDTH, WIDTH)])  # fmt: skip
    last = b.squeeze(b.recurrent("GRU", x, WIDTH, UNITS, linear_before_reset=1)[1], 0)
    given = [last, b.weights(UNITS, 2), b.weights(1, 2)]
    b.output(b.node("Gemm", given, alpha=alpha, beta=beta), "y", ["B", 2])
    return b


KINDS = {
    "lstm both ways": tagger,
    "lstm with a peephole": partial(tagger, "LSTM", "forward", peephole=True),
    "gru both ways": partial(tagger, "GRU"),
    "gru with its reset gate last": partial(tagger, "GRU", linear_before_reset=1),
    "rnn": partial(tagger, "RNN", "forward"),
    "a matrix without axes": head,
    "a factor before the bias": partial(head, beta=2.0),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kept", [UNITS, 2])
def test_weights_that_are_put_into_a_network_are_what_it_writes(name: str, kept: int) -> None:
    b = KINDS[name]()
    network = GraphNetwork.from_model(simplified(b.model()))
    axes = list(network.declaration().axes)
    # Of two directions one keeps fewer units, so that its tensors have room for dead ones.
    keep = {axis: np.arange(kept - (kept < UNITS) * place) for place, axis in enumerate(axes)}
    small = cut(network, keep)
    weights = changed(small)
    taught = small.with_weights(weights)
    found = constants(taught.model())
    assert found.keys() == constants(small.model()).keys()
    for each, value in weights.items():
        np.testing.assert_array_equal(found[each], value, err_msg=each)
    assert taught.declaration() == small.declaration()
    assert not np.allclose(run(taught.model(), b.feeds)["y"], run(small.model(), b.feeds)["y"])
    # The arrays alone hold what axes touch; the rest stays with the network that is rebuilt.
    again = taught.rebuilt(taught.arrays())
    assert again.model().SerializeToString() == taught.model().SerializeToString()
    # The network that it was made of is as it was.
    np.testing.assert_array_equal(
        run(small.model(), b.feeds)["y"], run(cut(network, keep).model(), b.feeds)["y"]
    )


def test_a_bias_behind_a_factor_is_off_by_the_rounding_of_a_division_at_most() -> None:
    small = GraphNetwork.from_model(simplified(head(alpha=0.7, beta=3.0).model()))
    weights = changed(small)
    found = constants(small.with_weights(weights).model())
    for name, value in weights.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-7, err_msg=name)


def test_dead_units_and_the_second_of_two_summed_biases_are_not_free() -> None:
    network = GraphNetwork.from_model(simplified(tagger().model()))
    forward, backward = network.declaration().axes
    small = cut(network, {forward: np.array([1]), backward: np.array([0, 2, 3])})
    free, node = small.free_weights(), small.model().graph.node[0]
    w, r, bias = (free[node.input[index]] for index in (1, 2, 3))
    alive = np.array([[True, False, False], [True, True, True]])
    np.testing.assert_array_equal(w, np.tile(alive, 4)[..., None] & np.ones(WIDTH, bool))
    np.testing.assert_array_equal(r, np.tile(alive, 4)[..., None] & alive[:, None])
    both = np.concatenate([np.tile(alive, 4), np.zeros((2, 12), bool)], 1)
    np.testing.assert_array_equal(bias, both)
    # What is put there in spite of that is not taken.
    weights = {name: np.ones(mask.shape, np.float32) for name, mask in free.items()}
    found = constants(small.with_weights(weights).model())
    np.testing.assert_array_equal(found[node.input[1]], w.astype(np.float32))
    np.testing.assert_array_equal(found[node.input[2]], r.astype(np.float32))


def test_single_numbers_and_integers_are_no_weights() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    scaled = b.node("Mul", [x, b.constant(0.5, np.float32)])
    last = b.squeeze(b.recurrent("LSTM", scaled, WIDTH, UNITS)[1], 0)
    shaped = b.node("Reshape", [last, b.constant([-1, UNITS])])
    b.output(b.node("MatMul", [shaped, b.weights(UNITS, 2)]), "y", ["B", 2])
    network = GraphNetwork.from_model(simplified(b.model()))
    matrices = {name for name, value in b.constants.items() if value.dtype == np.float32}
    assert network.free_weights().keys() == {n for n in matrices if b.constants[n].size > 1}


def test_a_name_or_shape_that_the_graph_lacks_is_refused() -> None:
    network = GraphNetwork.from_model(simplified(head().model()))
    with pytest.raises(ValueError, match="'nope', float32 \\(2,\\), where the graph has none"):
        network.with_weights({"nope": np.zeros(2, np.float32)})
    matrix = next(n for n, v in constants(network.model()).items() if v.shape == (WIDTH, WIDTH))
    with pytest.raises(ValueError, match="expected 3 entries in dimension 1"):
        network.with_weights({matrix: np.zeros((2, 3), np.float32)})
    sizes = next(n for n, v in constants(network.model()).items() if v.dtype == np.int64)
    with pytest.raises(ValueError, match="where the graph has int64 \\(1,\\)"):
        network.with_weights({sizes: np.zeros(1, np.float32)})
    last = network.model().graph.node[-2].input[1]
    with pytest.raises(ValueError, match="expected 4 entries in dimension 1"):
        network.with_weights({last: np.zeros((5, 2), np.float32)})


def test_a_layer_of_which_some_weights_are_new_keeps_the_others() -> None:
    network = GraphNetwork.from_model(simplified(tagger("LSTM", "forward", peephole=True).model()))
    now, layer = constants(network.model()), network.model().graph.node[0]
    matrix = 2 * now[layer.input[1]]
    found = constants(network.with_weights({layer.input[1]: matrix}).model())
    np.testing.assert_array_equal(found[layer.input[1]], matrix)
    for place in (2, 3, 7):
        np.testing.assert_array_equal(found[layer.input[place]], now[layer.input[place]])


def test_matrices_of_narrow_layers_are_read_and_written_too() -> None:
    network = GraphNetwork.from_model(simplified(stacked().model()))
    small = network.rebuilt(narrowed(network, 2)[0])
    weights = changed(small)
    narrow = {place.weight for place in small.declaration().narrow}
    assert len(narrow & weights.keys()) == 3
    taught = small.with_weights(weights)
    found = constants(taught.model())
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert taught.declaration() == small.declaration()
