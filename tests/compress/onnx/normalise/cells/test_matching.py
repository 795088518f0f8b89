"""Cells are told apart by their forms, and what is none is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.normalise.cells.forms import (
    Form,
    Forms,
    NotACell,
    added,
    constant,
    multiplied,
)
from isslim.compress.onnx.normalise.cells.matching import FoundCell, Step, cell_of

UNITS, WIDTH = 3, 2
ONE = constant(np.ones(1))


class Cell:
    """Values of a step, with random weights."""

    def __init__(self) -> None:
        self.forms, self.rng = Forms(), np.random.default_rng(0)
        self.x = self.forms.entering("x", WIDTH)
        self.h, self.c = (self.forms.entering(name, UNITS) for name in "hc")
        self.weights: list[np.ndarray] = []

    def sum(self, *, recurrent: Form | None = None) -> Form:
        weight, state, bias = (
            self.rng.normal(size=shape) for shape in ((WIDTH, UNITS), (UNITS, UNITS), UNITS)
        )
        self.weights += [weight, state, bias]
        made = added(multiplied(self.x, weight), multiplied(recurrent or self.h, state))
        return added(made, constant(bias))

    def gate(self, name: str = "Sigmoid") -> Form:
        return self.forms.function(name, self.sum())

    def found(self, *updates: Form) -> FoundCell:
        states = [self.h.atom, self.c.atom][: len(updates)]
        return cell_of(Step(self.x.atom, states, updates))  # type: ignore[arg-type]


def lstm(cell: Cell, last: str = "Sigmoid") -> tuple[Form, Form]:
    i, f, g = cell.gate(), cell.gate(), cell.gate("Tanh")
    kept = added(cell.forms.product(f, cell.c), cell.forms.product(i, g))
    return cell.forms.product(cell.gate(last), cell.forms.function("Tanh", kept)), kept


def test_the_gates_of_an_lstm_are_in_the_order_of_the_operator() -> None:
    cell = Cell()
    hidden, kept = lstm(cell)
    found = cell.found(hidden, kept)
    assert (found.kind, found.states, found.units) == ("LSTM", (0, 1), UNITS)
    i, f, g, o = (cell.weights[3 * at] for at in range(4))
    expected = np.concatenate([each.T for each in (i, o, f, g)])
    np.testing.assert_array_equal(found.weight, expected.astype(np.float32))


def test_states_may_be_carried_in_either_order() -> None:
    cell = Cell()
    cell.h, cell.c = cell.c, cell.h
    hidden, kept = lstm(cell)
    step = Step(cell.x.atom, [cell.c.atom, cell.h.atom], [kept, hidden])  # type: ignore[arg-type]
    assert cell_of(step).states == (1, 0)


def test_gates_with_different_activations_are_refused() -> None:
    cell = Cell()
    with pytest.raises(NotACell, match="its gates have different activations"):
        cell.found(*lstm(cell, last="Relu"))


@pytest.mark.parametrize("kind", ["doubled", "swapped", "none"])
def test_a_mixture_that_is_no_grus_is_refused(kind: str) -> None:
    cell = Cell()
    z, n = cell.gate(), cell.gate("Tanh")
    product = cell.forms.product
    left = added(ONE, z, -1.0)
    updates = {
        "doubled": added(product(z, cell.h), product(left, added(n, n))),
        "swapped": added(product(left, cell.h), product(z, n)),
        "none": added(added(z, n), cell.h),
    }
    with pytest.raises(NotACell, match="no GRU's mixture"):
        cell.found(updates[kind])


def test_a_gru_without_a_reset_gate_is_refused() -> None:
    cell = Cell()
    z, n = cell.gate(), cell.gate("Tanh")
    mixed = added(cell.forms.product(z, cell.h), cell.forms.product(added(ONE, z, -1.0), n))
    with pytest.raises(NotACell, match="no state that a reset gate multiplies"):
        cell.found(mixed)


def test_a_gru_whose_reset_gate_multiplies_the_input_too_is_refused() -> None:
    cell = Cell()
    z, r = cell.gate(), cell.gate()
    n = cell.forms.function("Tanh", cell.forms.product(r, cell.sum()))
    mixed = added(cell.forms.product(z, cell.h), cell.forms.product(added(ONE, z, -1.0), n))
    with pytest.raises(NotACell, match="multiplies what comes of the input"):
        cell.found(mixed)


def test_a_state_with_a_residual_is_refused() -> None:
    cell = Cell()
    with pytest.raises(NotACell, match="a gate reads more than"):
        cell.found(added(cell.gate("Tanh"), cell.h))


def test_two_states_that_do_not_make_an_lstm_are_refused() -> None:
    cell = Cell()
    with pytest.raises(NotACell, match="it carries 2 states"):
        cell.found(cell.gate("Tanh"), cell.gate("Tanh"))


def test_an_output_without_its_gate_is_refused() -> None:
    cell = Cell()
    _, kept = lstm(cell)
    with pytest.raises(NotACell, match="it carries 2 states"):
        cell.found(cell.forms.function("Tanh", kept), kept)
