"""What inputs hold, by the graph and by what was recorded."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.kinds.graphs.distilling.input_kinds import (
    FIXED,
    InputKind,
    initial_states,
    input_kinds,
)
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from tests.compress.onnx.drawing import Builder

STEPS, BATCH, WIDTH, UNITS = 12, 2, 6, 4
RNG = np.random.default_rng(0)


def network(*, words: bool = False, seen_twice: bool = False) -> GraphNetwork:
    """Reads x or ids, with a mask, lengths and a state."""
    b = Builder()
    if words:
        ids = b.input("ids", np.zeros((STEPS, BATCH), np.int64), ["T", "B"])
        x = b.node("Gather", [b.weights(20, WIDTH), ids])
        if seen_twice:
            padded = b.node("Cast", [b.node("Equal", [ids, b.constant(0)])], to=1)
            x = b.node("Mul", [x, b.unsqueeze(padded, 2)])
    else:
        x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    masked = b.node("Mul", [x, b.floats("mask", (STEPS, BATCH, 1), ["T", "B", 1])])
    state = b.floats("state", (BATCH, 1, UNITS), ["B", 1, UNITS])
    turned = b.node("Transpose", [state], perm=[1, 0, 2])
    lengths = b.input("lengths", np.full(BATCH, STEPS, np.int32), ["B"])
    steps = b.recurrent("GRU", masked, WIDTH, UNITS, lengths=lengths, initial=[turned])[0]
    b.output(b.node("MatMul", [b.squeeze(steps, 1), b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    return GraphNetwork.from_model(simplified(b.model()))


def runs(given: dict[str, object], count: int = 3) -> list[dict[str, np.ndarray]]:
    rest = {
        "mask": RNG.integers(0, 2, (STEPS, BATCH, 1)).astype(np.float32),
        "state": RNG.normal(0, 1, (BATCH, 1, UNITS)).astype(np.float32),
        "lengths": np.full(BATCH, STEPS, np.int32),
    }
    return [
        {**rest, **{name: np.asarray(make()) for name, make in given.items()}}  # type: ignore[operator]
        for _ in range(count)
    ]


def sound() -> np.ndarray:
    return RNG.normal(0, 0.3, (STEPS, BATCH, WIDTH)).astype(np.float32)


def test_masks_lengths_and_states_are_never_varied() -> None:
    kinds = input_kinds(network(), runs({"x": sound}))
    assert {name for name, kind in kinds.items() if kind == FIXED} == {"mask", "state", "lengths"}
    assert initial_states(network()) == {"state"}


@pytest.mark.parametrize(
    ("level", "is_centred"),
    [(0.0, True), (-4.0, False)],
    ids=["a sound", "a logarithm"],
)
def test_a_signal_is_known_by_where_its_numbers_lie(level: float, *, is_centred: bool) -> None:
    kind = input_kinds(network(), runs({"x": lambda: sound() + np.float32(level)}))["x"]
    assert (kind.family, kind.centred) == ("signal", is_centred)
    assert kind.deviation == pytest.approx(0.3, rel=0.2)
    assert kind.lowest < level < kind.highest


def test_magnitudes_are_louder_by_a_factor() -> None:
    assert input_kinds(network(), runs({"x": lambda: np.abs(sound())}))["x"].centred


def test_time_passes_in_the_dimension_that_differs_else_in_the_longest_one() -> None:
    assert input_kinds(network(), runs({"x": sound}))["x"].steps == 0
    lengths = iter((3, 4, 5))
    different = runs({"x": lambda: sound()[: next(lengths)]})
    assert input_kinds(network(), different)["x"].steps == 0
    wide = runs({"x": lambda: RNG.normal(0, 1, (5, 40, WIDTH)).astype(np.float32)})
    assert input_kinds(network(), wide, apart={"x": 1})["x"].steps == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.float32(0.5),
        lambda: np.full((STEPS, BATCH, WIDTH), np.nan, np.float32),
        lambda: RNG.choice(np.array([0, -1e9], np.float32), (STEPS, BATCH, WIDTH)),
        lambda: RNG.integers(3, 9, (BATCH,)).astype(np.float32),
    ],
    ids=["single", "not finite", "a mask to add", "lengths as floats"],
)
def test_floats_that_are_no_signal_stay(make: object) -> None:
    assert input_kinds(network(), runs({"x": make}))["x"] == FIXED


def test_ids_are_what_is_looked_up_in_a_table_and_nothing_else() -> None:
    ids = runs({"ids": lambda: RNG.integers(1, 9, (STEPS, BATCH))})
    assert input_kinds(network(words=True), ids)["ids"] == InputKind(
        "ids", known=tuple(range(1, 9))
    )
    # Where padding is told from ids by a comparison, another id would be another length.
    assert input_kinds(network(words=True, seen_twice=True), ids)["ids"] == FIXED
