"""What the rules of axis inference find, and how they say that they can go no further."""

from __future__ import annotations

from dataclasses import dataclass

from isslim.compress.onnx.model.layouts import Blocks
from isslim.compress.onnx.model.recurrent import Recurrent

RANDOM_OPERATORS = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
}
"""What may give other numbers at every run."""


class Unfollowable(Exception):
    """An operator at which axes cannot be followed; the text says why."""


CONTRADICTIONS = (IndexError, ValueError)
"""What a rule raises on a node whose attributes do not fit its inputs: no runtime could run it, and
nothing is followed."""


@dataclass(frozen=True)
class Entry:
    """One number of a shape that is computed at run time.

    Attributes:
        token: its value at full size, or a name when it is not known.
        axes: the axes that it counts.
        blocks: the dimension that it is the size of, if it is one's.
    """

    token: int | str
    axes: frozenset[int] = frozenset()
    blocks: Blocks | None = None


@dataclass(frozen=True)
class Layer:
    """A recurrent node whose weights are constants.

    Attributes:
        recurrent: its view.
        axes: per direction.
        inputs: blocks of its input's last dimension.
    """

    recurrent: Recurrent
    axes: tuple[int, ...]
    inputs: Blocks


def unknown_operator(operator: str) -> Unfollowable:
    """Why an operator without a rule is an obstacle."""
    if operator in RANDOM_OPERATORS:
        return Unfollowable(
            "it draws new random numbers at every run, so results behind it cannot be verified: "
            "export the graph in evaluation mode (`model.eval()`), or with its noise as an input"
        )
    return Unfollowable(f"the operator {operator} is not followed")
