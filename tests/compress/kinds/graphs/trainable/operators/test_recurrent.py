"""LSTM, GRU and RNN in all their forms against ONNX Runtime; gradients against its differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import assert_same, built, floats, tensors
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run

KINDS = ("LSTM", "GRU", "RNN")
DIRECTIONS = ("forward", "reverse", "bidirectional")
WIDTH, UNITS = 4, 5

FORMS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "as torch has it": (("LSTM", "RNN"), {}),
    "linear before reset": (("GRU",), {"linear_before_reset": 1}),
    "reset before linear": (("GRU",), {"linear_before_reset": 0}),
    "without bias": (KINDS, {"bias": False}),
    "linear before reset, without bias": (("GRU",), {"linear_before_reset": 1, "bias": False}),
    "clipped": (KINDS, {"clip": 0.3}),
    "linear before reset, clipped": (("GRU",), {"linear_before_reset": 1, "clip": 0.3}),
    "with peepholes": (("LSTM",), {"peephole": True}),
    "coupled": (("LSTM",), {"input_forget": 1}),
    "coupled, with peepholes": (("LSTM",), {"input_forget": 1, "peephole": True}),
    "relu": (("RNN",), {"activations": ["Relu"]}),
    "affine": (
        ("RNN",),
        {"activations": ["Affine"], "activation_alpha": [0.4], "activation_beta": [0.1]},
    ),
    "other gates": (
        ("LSTM",),
        {
            "activations": ["HardSigmoid", "ScaledTanh", "Softsign"],
            "activation_alpha": [0.3, 0.9],
            "activation_beta": [0.4, 0.7],
        },
    ),
    "hard gates": (("GRU",), {"activations": ["HardSigmoid", "LeakyRelu"]}),
}
CASES = [
    pytest.param(kind, direction, form, id=f"{kind} {direction}, {form}")
    for form, (kinds, _) in FORMS.items()
    for kind in kinds
    for direction in DIRECTIONS
]


def layer(
    kind: str, direction: str, form: str, *, states: bool = False, lengths: bool = False
) -> Builder:
    """A layer whose outputs are those of the graph."""
    settings = dict(FORMS[form][1])
    count = 2 if direction == "bidirectional" else 1
    for name in ("activations", "activation_alpha", "activation_beta"):
        if name in settings:
            settings[name] = settings[name] * count
    b = Builder(rng=np.random.default_rng(7))
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    initial = [
        b.floats(name, (count, BATCH, UNITS), [count, "B", UNITS])
        for name in (("first_h", "first_c") if kind == "LSTM" else ("first_h",))
        if states
    ]
    read = b.input("lengths", np.array([3, 5, 1], np.int32), ["B"]) if lengths else ""
    outputs = b.recurrent(
        kind, x, WIDTH, UNITS, direction, initial=initial, lengths=read, **settings
    )
    for at, value in enumerate(outputs):
        b.output(value, f"y{at}", [None] * (4 if at == 0 else 3))
    return b


@pytest.mark.parametrize(("kind", "direction", "form"), CASES)
def test_layer_is_that_of_onnx_runtime(kind: str, direction: str, form: str) -> None:
    b = layer(kind, direction, form)
    assert_same(b.model(), b.feeds, 1e-5)


@pytest.mark.parametrize("lengths", [False, True], ids=["of one length", "of many lengths"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_taken_and_sequences_end_where_they_end(
    kind: str, direction: str, lengths: bool
) -> None:
    b = layer(kind, direction, "without bias", states=True, lengths=lengths)
    assert_same(b.model(), b.feeds, 1e-5)


def test_lengths_that_are_all_the_same_are_no_obstacle() -> None:
    b = layer("LSTM", "bidirectional", "as torch has it", lengths=True)
    b.feeds["lengths"] = np.full(BATCH, STEPS, np.int32)
    assert_same(b.model(), b.feeds, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first_layout_is_the_other_one_turned(kind: str) -> None:
    """ONNX Runtime has no such layout: the reference is the layout that it has."""
    b = layer(kind, "bidirectional", "without bias", states=True)
    wanted = run(b.model(), b.feeds)
    b.nodes[0].attribute.append(helper.make_attribute("layout", 1))
    feeds = {name: value.swapaxes(0, 1) for name, value in b.feeds.items()}
    with torch.no_grad():
        found = TorchGraph.of(b.model())(tensors(feeds), list(wanted))
    np.testing.assert_allclose(found["y0"], wanted["y0"].transpose(2, 0, 1, 3), atol=1e-5)
    np.testing.assert_allclose(found["y1"], wanted["y1"].swapaxes(0, 1), atol=1e-5)


GRADIENTS = [
    ("LSTM", "as torch has it", False),
    ("LSTM", "as torch has it", True),
    ("LSTM", "coupled, with peepholes", False),
    ("GRU", "linear before reset", False),
    ("GRU", "linear before reset", True),
    ("GRU", "reset before linear", False),
    ("RNN", "as torch has it", False),
    ("RNN", "affine", True),
]


@pytest.mark.parametrize(("kind", "form", "lengths"), GRADIENTS)
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_gradients_are_differences_of_onnx_runtimes_outputs(
    kind: str, form: str, lengths: bool, direction: str
) -> None:
    b = layer(kind, direction, form, lengths=lengths)
    graph = TorchGraph.of(b.model())
    names = [name for name in b.nodes[0].input[1:] if name in b.constants]
    assert sorted(graph.weights) == sorted(names)
    wanted = run(b.model(), b.feeds)
    factors = {name: floats(*value.shape, seed=3) for name, value in wanted.items()}
    outputs = graph(tensors(b.feeds), list(wanted))
    sum((outputs[n] * torch.from_numpy(f)).sum() for n, f in factors.items()).backward()

    def loss(name: str, value: np.ndarray) -> float:
        other = Builder(b.opset, b.rng, b.nodes, {**b.constants, name: value}, b.inputs, b.outputs)
        made = run(other.model(), b.feeds)
        return sum(float((made[n].astype(float) * f).sum()) for n, f in factors.items())

    for name in names:
        way = floats(*b.constants[name].shape, seed=5) * np.float32(3e-3)
        value = b.constants[name]
        slope = loss(name, value + way) - loss(name, value - way)
        gradient = graph.weights[name].grad
        assert gradient is not None
        assert 2 * float((gradient * torch.from_numpy(way)).sum()) == pytest.approx(
            slope, rel=5e-3, abs=5e-4
        )


def test_gradients_of_torchs_layer_are_those_step_by_step() -> None:
    """The same graph with lengths that are all the same, and with an infinite limit of numbers."""
    found = []
    for clip in (None, 1e9):
        b = layer("LSTM", "bidirectional", "as torch has it")
        if clip is not None:
            b.nodes[0].attribute.append(helper.make_attribute("clip", clip))
        graph = TorchGraph.of(b.model())
        outputs = graph(tensors(b.feeds), ["y0", "y1", "y2"])
        sum(each.square().sum() for each in outputs.values()).backward()
        found.append([each.grad for each in graph.weights.values()])
    for fused, slow in zip(*found, strict=True):
        torch.testing.assert_close(fused, slow, rtol=1e-4, atol=1e-5)


def test_initial_state_that_is_a_constant_stays_and_what_computes_one_is_trained() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", BATCH, WIDTH])
    zeros = b.constant(np.zeros((1, BATCH, UNITS)), np.float32)
    matrix = b.weights(WIDTH, UNITS)
    first = b.node("Slice", [x, b.constant([0]), b.constant([1]), b.constant([0])])
    computed = b.node("MatMul", [first, matrix])
    outputs = b.recurrent("LSTM", x, WIDTH, UNITS, initial=[computed, zeros])
    graph = assert_same(built(b, outputs[0]), b.feeds, 1e-5)
    assert matrix in graph.weights
    assert zeros not in graph.weights


def test_activation_that_is_not_known_is_refused_with_its_name() -> None:
    b = layer("RNN", "forward", "relu")
    next(each for each in b.nodes[0].attribute if each.strings).strings[:] = [b"Sine"]
    with pytest.raises(NotTrainable, match="RNN 'rnn_0': its activation sine is not supported"):
        TorchGraph.of(b.model())


def test_trained_layer_is_the_modules_own() -> None:
    """One step of descent changes the graph as it changes the module that it was exported from."""
    torch.manual_seed(0)
    module = nn.LSTM(WIDTH, UNITS)
    x = torch.from_numpy(floats(STEPS, BATCH, WIDTH))
    b = Builder()
    order = [0, 3, 1, 2]  # i, o, f, c from torch's i, f, g, o

    def gates(value: torch.Tensor) -> np.ndarray:
        return np.concatenate([value.detach().chunk(4)[at].numpy() for at in order])

    own = [getattr(module, f"{name}_l0") for name in ("weight_ih", "weight_hh")]
    biases = [module.bias_ih_l0, module.bias_hh_l0]
    names = [b.constant(gates(each)[None], np.float32) for each in own]
    names.append(b.constant(np.concatenate([gates(each) for each in biases])[None], np.float32))
    b.input("x", x.numpy(), [None] * 3)
    b.node("LSTM", ["x", *names], ["y"], hidden_size=UNITS)
    graph = TorchGraph.of(built(b, "y"))
    for network, made in (
        (module, module(x)[0]),
        (graph, graph({"x": x}, ["y0"])["y0"]),
    ):
        made.square().sum().backward()
        torch.optim.SGD(network.parameters(), 0.1).step()
    np.testing.assert_allclose(graph.trained_weights()[names[0]][0], gates(own[0]), atol=1e-5)
    np.testing.assert_allclose(graph.trained_weights()[names[1]][0], gates(own[1]), atol=1e-5)
