"""What sites read, compared with what layers make of it by their equations; and a repair."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isslim.compress.onnx.activation_capture import LayerView, MatrixView
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.rewrite.named_arrays import LayerSite
from isslim.compress.pruning import axes
from isslim.compress.pruning.moments import Moments
from isslim.compress.pruning.repair import repair
from tests.compress.onnx.drawing import BATCH, Builder
from tests.compress.onnx.drawing import GATES as GATES_OF
from tests.compress.onnx.proving import cut, run

STEPS, WIDTH, UNITS = 6, 3, 4
LENGTHS = np.array([6, 2, 4], np.int32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(
    kind: str, direction: str, *, lengths: bool, reset: int = 0, **more: object
) -> tuple[Builder, int]:
    """A layer with an initial state and a matrix behind its output."""
    b = Builder(rng=np.random.default_rng(7))
    count = 2 if direction == "bidirectional" else 1
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    state = b.floats("h0", (count, BATCH, UNITS), [count, "B", UNITS])
    ends = b.input("lengths", LENGTHS, ["B"]) if lengths else ""
    attributes = {"linear_before_reset": reset, **more} if kind == "GRU" else {}
    outputs = b.recurrent(
        kind, x, WIDTH, UNITS, direction, initial=[state], lengths=ends, **attributes
    )
    turned = b.node("Transpose", [outputs[0]], perm=[0, 2, 1, 3])
    b.output(
        b.node("Reshape", [turned, b.constant([0, 0, -1])]), "shown", ["T", "B", count * UNITS]
    )
    merged = b.node("Reshape", [turned, b.constant([0, 0, -1])])
    b.output(b.node("MatMul", [merged, b.weights(count * UNITS, 2)]), "y", ["T", "B", 2])
    return b, count


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "reset"), [("RNN", 0), ("GRU", 0), ("GRU", 1)])
def test_the_equations_make_of_what_was_seen_what_the_layer_gave(
    kind: str, reset: int, direction: str, lengths: bool
) -> None:
    b, count = drawn(kind, direction, lengths=lengths, reset=reset)
    shown = run(simplified(b.model()), b.feeds)["shown"]  # (T, B, D H)
    b.outputs = [port for port in b.outputs if port.name == "y"]
    b.nodes = [node for node in b.nodes if "shown" not in node.output]
    network = GraphNetwork.from_model(simplified(b.model()))
    observer = network.observer()
    rows = observer.rows(run(observer.model, b.feeds))
    assert rows.keys() == {site.name for site in network.declaration().sites}
    real = np.arange(STEPS)[:, None] < LENGTHS if lengths else np.ones((STEPS, BATCH), bool)
    directions = {"forward": ["forward"], "reverse": ["backward"]}.get(
        direction, ["forward", "backward"]
    )
    for index, name in enumerate(directions):
        expected = shown[..., index * UNITS : (index + 1) * UNITS][real]
        made = _answer(kind, reset, network.arrays(), f"{kind.lower()}_0.{name}", rows, sigmoid)
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
    matrix = next(site.name for site in network.declaration().sites if "_0." not in site.name)
    np.testing.assert_allclose(rows[matrix], shown.reshape(-1, count * UNITS), rtol=1e-6, atol=1e-7)


GATES: dict[str, tuple[dict[str, object], Callable[[np.ndarray], np.ndarray]]] = {
    "Sigmoid": ({}, sigmoid),
    "Sigmoid clipped": ({"clip": 0.4}, lambda x: sigmoid(np.clip(x, -0.4, 0.4))),
    "HardSigmoid": ({}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    "HardSigmoid of its own": (
        {"activation_alpha": [0.3, 0.3], "activation_beta": [0.4, 0.4]},
        lambda x: np.clip(0.3 * x + 0.4, 0, 1),
    ),
    "Tanh": ({}, np.tanh),
    "Relu": ({}, lambda x: np.maximum(x, 0)),
    "LeakyRelu": ({}, lambda x: np.where(x >= 0, x, 0.01 * x)),
    # ONNX Runtime's own default is not that of the operator of this name, which the layer's page
    # refers to.
    "ThresholdedRelu": ({"activation_alpha": [1.0]}, lambda x: np.where(x >= 1, x, 0)),
    "ScaledTanh": (
        {"activation_alpha": [1.5, 1.5], "activation_beta": [0.5, 0.5]},
        lambda x: 1.5 * np.tanh(0.5 * x),
    ),
    "Elu": ({}, lambda x: np.where(x >= 0, x, np.exp(x) - 1)),
    "Affine": (
        {"activation_alpha": [0.5, 0.5], "activation_beta": [0.2, 0.2]},
        lambda x: 0.5 * x + 0.2,
    ),
    "Softsign": ({}, lambda x: x / (1 + np.abs(x))),
    "Softplus": ({}, lambda x: np.log(1 + np.exp(x))),
}  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "direction"),
    [
        *((gate, "forward") for gate in GATES),
        # In the others a state may grow without end.
        *(
            (gate, "bidirectional")
            for gate in ("Sigmoid clipped", "HardSigmoid", "HardSigmoid of its own", "Tanh")
        ),
    ],
)
def test_a_reset_gate_of_any_activation_is_what_the_layer_multiplies_with(
    gate: str, direction: str
) -> None:
    attributes, function = GATES[gate]
    count = 2 if direction == "bidirectional" else 1
    names = [gate.split()[0], "Tanh"] * count
    clip = float(attributes.get("clip", np.inf))  # type: ignore[arg-type]
    b, _ = drawn("GRU", direction, lengths=True, activations=names, **attributes)
    shown = run(simplified(b.model()), b.feeds)["shown"]
    b.outputs = [port for port in b.outputs if port.name == "y"]
    b.nodes = [node for node in b.nodes if "shown" not in node.output]
    network = GraphNetwork.from_model(simplified(b.model()))
    observer = network.observer()
    rows = observer.rows(run(observer.model, b.feeds))
    real = np.arange(STEPS)[:, None] < LENGTHS
    for index, name in enumerate(("forward", "backward")[:count]):
        expected = shown[..., index * UNITS : (index + 1) * UNITS][real]
        made = _answer("GRU", 0, network.arrays(), f"gru_0.{name}", rows, function, clip)
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


def _answer(
    kind: str,
    reset: int,
    arrays: axes.Arrays,
    name: str,
    rows: dict[str, np.ndarray],
    gate: Callable[[np.ndarray], np.ndarray],
    clip: float = np.inf,
) -> np.ndarray:
    """The layer's output at every row, by the equations of the ONNX page."""
    weight, recurrence, bias = (
        arrays[f"{name}.{part}"] for part in ("weight", "recurrence", "bias")
    )
    if kind == "RNN":
        x, h = np.split(rows[name], [WIDTH], axis=1)
        return np.tanh(x @ weight.T + h @ recurrence.T + bias)
    recurrence_bias = arrays[f"{name}.recurrence_bias"]
    if f"{name}.input" in rows:
        x, h = rows[f"{name}.input"], rows[f"{name}.recurrent"]
    else:
        x, h = np.tile(_inputs(len(rows[f"{name}.recurrent"])), 1), rows[f"{name}.recurrent"]
    own = np.split(x @ weight.T + bias, 3, axis=1)
    if reset:
        across = np.split(h @ recurrence.T + recurrence_bias, 3, axis=1)
        z, r = gate(own[0] + across[0]), gate(own[1] + across[1])
        candidate = np.tanh(own[2] + r * across[2])
    else:
        across = np.split(h @ recurrence.T + recurrence_bias, 2, axis=1)
        z, r = gate(own[0] + across[0]), gate(own[1] + across[1])
        held = rows[f"{name}.candidate"]
        np.testing.assert_allclose(held, r * h, rtol=1e-5, atol=1e-6)
        read = own[2] + held @ arrays[f"{name}.candidate"].T + arrays[f"{name}.candidate_bias"]
        candidate = np.tanh(np.clip(read, -clip, clip))
    return (1 - z) * candidate + z * h


def _inputs(count: int) -> np.ndarray:
    """The layer's input at its real steps: it is the graph's own, which no site reads."""
    b, _ = drawn("GRU", "forward", lengths=True)
    x = b.feeds["x"]
    return (
        x.reshape(-1, WIDTH) if count == STEPS * BATCH else x[np.arange(STEPS)[:, None] < LENGTHS]
    )


@pytest.mark.parametrize(("kind", "reset"), [("LSTM", 0), ("RNN", 0), ("GRU", 0), ("GRU", 1)])
def test_a_repair_tells_removed_twins_by_those_that_stay(kind: str, reset: int) -> None:
    b, gates = Builder(rng=np.random.default_rng(3)), GATES_OF[kind]
    weights = [
        b.weights(1, gates * UNITS, WIDTH),
        b.weights(1, gates * UNITS, UNITS),
        b.weights(1, 2 * gates * UNITS),
    ]
    matrix = b.weights(2 * UNITS, 2)
    # Units H..2H are copies of 0..H: the same rows, and each reads both of every pair by halves.
    w, r, bias = (b.constants[name] for name in weights)
    w, bias = (
        np.repeat(v.reshape(1, -1, 1, UNITS, v.shape[-1] if v.ndim == 3 else 1), 2, axis=2)
        for v in (w, bias)
    )
    r = np.repeat(r.reshape(1, gates, 1, UNITS, UNITS), 2, axis=2)
    r = np.concatenate([r / 2, r / 2], axis=-1)
    b.constants |= {
        weights[0]: w.reshape(1, 2 * gates * UNITS, WIDTH),
        weights[1]: r.reshape(1, 2 * gates * UNITS, 2 * UNITS),
        weights[2]: bias.reshape(1, 4 * gates * UNITS),
    }
    x = b.floats("x", (40, BATCH, WIDTH), ["T", "B", WIDTH])
    attributes = {"linear_before_reset": reset} if kind == "GRU" else {}
    b.node(kind, [x, *weights], ["a"], hidden_size=2 * UNITS, **attributes)
    b.output(b.node("MatMul", [b.squeeze("a", 1), matrix]), "y", ["T", "B", 2])
    model = simplified(b.model())
    network = GraphNetwork.from_model(model)
    observer = network.observer()
    moments = {
        name: Moments.of(rows) for name, rows in observer.rows(run(observer.model, b.feeds)).items()
    }
    keep = {f"units:{kind.lower()}_0.forward": np.arange(UNITS)}
    repaired = repair(network.arrays(), network.declaration(), keep, moments)
    small, _ = axes.select_components(repaired, network.declaration(), keep)
    expected = run(model, b.feeds)["y"]
    plain = np.abs(run(cut(network, keep).model(), b.feeds)["y"] - expected).max()
    made = run(network.rebuilt(small).model(), b.feeds)["y"]
    assert plain > 0.3
    np.testing.assert_allclose(made, expected, rtol=0, atol=0.01 * np.abs(expected).max())
    silent = run(network.rebuilt(repaired).masked_reference(keep), b.feeds)["y"]
    np.testing.assert_allclose(made, silent, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_a_repair_of_a_kernel_tells_removed_twins_by_those_that_stay(bias: bool) -> None:
    b = Builder(rng=np.random.default_rng(3))
    x = b.floats("x", (40, BATCH, WIDTH), ["T", "B", WIDTH])
    # Units H..2H are copies of 0..H.
    rows = np.tile(b.rng.normal(0, 0.7, (1, UNITS, WIDTH)), (1, 2, 1))
    weights = [b.constant(rows, np.float32), b.weights(1, 2 * UNITS, 2 * UNITS, scale=0)]
    b.node("RNN", [x, *weights], ["a"], hidden_size=2 * UNITS)
    read = b.node("Transpose", [b.squeeze("a", 1)], perm=[1, 2, 0])
    kernel, added = b.weights(2, 2 * UNITS, 3), [b.weights(2)] if bias else []
    form = {"pads": [2, 2], "dilations": [2], "strides": [3]}
    b.output(b.node("Conv", [read, kernel, *added], **form), "y", ["B", 2, "T"])  # type: ignore[arg-type]
    network = GraphNetwork.from_model(simplified(b.model()))
    observer = network.observer()
    seen = observer.rows(run(observer.model, b.feeds))
    assert seen[kernel].shape == (14 * 3 * BATCH, 2 * UNITS)  # 14 positions of 3 places each
    moments = {name: Moments.of(each) for name, each in seen.items()}
    keep = {"units:rnn_0.forward": np.arange(UNITS)}
    repaired = repair(network.arrays(), network.declaration(), keep, moments)
    small, _ = axes.select_components(repaired, network.declaration(), keep)
    expected = run(network.model(), b.feeds)["y"]
    plain = np.abs(run(cut(network, keep).model(), b.feeds)["y"] - expected).max()
    made = run(network.rebuilt(small).model(), b.feeds)["y"]
    assert plain > 0.3
    np.testing.assert_allclose(made, expected, rtol=0, atol=0.01 * np.abs(expected).max())
    silent = run(network.rebuilt(repaired).masked_reference(keep), b.feeds)["y"]
    np.testing.assert_allclose(made, silent, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "reset"), [("LSTM", 0), ("RNN", 0), ("GRU", 0), ("GRU", 1)])
def test_every_site_has_the_view_of_its_kind(kind: str, reset: int) -> None:
    b, _ = drawn(kind, "bidirectional", lengths=True, reset=reset)
    b.outputs = [port for port in b.outputs if port.name == "y"]
    network = GraphNetwork.from_model(simplified(b.model()))
    observer = network.observer()
    assert observer.sites.keys() == {site.name for site in network.declaration().sites}
    for name, (view,) in observer.sites.items():
        if isinstance(view, MatrixView):
            assert view.features == -1
            continue
        assert isinstance(view, LayerView)
        assert name.endswith(view.site.value)
        assert (view.site is LayerSite.JOINT) == (kind != "GRU")
        assert view.backward == (view.direction == 1) == ("backward" in name)
        assert (view.reset is not None) == (kind == "GRU" and not reset)
        assert view.lengths is not None
        assert view.initial is not None


def test_steps_of_a_sequence_that_has_none_are_no_rows() -> None:
    b, _ = drawn("GRU", "bidirectional", lengths=True)
    b.outputs = [port for port in b.outputs if port.name == "y"]
    network = GraphNetwork.from_model(simplified(b.model()))
    observer = network.observer()
    b.feeds["lengths"] = np.array([2, 0, 1], np.int32)
    rows = observer.rows(run(observer.model, b.feeds))
    layer = {name: each for name, each in rows.items() if name.startswith("gru_0")}
    assert {len(each) for each in layer.values()} == {3}
    # The first row of the backward direction at a sequence's last step is its initial state.
    initial = b.feeds["h0"][1]
    backward = rows["gru_0.backward.recurrent"]  # steps first: (0, 0), (0, 2), (1, 0)
    np.testing.assert_array_equal(backward[[1, 2]], initial[[2, 0]])
