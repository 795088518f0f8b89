"""Which recurrent operator computes the forms of a step, and with which weights.

    LSTM   c' = f c + i g, h' = o a(c')
    GRU    h' = z h + (1 - z) n; n reads r (h U + b), or (r h) U
    RNN    h' = a(x W + h U + b)

Every gate is an activation of x W + h U + b. https://onnx.ai/onnx/operators/onnx__LSTM.html has the
order of the gates (i, o, f, c), onnx__GRU.html (z, r, h).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from isslim.compress.onnx.normalise.cells.forms import (
    IDENTITY,
    Atom,
    Form,
    Key,
    NotACell,
    Numbers,
    is_one,
)

_ACTIVATIONS = {
    "Sigmoid": 0,
    "Tanh": 0,
    "Relu": 0,
    "Softsign": 0,
    "Softplus": 0,
    "Elu": 1,
    "LeakyRelu": 1,
    "ThresholdedRelu": 1,
    "HardSigmoid": 2,
}
"""Functions that the operators have as activations, with how many parameters."""


@dataclass(frozen=True)
class Activation:
    """An activation, by the name that recurrent operators have for it.

    Attributes:
        name: of the activation.
        parameters: alpha, then beta, as far as it takes them.
    """

    name: str
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class FoundCell:
    """A recurrent operator that computes a step.

    Attributes:
        kind: LSTM, GRU or RNN.
        states: which of the step's states is h, and c of an LSTM, by index.
        weight: W (G H, I).
        recurrence: R (G H, H).
        bias: B (2 G H,).
        activations: in the operator's order.
        linear_before_reset: of a GRU.
    """

    kind: str
    states: tuple[int, ...]
    weight: NDArray[np.float32]
    recurrence: NDArray[np.float32]
    bias: NDArray[np.float32]
    activations: tuple[Activation, ...]
    linear_before_reset: bool = False

    @property
    def units(self) -> int:
        """H."""
        return int(self.recurrence.shape[1])


@dataclass(frozen=True)
class Step:
    """The forms of a step.

    Attributes:
        inputs: what it reads of the sequence, an atom (B, I).
        states: the states as they enter, atoms (B, H).
        updates: per state its new value.
    """

    inputs: Atom
    states: Sequence[Atom]
    updates: Sequence[Form]


@dataclass(frozen=True)
class _Sum:
    """x W + (what recurs) U + b.

    Attributes:
        weight: W (I, H).
        recurrence: U (H, H).
        bias: (H,).
    """

    weight: Numbers
    recurrence: Numbers
    bias: Numbers


def cell_of(step: Step) -> FoundCell:
    """The operator of a step.

    Raises:
        NotACell: when no operator computes it.
    """
    if len(step.states) == 1:
        update = step.updates[0]
        gated = len(update.factors) == 3 and not update.matrices
        return _gru(step, update) if gated else _rnn(step, update)
    if len(step.states) == 2:
        for hidden, cell in permutations(range(2)):
            output, products = _lstm_products(step, hidden, cell)
            if products:
                return _lstm(step, (hidden, cell), output, products)
    raise NotACell(
        f"it carries {len(step.states)} states, and combines them as neither LSTM, GRU nor RNN do"
    )


def _rnn(step: Step, update: Form) -> FoundCell:
    activation, inner = _activated(_held(update))
    found = _sum(step, inner, (step.states[0],))
    return _found("RNN", (0,), [found], (activation,))


def _gru(step: Step, update: Form) -> FoundCell:
    """With z h + (1 - z) n, multiplied out to z h + n - z n."""
    state = step.states[0]
    z, n = None, None
    for key, coefficient in update.factors.items():
        if len(key) == 2 and state in key and is_one(coefficient):
            z = key[1 - key.index(state)]
        if len(key) == 1 and key[0] is not state and is_one(coefficient):
            n = key[0]
    if z is None or n is None:
        raise NotACell("its new state is no GRU's mixture of the old one and a candidate")
    mixed = update.factors.get(_sorted(z, n))
    if mixed is None or not is_one(-mixed):
        raise NotACell("its new state is no GRU's mixture of the old one and a candidate")
    gate, z_inner = _activated(z)
    last, inner = _activated(n)
    update_gate = _sum(step, z_inner, (state,))
    products = [key for key in inner.factors if key]
    if products:
        # r (h U + b): the product with the matrix comes before the reset.
        r, held, inner = _reset_after(inner, products)
        candidate = _sum(step, inner, ())
        recurrent = _sum(step, held, (state,))
        if recurrent.weight.any():
            raise NotACell("its reset gate multiplies what comes of the input")
        candidate = _Sum(candidate.weight, recurrent.recurrence, candidate.bias)
        late_bias = recurrent.bias
    else:
        keys = [key for key in inner.matrices if len(key) == 2 and state in key]
        if len(keys) != 1:
            raise NotACell("its candidate reads no state that a reset gate multiplies")
        r = keys[0][1 - keys[0].index(state)]
        candidate = _sum(step, inner, keys[0])
        late_bias = np.zeros(update.width)
    reset_activation, r_inner = _activated(r)
    if reset_activation != gate:
        raise NotACell("its gates have different activations")
    sums = [update_gate, _sum(step, r_inner, (state,)), candidate]
    late = np.concatenate([np.zeros(2 * update.width), late_bias])
    return _found("GRU", (0,), sums, (gate, last), late, linear_before_reset=bool(products))


def _reset_after(inner: Form, products: list[Key]) -> tuple[Atom, Form, Form]:
    """The reset gate, the sum that it multiplies, and what is added to both."""
    if len(products) == 1 and len(products[0]) == 2 and is_one(inner.factors[products[0]]):
        for r, held in permutations(products[0]):
            if held.name == IDENTITY and held.of is not None and r.of is not None:
                factors = {key: value for key, value in inner.factors.items() if not key}
                return r, held.of, Form(inner.width, factors, inner.matrices)
    raise NotACell("its candidate adds up more than the input and one product with a reset gate")


def _lstm_products(step: Step, hidden: int, cell: int) -> tuple[Atom | None, list[Key]]:
    """The gate of the output, and the two products whose sum is the new cell state.

    Args:
        step: the forms.
        hidden: index of the state that would be h.
        cell: index of the state that would be c.

    Returns:
        None and no products when they are not those of an LSTM.
    """
    update, shown = step.updates[cell], step.updates[hidden]
    products = list(update.factors)
    two = len(products) == 2 and not update.matrices and all(len(key) == 2 for key in products)
    if not two or not all(map(is_one, update.factors.values())):
        return None, []
    if sum(step.states[cell] in key for key in products) != 1:
        return None, []
    if step.states[cell] in products[0]:
        products.reverse()
    for output in {atom for key in shown.factors for atom in key}:
        if _shows(shown, output, update):
            return output, products
    return None, []


def _shows(shown: Form, output: Atom, update: Form) -> bool:
    """Whether a form is a gate times an activation of the cell state, or times the state itself."""
    if shown.matrices or not all(map(is_one, shown.factors.values())):
        return False
    rest = [_without(key, output) for key in shown.factors]
    if set(rest) == set(update.factors):
        return True
    of = rest[0][0].of if len(rest) == 1 and len(rest[0]) == 1 else None
    return of is not None and of.equals(update)


def _lstm(
    step: Step, states: tuple[int, int], output: Atom | None, products: list[Key]
) -> FoundCell:
    hidden, cell = states
    if output is None:
        raise NotACell("its output is no gate times an activation of its cell state")
    new, kept = products
    forget = _without(kept, step.states[cell])[0]
    gate, forget_inner = _activated(forget)
    # Which of the two new factors is the gate: the one with the gates' activation.
    gates = [(one, other) for one, other in permutations(new) if _activated(one)[0] == gate]
    o_activation, o_inner = _activated(output)
    if not gates or o_activation != gate:
        raise NotACell("its gates have different activations")
    i, g = gates[0]
    candidate, g_inner = _activated(g)
    shown = [_without(key, output) for key in step.updates[hidden].factors]
    last = Activation("Affine", (1.0, 0.0)) if len(shown) == 2 else _activated(shown[0][0])[0]
    state = (step.states[hidden],)
    sums = [_sum(step, each, state) for each in (_activated(i)[1], o_inner, forget_inner, g_inner)]
    return _found("LSTM", states, sums, (gate, candidate, last))


def _held(form: Form) -> Atom:
    """A form as one atom: itself, or a sum held together."""
    return form.atom or Atom(0, form.width, IDENTITY, (), form)


def _activated(atom: Atom) -> tuple[Activation, Form]:
    """An atom as an activation and its argument.

    Raises:
        NotACell: for a function that the operators do not have, and for what enters the step.
    """
    if atom.of is None:
        raise NotACell(f"'{atom.name}' stands where an activation would")
    if atom.name == IDENTITY:
        return Activation("Affine", (1.0, 0.0)), atom.of
    if atom.name not in _ACTIVATIONS:
        raise NotACell(
            f"its activation {atom.name} is none of those that recurrent operators have "
            f"({', '.join(_ACTIVATIONS)})"
        )
    return Activation(atom.name, atom.parameters[: _ACTIVATIONS[atom.name]]), atom.of


def _sum(step: Step, form: Form, recurrent: Key) -> _Sum:
    """A form as x W + (product) U + b.

    Args:
        step: tells what is x.
        form: what a gate is an activation of.
        recurrent: the product of atoms that U multiplies; empty: none.
    """
    left = (set(form.matrices) - {(step.inputs,), recurrent}) | (set(form.factors) - {()})
    if left:
        raise NotACell("a gate reads more than the step's input and the state")
    return _Sum(
        form.matrices.get((step.inputs,), np.zeros((step.inputs.width, form.width))),
        form.matrices.get(recurrent, np.zeros((form.width, form.width))),
        form.factors.get((), np.zeros(form.width)),
    )


def _found(
    kind: str,
    states: tuple[int, ...],
    sums: list[_Sum],
    activations: tuple[Activation, ...],
    late_bias: Numbers | None = None,
    *,
    linear_before_reset: bool = False,
) -> FoundCell:
    """The operator's weights of the sums of its gates, in its order."""
    bias = np.concatenate([each.bias for each in sums])
    second = np.zeros_like(bias) if late_bias is None else late_bias
    return FoundCell(
        kind,
        states,
        np.concatenate([each.weight.T for each in sums]).astype(np.float32),
        np.concatenate([each.recurrence.T for each in sums]).astype(np.float32),
        np.concatenate([bias, second]).astype(np.float32),
        activations,
        linear_before_reset,
    )


def _without(key: Key, atom: Atom) -> Key:
    """A product without one factor."""
    if atom not in key:
        return ()
    at = key.index(atom)
    return key[:at] + key[at + 1 :]


def _sorted(*atoms: Atom) -> Key:
    return tuple(sorted(atoms, key=lambda atom: atom.serial))
