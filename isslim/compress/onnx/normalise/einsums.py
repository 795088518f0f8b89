"""Rewrites an Einsum of two operands as a MatMul between Transposes, which the rules follow.

Each letter is one of four: in both operands and in the result (a batch), in both and summed, in the
first only (rows), in the second only (columns). One that is summed, and at most one row and one
column where there is a batch, is a matrix product. Of a constant (the heads of Keras's attention)
several letters are taken together as one.

https://onnx.ai/onnx/operators/onnx__Einsum.html
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from isslim.compress.onnx.model.attributes import get_string
from isslim.compress.onnx.model.split_model import SplitModel, inner_first, replace


def einsums_as_products(parts: SplitModel) -> None:
    """Rewrites what can be; in place, without any change of what the graph computes."""
    for graph in inner_first(parts.structure.graph):
        replace(graph.node, [step for node in graph.node for step in _Rewriting(parts).steps(node)])


class _Rewriting:
    """One node being rewritten."""

    def __init__(self, parts: SplitModel) -> None:
        self._parts = parts
        self._wish = ""
        self._made: list[NodeProto] = []

    def steps(self, node: NodeProto) -> list[NodeProto]:
        """The nodes in its place; itself, when it is no such product."""
        equation = (
            get_string(node, "equation", "").replace(" ", "") if node.op_type == "Einsum" else ""
        )
        operands, arrow, result = equation.partition("->")
        both = operands.split(",")
        if (
            not arrow
            or "." in equation
            or len(both) != 2
            or any(len(set(each)) < len(each) for each in (*both, result))
        ):
            return [node]
        (one, other), (first, second) = node.input[:2], both
        batch = [letter for letter in result if letter in first and letter in second]
        summed = [letter for letter in first if letter in second and letter not in result]
        rows = [letter for letter in result if letter in first and letter not in second]
        columns = [letter for letter in result if letter in second and letter not in first]
        complete = set(first) == {*batch, *summed, *rows} and set(second) == {
            *batch,
            *summed,
            *columns,
        }
        if self._constant(one) and not self._constant(other):
            one, other, first, second, rows, columns = other, one, second, first, columns, rows
        if (
            complete
            and summed
            and not batch
            and self._constant(other)
            and (len(summed) > 1 or len(columns) > 1)
        ):
            return self._by_constant(
                node, (one, other), (first, second), summed, rows, columns, result
            )
        if len(columns) > 1:
            one, other, first, second, rows, columns = other, one, second, first, columns, rows
        if len(summed) != 1 or not complete or len(columns) > 1 or (len(rows) > 1 and batch):
            return [node]
        self._wish = node.output[
            0
        ]  # no other node's, so that the names of two rewritten ones differ
        left = self._arranged(one, first, [*batch, *rows, *summed], [] if rows else [-2])
        right = self._arranged(other, second, [*batch, *summed, *columns], [] if columns else [-1])
        made = self._node("MatMul", [left, right])
        gone = [*([] if rows else [-2]), *([] if columns else [-1])]
        if gone:
            made = self._axes(
                "Squeeze", made, [len(batch) + max(len(rows), 1) + 1 + each for each in gone]
            )
        self._finish(node, made, [*batch, *rows, *columns], result)
        return self._made

    def _constant(self, name: str) -> bool:
        return name in self._parts.constants

    def _by_constant(
        self,
        node: NodeProto,
        operands: tuple[str, str],
        letters: tuple[str, str],
        summed: list[str],
        rows: list[str],
        columns: list[str],
        result: str,
    ) -> list[NodeProto]:
        """A constant with several letters that are summed, or several columns: as a matrix, for their sizes are known."""
        self._wish = node.output[0]
        sizes = dict(zip(letters[1], self._parts.constants[operands[1]].shape, strict=True))
        order = [letters[1].index(letter) for letter in (*summed, *columns)]
        matrix = self._parts.fresh(f"{operands[1]}.matrix")
        turned = np.transpose(self._parts.constants[operands[1]], order)
        self._parts.constants[matrix] = turned.reshape(prod(sizes[each] for each in summed), -1)
        left = self._arranged(operands[0], letters[0], [*rows, *summed], [])
        if len(summed) > 1:
            left = self._reshaped(left, [*[0] * len(rows), -1])
        made = self._node("MatMul", [left, matrix])
        if len(columns) != 1:
            made = self._reshaped(made, [*[0] * len(rows), *(sizes[each] for each in columns)])
        self._finish(node, made, [*rows, *columns], result)
        return self._made

    def _reshaped(self, value: str, target: list[int]) -> str:
        name = self._parts.fresh(f"{self._wish}.{len(self._made)}.sizes")
        self._parts.constants[name] = np.array(target, np.int64)
        return self._node("Reshape", [value, name])

    def _finish(self, node: NodeProto, made: str, order: list[str], result: str) -> None:
        """The result in its own order, under its own name."""
        turn: dict[str, Any] = (
            {"perm": [order.index(letter) for letter in result]} if len(result) > 1 else {}
        )
        self._made.append(
            helper.make_node(
                "Transpose" if turn else "Identity", [made], [node.output[0]], None, **turn
            )
        )
        self._made[-1].name = node.name

    def _arranged(self, value: str, letters: str, wanted: list[str], new: list[int]) -> str:
        """An operand in a new order, with a dimension of size 1 where it has no row or column."""
        value = self._node("Transpose", [value], perm=[letters.index(letter) for letter in wanted])
        return (
            self._axes("Unsqueeze", value, [len(wanted) + 1 + each for each in new])
            if new
            else value
        )

    def _axes(self, operator: str, value: str, axes: list[int]) -> str:
        if self._parts.opset < 13:
            return self._node(operator, [value], axes=axes)
        name = self._parts.fresh(f"{value}.axes")
        self._parts.constants[name] = np.array(axes, np.int64)
        return self._node(operator, [value, name])

    def _node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        made = self._parts.fresh(f"{self._wish}.{len(self._made)}")
        self._made.append(helper.make_node(operator, inputs, [made], name=made, **attributes))
        return made
