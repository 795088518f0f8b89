"""Rewrites an Einsum of two operands as a MatMul between Transposes, which the rules follow.

Each letter is one of four: in both operands and in the result (a batch), in both and summed, in the
first only (rows), in the second only (columns). One that is summed, and at most one row and one
column where there is a batch, is a matrix product. Of a constant (the heads of Keras's attention)
several letters are taken together as one.

https://onnx.ai/onnx/operators/onnx__Einsum.html
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import NodeProto, helper

from isslim.compress.onnx.model.attributes import get_string
from isslim.compress.onnx.model.node_writer import NodeWriter
from isslim.compress.onnx.model.split_model import SplitModel, inner_first, replace


def einsums_as_products(parts: SplitModel) -> None:
    """Rewrites all Einsums that are matrix products; in place, the function is unchanged."""
    for graph in inner_first(parts.structure.graph):
        written: list[NodeProto] = []
        for node in graph.node:
            written += _rewritten(parts, node)
        replace(graph.node, [*written])


@dataclass(frozen=True)
class _Equation:
    """An Einsum of two operands in which every letter has one of the four meanings.

    Attributes:
        one, other: names of the operands.
        first, second: their letters.
        result: the letters of what comes out.
        batch, summed, rows, columns: letters by meaning, in the order of the result; the summed
            ones in that of the first operand.
    """

    one: str
    other: str
    first: str
    second: str
    result: str
    batch: list[str]
    summed: list[str]
    rows: list[str]
    columns: list[str]

    @classmethod
    def of(cls, one: str, other: str, first: str, second: str, result: str) -> _Equation | None:
        """The equation with its letters sorted; None where one has another meaning.

        That is one that only one operand has, and that is summed there.

        Args:
            one: the first operand's name.
            other: the second operand's name.
            first: the letters of the first operand.
            second: the letters of the second operand.
            result: the letters of what comes out.
        """
        batch = [letter for letter in result if letter in first and letter in second]
        summed = [letter for letter in first if letter in second and letter not in result]
        rows = [letter for letter in result if letter in first and letter not in second]
        columns = [letter for letter in result if letter in second and letter not in first]
        if set(first) != {*batch, *summed, *rows} or set(second) != {*batch, *summed, *columns}:
            return None
        return cls(one, other, first, second, result, batch, summed, rows, columns)

    def swapped(self) -> _Equation:
        """The same with its operands the other way round: the rows are columns."""
        return _Equation(
            self.other, self.one, self.second, self.first, self.result,
            self.batch, self.summed, self.columns, self.rows,
        )  # fmt: skip


def _parsed(node: NodeProto) -> _Equation | None:
    """The equation of an Einsum; None where it is no product of two operands as they are."""
    if node.op_type != "Einsum":
        return None
    equation = get_string(node, "equation", "").replace(" ", "")
    operands, arrow, result = equation.partition("->")
    letters = operands.split(",")
    # Without an arrow the result's order is implied, and with an ellipsis the letters are.
    if not arrow or "." in equation or len(letters) != 2:
        return None
    # A letter twice in one operand is a diagonal.
    if any(len(set(each)) < len(each) for each in (*letters, result)):
        return None
    return _Equation.of(node.input[0], node.input[1], letters[0], letters[1], result)


def _rewritten(parts: SplitModel, node: NodeProto) -> list[NodeProto]:
    """The replacement of a node; itself when it is no such product."""
    equation = _parsed(node)
    if equation is None:
        return [node]
    # The constant comes second, as a matrix does in a MatMul.
    if equation.one in parts.constants and equation.other not in parts.constants:
        equation = equation.swapped()
    several = len(equation.summed) > 1 or len(equation.columns) > 1
    if equation.other in parts.constants and equation.summed and not equation.batch and several:
        return _Writing(parts, node, equation).with_constant()
    # A product of stacks takes several rows where there is no batch, but never several columns.
    if len(equation.columns) > 1:
        equation = equation.swapped()
    if len(equation.summed) != 1 or len(equation.columns) > 1:
        return [node]
    if len(equation.rows) > 1 and equation.batch:
        return [node]
    return _Writing(parts, node, equation).of_stacks()


class _Writing:
    """Writes one product; new values are named after the node's output, which no other has."""

    def __init__(self, parts: SplitModel, node: NodeProto, equation: _Equation) -> None:
        self._parts, self._node, self._equation = parts, node, equation
        self._writer = NodeWriter(parts, node.output[0])

    def of_stacks(self) -> list[NodeProto]:
        """A product (batch, rows, summed) by (batch, summed, columns)."""
        equation = self._equation
        batch, summed, rows, columns = (
            equation.batch,
            equation.summed,
            equation.rows,
            equation.columns,
        )
        # MatMul wants rows and columns: one that is missing is a dimension of size 1 on the way.
        row, column = [] if rows else [-2], [] if columns else [-1]
        left = self._arranged(equation.one, equation.first, [*batch, *rows, *summed], row)
        right = self._arranged(equation.other, equation.second, [*batch, *summed, *columns], column)
        made = self._writer.add("MatMul", [left, right])
        rank = len(batch) + max(len(rows), 1) + 1
        if row or column:
            made = self._writer.with_axes(
                "Squeeze", made, [rank + each for each in (*row, *column)]
            )
        return self._finished(made, [*batch, *rows, *columns])

    def with_constant(self) -> list[NodeProto]:
        """A constant with several summed letters or columns: a matrix, for its sizes are known."""
        equation = self._equation
        summed, rows, columns = equation.summed, equation.rows, equation.columns
        value = self._parts.constants[equation.other]
        sizes = dict(zip(equation.second, value.shape, strict=True))
        order = [equation.second.index(letter) for letter in (*summed, *columns)]
        height = prod(sizes[each] for each in summed)
        turned = np.transpose(value, order).reshape(height, -1)
        matrix = self._writer.constant(f"{equation.other}.matrix", turned)
        left = self._arranged(equation.one, equation.first, [*rows, *summed], [])
        as_they_are = [0] * len(rows)  # zero in a Reshape's target: the size that there was
        if len(summed) > 1:
            left = self._reshaped(left, [*as_they_are, -1])
        made = self._writer.add("MatMul", [left, matrix])
        # Without columns the product has one of size 1, and with several they are one.
        if len(columns) != 1:
            widths = [sizes[each] for each in columns]
            made = self._reshaped(made, [*as_they_are, *widths])
        return self._finished(made, [*rows, *columns])

    def _arranged(self, value: str, letters: str, wanted: list[str], new: list[int]) -> str:
        """An operand in a new order, with a dimension of size 1 where it has no row or column."""
        order = [letters.index(letter) for letter in wanted]
        turned = self._writer.add("Transpose", [value], perm=order)
        if not new:
            return turned
        return self._writer.with_axes("Unsqueeze", turned, [len(wanted) + 1 + each for each in new])

    def _reshaped(self, value: str, target: list[int]) -> str:
        sizes = np.array(target, np.int64)
        name = self._writer.constant(f"{value}.sizes", sizes)
        return self._writer.add("Reshape", [value, name])

    def _finished(self, made: str, order: list[str]) -> list[NodeProto]:
        """All nodes, with the result in its own order, under its own name."""
        turn = [order.index(letter) for letter in self._equation.result]
        output = [self._node.output[0]]
        if len(turn) > 1:
            last = helper.make_node("Transpose", [made], output, None, perm=turn)
        else:
            last = helper.make_node("Identity", [made], output, None)
        # Refusals and reports still name the node of the file.
        last.name = self._node.name
        return [*self._writer.nodes, last]
