"""The masked reference is the original with the units at zero, by the layers' own equations."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.masked_reference import masked_reference
from isslim.compress.onnx.model.recurrent import B, P, R, W, cell, view
from isslim.compress.onnx.model.split_model import split_constants
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.model.test_recurrent import unrolled
from tests.compress.onnx.proving import run
from tests.compress.onnx.rewrite.made import UNITS, WIDTH, traced

KEPT = np.array([1, 3])
GONE = np.setdiff1d(np.arange(UNITS), KEPT)


def masked(b: Builder) -> dict[str, np.ndarray]:
    """What the reference gives where every axis keeps the same units."""
    trace, _, meaning = traced(b)
    keep = dict.fromkeys(meaning.declaration.axes, KEPT)
    assert keep
    source = split_constants(simplified(b.model()))
    before = source.structure.SerializeToString()
    made = masked_reference(source, trace, keep)
    assert source.structure.SerializeToString() == before
    return run(made, b.feeds)


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "LSTM peephole", "GRU", "GRU linear", "RNN"])
def test_the_units_are_at_zero_in_every_step_of_the_layers_own_equations(
    kind: str, initial: bool
) -> None:
    b = Builder(rng=np.random.default_rng(5))
    operator = kind.split()[0]
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    state = b.floats("h0", (1, BATCH, UNITS), [1, "B", UNITS])
    more = {"linear_before_reset": 1} if kind == "GRU linear" else {}
    steps = b.recurrent(
        operator, x, WIDTH, UNITS,
        initial=[state] if initial else None, peephole="peephole" in kind, **more,
    )[0]  # fmt: skip
    matrix = b.weights(UNITS, 2)
    b.output(b.node("MatMul", [b.squeeze(steps, 1), matrix]), "y", ["T", "B", 2])
    seen = view(b.nodes[0])
    assert seen is not None
    names = {at: seen.given(at) for at in (W, R, B, P) if seen.given(at)}
    weights = {at: b.constants[name].copy() for at, name in names.items()}
    for at, value in weights.items():
        width = value.shape[2:] if at in (W, R) else ()
        value.reshape(-1, UNITS, *width)[:, GONE] = 0
    h = b.feeds["h0"][0].copy() if initial else np.zeros((BATCH, UNITS), np.float32)
    h[:, GONE] = 0
    states = unrolled(operator, cell(seen, 0, weights), b.feeds["x"], h)
    assert not states[..., GONE].any()
    np.testing.assert_allclose(masked(b)["y"], states @ b.constants[matrix], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", ["Sigmoid", "Exp", "Cos"])
def test_what_makes_another_number_of_zero_is_not_read_at_removed_units(operator: str) -> None:
    b = Builder(rng=np.random.default_rng(5))
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.squeeze(b.recurrent("GRU", x, WIDTH, UNITS)[0], 1)
    matrix = b.weights(UNITS, 2)
    b.output(b.node("MatMul", [b.node(operator, [steps]), matrix]), "y", ["T", "B", 2])
    # With its columns at zero the matrix reads nothing of the units, whatever they are.
    seen = view(b.nodes[0])
    assert seen is not None
    weights = {at: b.constants[seen.given(at)].copy() for at in (W, R, B)}
    for at, value in weights.items():
        value.reshape(-1, UNITS, *(value.shape[2:] if at in (W, R) else ()))[:, GONE] = 0
    states = unrolled("GRU", cell(seen, 0, weights), b.feeds["x"], np.zeros((BATCH, UNITS)))
    formula = {"Sigmoid": lambda v: 1 / (1 + np.exp(-v)), "Exp": np.exp, "Cos": np.cos}[operator]
    expected = formula(states)[..., KEPT] @ b.constants[matrix][KEPT]
    np.testing.assert_allclose(masked(b)["y"], expected, rtol=1e-4, atol=1e-5)


def test_a_layer_above_does_not_read_removed_units_that_are_not_zero() -> None:
    b = Builder(rng=np.random.default_rng(6))
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    below = b.node("Sigmoid", [b.squeeze(b.recurrent("RNN", x, WIDTH, UNITS)[0], 1)])
    above = b.squeeze(b.recurrent("RNN", below, UNITS, UNITS)[0], 1)
    matrix = b.weights(UNITS, 2)
    b.output(b.node("MatMul", [above, matrix]), "y", ["T", "B", 2])
    states = b.feeds["x"]
    for index, node in enumerate(each for each in b.nodes if each.op_type == "RNN"):
        seen = view(node)
        assert seen is not None
        weights = {at: b.constants[seen.given(at)].copy() for at in (W, R, B)}
        for at, value in weights.items():
            value.reshape(-1, UNITS, *(value.shape[2:] if at in (W, R) else ()))[:, GONE] = 0
        if index:
            weights[W][:, :, GONE] = 0
        states = unrolled("RNN", cell(seen, 0, weights), states, np.zeros((BATCH, UNITS)))
        states = 1 / (1 + np.exp(-states)) if index == 0 else states
    np.testing.assert_allclose(masked(b)["y"], states @ b.constants[matrix], rtol=1e-5, atol=1e-5)


def test_a_divisor_stays_as_it_is() -> None:
    b = Builder(rng=np.random.default_rng(7))
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.squeeze(b.recurrent("GRU", x, WIDTH, UNITS)[0], 1)
    divisor = b.constant(b.rng.uniform(1, 2, UNITS), np.float32)
    b.output(b.node("MatMul", [b.node("Div", [steps, divisor]), b.weights(UNITS, 2)]), "y",
             ["T", "B", 2])  # fmt: skip
    assert np.isfinite(masked(b)["y"]).all()


def test_keeping_everything_is_the_graph_as_it_was() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    b.output(b.node("MatMul", [b.squeeze(b.recurrent("GRU", x, WIDTH, UNITS)[0], 1),
                               b.weights(UNITS, 2)]), "y", ["T", "B", 2])  # fmt: skip
    trace, _, meaning = traced(b)
    for keep in ({}, {name: np.arange(UNITS) for name in meaning.declaration.axes}):
        made = masked_reference(split_constants(simplified(b.model())), trace, keep)
        np.testing.assert_array_equal(run(made, b.feeds)["y"], run(b.model(), b.feeds)["y"])
