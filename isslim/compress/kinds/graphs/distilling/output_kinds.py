"""What the numbers of an output are: a distribution over classes, chances, or just numbers.

It is found by walking back from the output to the operator that made its values, over operators
that move values only. What is not followed counts as numbers, which any output may be taken for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from isslim.compress.onnx.model.attributes import get_int, get_ints, subgraphs
from isslim.compress.onnx.model.layouts import size
from isslim.compress.onnx.model.split_model import nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.carried_states import MOVES

Family = Literal["numbers", "probabilities", "log-probabilities", "chances"]


@dataclass(frozen=True)
class OutputKind:
    """What an output holds.

    Attributes:
        family: `probabilities` behind a Softmax, `log-probabilities` behind a LogSoftmax, `chances`
            of single events behind a Sigmoid, else `numbers`.
        axis: of the classes, counted from the last dimension (-1); without meaning for the others.
    """

    family: Family
    axis: int = -1


NUMBERS, CHANCES = OutputKind("numbers"), OutputKind("chances")
_AVERAGES = {"ReduceMean", "ReduceMax", "ReduceMin", "GlobalAveragePool"}
"""Of chances they give chances again."""


def output_kinds(network: GraphNetwork, outputs: Sequence[str]) -> dict[str, OutputKind]:
    """What each output holds.

    Args:
        network: the original.
        outputs: names of outputs that hold floats.
    """
    walk = _Walk(network)
    return {name: walk.kind(name) for name in outputs}


class _Walk:
    """Walks back over one graph."""

    def __init__(self, network: GraphNetwork) -> None:
        self._network = network
        self._makers = {
            name: node for node in nodes(network.source.structure.graph) for name in node.output
        }

    def kind(self, name: str) -> OutputKind:
        """What a value holds."""
        node = self._makers.get(name)
        if node is None:
            return NUMBERS
        if node.op_type in ("Softmax", "LogSoftmax"):
            return self._classes(node)
        if node.op_type in ("Log", "Exp"):
            before, after = _NAMES[node.op_type]
            inner = self.kind(node.input[0])
            return OutputKind(after, inner.axis) if inner.family == before else NUMBERS
        if node.op_type in ("If", "Concat"):
            return self._joined(node, name)
        return CHANCES if node.op_type == "Sigmoid" else self._moved(node)

    def _joined(self, node: NodeProto, name: str) -> OutputKind:
        """What several values hold alike: those of branches, or of parts."""
        if node.op_type == "If":
            place = list(node.output).index(name)
            shown = [each.output[place].name for each in subgraphs(node)]
        else:
            shown = list(node.input)
        found = {self.kind(each) for each in shown}
        # Parts of distributions may lie side by side along any dimension.
        if len(found) > 1 or (node.op_type == "Concat" and found != {CHANCES}):
            return NUMBERS
        return found.pop()

    def _classes(self, node: NodeProto) -> OutputKind:
        """A Softmax; before opset 13 it normalises over all dimensions from its axis on."""
        late = self._network.source.opset >= 13
        axis, rank = get_int(node, "axis", -1 if late else 1), self._rank(node.input[0])
        if axis >= 0 and rank is None:
            return NUMBERS
        axis = axis if rank is None or axis < 0 else axis - rank
        if not late and axis != -1:
            return NUMBERS
        family: Family = "probabilities" if node.op_type == "Softmax" else "log-probabilities"
        return OutputKind(family, axis)

    def _moved(self, node: NodeProto) -> OutputKind:
        """A value behind an operator that moves values, or takes their mean."""
        if node.op_type not in MOVES | _AVERAGES:
            return NUMBERS
        inner, rank = self.kind(node.input[0]), self._rank(node.input[0])
        if inner.family in ("numbers", "chances") or node.op_type in ("Identity", "Cast"):
            return inner
        if node.op_type == "Transpose" and rank is not None:
            order = get_ints(node, "perm") or list(range(rank))[::-1]
            return OutputKind(inner.family, order.index(rank + inner.axis) - rank)
        # Steps and batch may be taken apart or together, as long as the classes stay the last ones.
        last = self._last(node.input[0])
        stays = inner.axis == -1 and last is not None and last == self._last(node.output[0])
        return inner if stays and node.op_type not in _AVERAGES else NUMBERS

    def _rank(self, name: str) -> int | None:
        layout = self._network.trace.layout(name)
        return None if layout is None else layout.rank

    def _last(self, name: str) -> int | None:
        """The size of a value's last dimension, where it is known."""
        layout = self._network.trace.layout(name)
        if layout is None or not layout.dims:
            return None
        found = size(layout.dims[-1])
        return found if isinstance(found, int) and found > 1 else None


_NAMES: dict[str, tuple[Family, Family]] = {
    "Log": ("probabilities", "log-probabilities"),
    "Exp": ("log-probabilities", "probabilities"),
}
