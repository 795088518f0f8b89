"""LSTM, GRU and RNN: torch's own layers where they compute the same, step by step elsewhere.

    X (T, B, I)   W (D, G H, I)   R (D, G H, H)   B (D, 2 G H)   P (D, 3 H)   states (D, B, H)
    Y (T, D, B, H)

torch's layers are several times as fast, and have fixed activations, no `clip`, no peepholes, one
length for all sequences, and a GRU with `linear_before_reset` only. Their gates lie in another
order: the parameters stay as ONNX has them, and are reordered in every run.

Legend: B batch, D directions, G gates, H units, I inputs, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from onnx import NodeProto
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.cells import (
    Cell,
    Recurrence,
    States,
    activation,
    own_bias,
    step,
)
from isslim.compress.kinds.graphs.trainable.operators.site import (
    Operator,
    Site,
    Step,
    Unsupported,
)
from isslim.compress.onnx.model.attributes import get_float, get_int
from isslim.compress.onnx.model.gates import activations
from isslim.compress.onnx.model.recurrent import C0, DEFAULTS, H0, LENGTHS, view
from isslim.compress.onnx.model.recurrent import OPERATORS as GATES

_ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""ONNX's positions of the gates in torch's order: i, f, c, o; r, z, h."""


@dataclass(frozen=True)
class _Layer:
    """A node's settings.

    Attributes:
        kind: its operator.
        cells: one for each direction.
        backwards: for each direction whether it begins at the end.
        fused: torch's function of the whole layer; empty: there is none.
        batch_first: `layout` 1.
    """

    kind: str
    cells: tuple[Cell, ...]
    backwards: tuple[bool, ...]
    fused: str
    batch_first: bool


@dataclass(frozen=True)
class _Weights:
    """The inputs of a node that do not change from step to step; see the module's legend."""

    w: Tensor
    r: Tensor
    b: Tensor | None
    p: Tensor | None


def _recurrent(site: Site) -> Step:
    layer = _layer(site.node)

    def run(
        x: Tensor,
        w: Tensor,
        r: Tensor,
        b: Tensor | None = None,
        lengths: Tensor | None = None,
        *others: Tensor | None,
    ) -> tuple[Tensor, ...]:
        h0, c0, p = (*others, None, None, None)[:3]
        if layer.batch_first:
            x = x.transpose(0, 1)
            h0, c0 = (None if each is None else each.transpose(0, 1) for each in (h0, c0))
        zeros = x.new_zeros(w.shape[0], x.shape[1], r.shape[-1])
        first = [zeros if each is None else each for each in (h0, c0)]
        states = tuple(first if layer.kind == "LSTM" else first[:1])
        if lengths is not None and bool((lengths == x.shape[0]).all()):
            lengths = None
        weights = _Weights(w, r, b, p)
        if layer.fused and lengths is None and p is None and x.shape[0]:
            made = _fused(layer, x, weights, states)
        else:
            made = _stepwise(layer, x, weights, lengths, states)
        if not layer.batch_first:
            return made
        y, *last = made
        return (y.permute(2, 0, 1, 3), *(each.transpose(0, 1) for each in last))

    return run


def _layer(node: NodeProto) -> _Layer:
    seen = view(node)
    assert seen is not None  # it is registered for these operators
    count, per = len(seen.directions), len(DEFAULTS[seen.kind])
    settings = activations(node, DEFAULTS[seen.kind] * count)
    if len(settings) != per * count:
        raise Unsupported(f"it has {len(settings)} activations instead of {per * count}")
    clip, coupled = get_float(node, "clip", float("inf")), bool(get_int(node, "input_forget", 0))
    cells = tuple(
        Cell(
            seen.kind,
            # The last one of an LSTM reads the state: ONNX Runtime clips what the gates read only.
            tuple(
                activation(each, clip if place < 2 else float("inf"))
                for place, each in enumerate(settings[at * per : (at + 1) * per])
            ),
            seen.linear_before_reset,
            coupled,
        )
        for at in range(count)
    )
    names = [name for name, _, _ in settings]
    fused = ""
    if clip == float("inf") and not coupled and not seen.reset_first:
        if names == [each.lower() for each in DEFAULTS[seen.kind]] * count:
            fused = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}[seen.kind]
        elif names == ["relu"] * count:
            fused = "rnn_relu"
    backwards = tuple(each == "backward" for each in seen.directions)
    return _Layer(seen.kind, cells, backwards, fused, bool(get_int(node, "layout", 0)))


def _fused(layer: _Layer, x: Tensor, own: _Weights, states: States) -> tuple[Tensor, ...]:
    flat: list[Tensor] = []
    order = _ORDERS[layer.kind]
    for at in range(len(layer.cells)):
        flat += [_reordered(own.w[at], order), _reordered(own.r[at], order)]
        if own.b is not None:
            flat += [_reordered(each, order) for each in own.b[at].chunk(2)]
    alone = layer.backwards == (True,)
    given = states if layer.kind == "LSTM" else states[0]
    y, *last = getattr(torch, layer.fused)(
        x.flip(0) if alone else x,
        given,
        flat,
        own.b is not None,
        1,
        0.0,
        False,
        len(layer.cells) == 2,
        False,
    )
    y = y.view(*y.shape[:2], len(layer.cells), -1).transpose(1, 2)
    return (y.flip(0) if alone else y, *last)


def _reordered(matrix: Tensor, order: tuple[int, ...]) -> Tensor:
    """A matrix or bias (G H, ...) with its gates in torch's order."""
    gates = matrix.chunk(len(order))
    return torch.cat([gates[at] for at in order]) if len(order) > 1 else matrix


def _stepwise(
    layer: _Layer, x: Tensor, own: _Weights, lengths: Tensor | None, states: States
) -> tuple[Tensor, ...]:
    made = []
    for at, (cell, backward) in enumerate(zip(layer.cells, layer.backwards, strict=True)):
        gates, recurrence = _direction(cell, x, own, at)
        found = _walk(
            cell,
            recurrence,
            _turned(gates, lengths) if backward else gates,
            lengths,
            tuple(each[at] for each in states),
        )
        y = _turned(found[0], lengths) if backward else found[0]
        made.append((y, *found[1:]))
    ys, *last = zip(*made, strict=True)
    return (torch.stack(ys, 1), *(torch.stack(each) for each in last))


def _direction(cell: Cell, x: Tensor, own: _Weights, at: int) -> tuple[Tensor, Recurrence]:
    """What the inputs add to the gates of all steps (T, B, G H), and the matrices of the states."""
    added, bias = x @ own.w[at].T, None
    if own.b is not None:
        first, second = own.b[at].chunk(2)
        if own_bias(cell):
            gates, bias = second.tensor_split([second.shape[0] * 2 // 3])
            second = torch.cat([gates, torch.zeros_like(bias)])
        added = added + (first + second)
    peephole = None if own.p is None else own.p[at]
    return added, Recurrence(own.r[at], bias, peephole)


def _walk(
    cell: Cell, recurrence: Recurrence, gates: Tensor, lengths: Tensor | None, states: States
) -> tuple[Tensor, ...]:
    """Y (T, B, H) of one direction and its last states (B, H); zero behind a sequence's end."""
    made = []
    for at, x in enumerate(gates):
        new = step(cell, recurrence, x, states)
        shown = new[0]
        if lengths is not None:
            going = (at < lengths).unsqueeze(1)
            shown = torch.where(going, shown, 0.0)
            new = tuple(
                torch.where(going, after, before) for after, before in zip(new, states, strict=True)
            )
        states = new
        made.append(shown)
    return (torch.stack(made) if made else gates.new_zeros(0, *states[0].shape), *states)


def _turned(steps: Tensor, lengths: Tensor | None) -> Tensor:
    """Steps (T, B, ...) in reverse order, each sequence within its own length."""
    if lengths is None:
        return steps.flip(0)
    place = torch.arange(len(steps), device=steps.device).unsqueeze(1)
    ends = lengths.long()
    index = torch.where(place < ends, ends - 1 - place, place)
    return steps.gather(0, index.unsqueeze(-1).expand(steps.shape))


# Initial states that are constants stay what they are: often they are zeros of one batch size.
OPERATORS = dict.fromkeys(GATES, Operator(_recurrent, (LENGTHS,), states=(H0, C0)))
"""By name."""
