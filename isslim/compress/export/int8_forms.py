"""The ways in which a graph's weights can take 8 bits, and the record of which parts took them.

More scales are more precise and take more time. The cost of a scale per column is negligible in a
table and in the product of an LSTM's input, which is computed once per run; in the recurrent
product it takes a tenth of the time of a sentence, and in a wide decoder a fifth of the time of a
single step (`benchmarks.int8_forms`). `FORMS` lists all forms, the fastest first;
`isslim/compress/measurement/int8_choice.py` measures which one a model needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """Parts of a network whose weights may take 8 bits, in the order in which a card lists them."""

    EMBEDDING = "embedding"
    CONVOLUTIONS = "convolutions"
    HIGHWAYS = "highway layers"
    RECURRENT = "recurrent layers"
    SOFTMAX = "softmax"
    PRODUCTS = "matrix products"


class Ranges(StrEnum):
    """How much of what an activation was on recorded runs its 8 bits span."""

    DIVERGENCE = "the range of least divergence"
    MOST = "99.99 % of the values"
    ALL = "all values"


@dataclass(frozen=True)
class Form:
    """How weights take 8 bits.

    Attributes:
        recurrent: whether recurrent matrices have a scale per column instead of one each.
        products: the same for all other matrix products.
        kept: parts (see `Part`) that stay float32.
        scans: whether a layer of which ONNX Runtime has no int8 operator is a Scan of int8
            products: a GRU or RNN, which stays float32 otherwise, and a narrow recurrence, whose
            matrices are multiplied out otherwise.
        convolutions: which ranges of activations convolutions have; None: they stay float32.
    """

    recurrent: bool = False
    products: bool = False
    kept: frozenset[str] = frozenset()
    scans: bool = False
    convolutions: Ranges | None = None

    @property
    def description(self) -> str:
        """The form in words."""
        said = [_SCALES[self.recurrent, self.products]]
        if self.scans:
            said.append("recurrent layers as int8 Scan")
        if self.convolutions is not None:
            said.append(f"convolutions calibrated on {self.convolutions} in recorded runs")
        if self.kept:
            said.append(f"float32: {', '.join(sorted(self.kept))}")
        return "; ".join(said)


_SCALES = {
    (False, False): "8 bits, one scale for a matrix",
    (True, False): (
        "8 bits, a scale per column of recurrent matrices, one scale for each other matrix"
    ),
    (False, True): "8 bits, one scale for a recurrent matrix, a scale per column of the others",
    (True, True): "8 bits, a scale per column",
}
"""By `Form.recurrent` and `Form.products`."""


# The fastest form that is good enough is chosen, so the order matters.
FORMS = (Form(), Form(recurrent=True), Form(products=True), Form(recurrent=True, products=True))
"""The fastest first."""


@dataclass(frozen=True)
class EightBit:
    """Which parts of a graph are stored in 8 bits, as counted while it was written.

    Attributes:
        parts: names; `2 of 3 recurrent layers` where only some do.
        rest: parts that stay float32 although they have a quantizable kind of weights.
        scans: whether there is an int8 Scan in it because of `Form.scans`.
        convolutions: whether any takes 8 bits, because of `Form.convolutions`.
    """

    parts: list[str]
    rest: list[str]
    scans: bool = False
    convolutions: bool = False


@dataclass
class PartCount:
    """Nodes of one part of a network.

    Attributes:
        done: those whose weights took 8 bits.
        total: all that have weights.
    """

    done: int = 0
    total: int = 0


def eight_bit(counts: Mapping[Part, PartCount]) -> EightBit:
    """The record of the counts taken while a graph was rewritten."""
    parts, rest = [], []
    for part in Part:
        count = counts.get(part, PartCount())
        if count.done == count.total > 0:
            parts.append(part.value)
        elif count.done:
            parts.append(f"{count.done} of {count.total} {part}")
            rest.append(f"the other {part}")
        elif count.total:
            rest.append(part.value)
    return EightBit(parts, rest)
