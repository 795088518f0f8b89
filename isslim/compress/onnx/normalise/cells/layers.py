"""Writes the recurrent operator that computes what a Loop does, with its mask around it.

The operator takes lengths, which are no masks: one may begin late or have holes. But where a mask
is false nothing changes, so the layer runs over the steps for which it is true, put together at the
beginning, and its outputs are spread out again. This holds for any mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from isslim.compress.onnx.model.node_writer import NodeWriter
from isslim.compress.onnx.model.recurrent import DEFAULTS
from isslim.compress.onnx.model.split_model import SplitModel, label
from isslim.compress.onnx.normalise.cells.forms import NotACell
from isslim.compress.onnx.normalise.cells.matching import FoundCell
from isslim.compress.onnx.normalise.cells.recognition import FoundLayer, Masked

_MASKS_SINCE = 11
"""Opset with all that a mask takes: CumSum, Range, TopK of the smallest, GatherND."""


@dataclass(frozen=True)
class _Steps:
    """The steps for which a mask is true.

    Attributes:
        seen: (T, B), how many there were up to each step.
        count: (B,), how many there are.
        sequences: (T, B), the number of the sequence.
        order: (T, B), the steps with those first for which the mask is true.
    """

    seen: str
    count: str
    sequences: str
    order: str


def write_layer(parts: SplitModel, node: NodeProto, found: FoundLayer) -> list[NodeProto]:
    """The nodes that compute what a Loop does.

    Args:
        parts: the model, which gets the weights.
        node: the Loop.
        found: what it computes.

    Raises:
        NotACell: for a mask in an opset that is too old.
    """
    if found.mask and parts.opset < _MASKS_SINCE:
        raise NotACell(f"its mask takes opset {_MASKS_SINCE}, the graph has {parts.opset}")
    return _Writing(parts, node, found).nodes()


class _Writing:
    def __init__(self, parts: SplitModel, node: NodeProto, found: FoundLayer) -> None:
        self._parts, self._found, self._name = parts, found, label(node)
        self._writer = NodeWriter(parts, f"{self._name}.layer")

    def nodes(self) -> list[NodeProto]:
        """All of them, in order; the outputs have the names of the Loop's."""
        found, writer = self._found, self._writer
        sequence, steps = found.sequence, None
        if found.mask:
            steps = self._steps()
            sequence = self._chosen(sequence, steps.order, steps)
        outputs, *states = self._layer(sequence, steps.count if steps else "")
        y = writer.with_axes("Squeeze", outputs, [1])
        after = [self._after(value, index, steps) for index, value in enumerate(states)]
        modes = {*found.outputs.values(), *found.last.values()}
        shown = {mode: self._shown(y, mode, steps) for mode in modes}
        results = {name: after[index] for name, index in found.states.items()}
        results |= {name: shown[mode] for name, mode in found.outputs.items()}
        for name, mode in found.last.items():
            results[name] = writer.add("Gather", [shown[mode], self._number(-1)], axis=0)
        for name, value in results.items():
            if name:
                writer.nodes.append(helper.make_node("Identity", [value], [name]))
        return writer.nodes

    def _layer(self, sequence: str, lengths: str) -> list[str]:
        """The operator itself; its outputs Y (T, 1, B, H), Y_h and Y_c (1, B, H)."""
        cell, writer = self._found.cell, self._writer
        weights = {"W": cell.weight, "R": cell.recurrence, "B": cell.bias}
        names = [
            writer.constant(f"{self._name}.{key}", value[np.newaxis])
            for key, value in weights.items()
        ]
        states = [writer.with_axes("Unsqueeze", each, [0]) for each in self._found.initial]
        outputs = [self._parts.fresh(f"{self._name}.{key}") for key in ("Y", "Y_h", "Y_c")]
        made = helper.make_node(
            cell.kind,
            [sequence, *names, lengths, *states],
            outputs[: 1 + len(states)],
            name=self._name,
            hidden_size=cell.units,
            **_attributes(cell),
        )
        writer.nodes.append(made)
        return list(made.output)

    def _steps(self) -> _Steps:
        """The numbers of the steps for which the mask is true."""
        writer = self._writer
        mask = writer.with_axes("Squeeze", self._found.mask, [2])
        zero, one = (self._number(value) for value in (0, 1))
        whole = writer.add("Cast", [mask], to=TensorProto.INT64)
        seen = writer.add("CumSum", [whole, zero])
        count = writer.add("Gather", [seen, self._number(-1)], axis=0)
        shape = writer.add("Shape", [mask])
        sizes = [writer.add("Gather", [shape, each], axis=0) for each in (zero, one)]
        steps, batch = (writer.add("Range", [zero, size, one]) for size in sizes)
        # A step without mask comes later by as many steps as there are, in its order.
        left = writer.add("Sub", [one, whole])
        late = writer.add("Mul", [left, sizes[0]])
        key = writer.add("Add", [late, writer.with_axes("Unsqueeze", steps, [1])])
        order = self._parts.fresh(f"{self._name}.order")
        some = writer.with_axes("Unsqueeze", sizes[0], [0])
        writer.nodes.append(
            helper.make_node(
                "TopK", [key, some], [f"{order}.keys", order], axis=0, largest=0, sorted=1
            )
        )
        return _Steps(
            seen,
            writer.add("Cast", [count], to=TensorProto.INT32),
            writer.add("Expand", [batch, shape]),
            order,
        )

    def _chosen(self, values: str, which: str, steps: _Steps) -> str:
        """Steps of (T, B, n), of each sequence its own.

        Args:
            values: (T, B, n).
            which: (T, B), the steps.
            steps: has the numbers of the sequences.
        """
        writer = self._writer
        pair = [writer.with_axes("Unsqueeze", each, [2]) for each in (which, steps.sequences)]
        return writer.add("GatherND", [values, writer.add("Concat", pair, axis=2)])

    def _after(self, value: str, index: int, steps: _Steps | None) -> str:
        """A state (B, H) after the last step."""
        state = self._writer.with_axes("Squeeze", value, [0])
        if steps is None:
            return state
        # Of a sequence without any step ONNX Runtime gives zeros.
        some = self._writer.add("Greater", [steps.count, self._number(0, np.int32)])
        rows = self._writer.with_axes("Unsqueeze", some, [1])
        return self._writer.add("Where", [rows, state, self._found.initial[index]])

    def _shown(self, y: str, mode: Masked, steps: _Steps | None) -> str:
        """The outputs (T, B, H) for all steps."""
        if steps is None:
            return y
        writer = self._writer
        zero = self._number(0)
        before = writer.add("Sub", [steps.seen, self._number(1)])
        spread = self._chosen(y, writer.add("Max", [before, zero]), steps)
        if mode is Masked.ZEROS:
            there = self._found.mask
        else:
            there = writer.with_axes("Unsqueeze", writer.add("Greater", [steps.seen, zero]), [2])
        nothing = writer.constant(f"{self._name}.nothing", np.array(0, np.float32))
        other = self._found.initial[0] if mode is Masked.STATE else nothing
        return writer.add("Where", [there, spread, other])

    def _number(self, value: int, kind: type[np.generic] = np.int64) -> str:
        return self._writer.constant(f"{self._name}.number", np.array(value, kind))


def _attributes(cell: FoundCell) -> dict[str, Any]:
    """The attributes of an operator besides its number of units."""
    found: dict[str, Any] = {}
    names = [each.name for each in cell.activations]
    if names != DEFAULTS[cell.kind]:
        found["activations"] = names
    # The lists have entries only for the activations that take them.
    for index, attribute in enumerate(("activation_alpha", "activation_beta")):
        given = [
            each.parameters[index] for each in cell.activations if len(each.parameters) > index
        ]
        if given:
            found[attribute] = given
    if cell.kind == "GRU":
        found["linear_before_reset"] = int(cell.linear_before_reset)
    return found
