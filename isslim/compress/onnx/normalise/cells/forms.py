"""What one step of a loop computes, as sums of products and of matrix products.

A form is a value (B, n): the sum over its keys, each a product of atoms, of

    coefficient (n,) * product    and    product (B, m) @ matrix (m, n)

An atom is what stays whole: a value that enters the step, or a function of a form. The same cell
has the same form however it is written: gates side by side or one by one, z h + (1 - z) n or
n + z (h - n).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
"""Float64, so that products of weights are rounded once, when they become weights again."""
IDENTITY = "Identity"
"""The function of an atom that is a sum held together."""


_ROUNDING = float(np.finfo(np.float32).eps) / 2


class NotACell(Exception):
    """A loop computes what no recurrent operator does; the text says what, as a clause."""


@dataclass(frozen=True, eq=False)
class Atom:
    """A factor, equal to itself alone.

    Attributes:
        serial: its number, by which the factors of a product are sorted.
        width: n.
        name: of a value that enters the step; of a function, the operator.
        parameters: numbers of the function, such as the slope of a LeakyRelu.
        of: what it is a function of; None for a value that enters.
    """

    serial: int
    width: int
    name: str
    parameters: tuple[float, ...] = ()
    of: Form | None = None


Key = tuple[Atom, ...]


@dataclass(frozen=True, eq=False)
class Form:
    """A value of one step.

    Attributes:
        width: n.
        factors: per product of atoms its coefficient (n,); of no atoms, the constant.
        matrices: per product of atoms the matrix (m, n) that it is multiplied by.
    """

    width: int
    factors: Mapping[Key, Numbers]
    matrices: Mapping[Key, Numbers]

    @property
    def atom(self) -> Atom | None:
        """The one atom that this is; None for anything else."""
        if self.matrices or len(self.factors) != 1:
            return None
        ((key, coefficient),) = self.factors.items()
        return key[0] if len(key) == 1 and is_one(coefficient) else None

    @property
    def constant(self) -> Numbers | None:
        """The numbers (n,) that this always is; None when it depends on anything."""
        if self.matrices or set(self.factors) - {()}:
            return None
        return self.factors.get((), np.zeros(self.width))

    def equals(self, other: Form) -> bool:
        """Whether both are the same sum, number by number."""
        return _equal(self.factors, other.factors) and _equal(self.matrices, other.matrices)


class Forms:
    """Makes forms; equal functions of equal forms become one atom."""

    def __init__(self) -> None:
        self._serial = 0
        self._functions: list[Atom] = []

    def entering(self, name: str, width: int) -> Form:
        """A value that enters the step.

        Args:
            name: of the value.
            width: n.
        """
        return _alone(self._atom(name, width))

    def function(self, name: str, of: Form, parameters: tuple[float, ...] = ()) -> Form:
        """A function of every number of a form.

        Args:
            name: the operator.
            of: its argument.
            parameters: numbers of the function.
        """
        for known in self._functions:
            same = (known.name, known.parameters) == (name, parameters)
            if same and known.of is not None and known.of.equals(of):
                return _alone(known)
        made = self._atom(name, of.width, parameters, of)
        self._functions.append(made)
        return _alone(made)

    def product(self, one: Form, other: Form) -> Form:
        """Two forms multiplied number by number, as a sum of products.

        Args:
            one: a form.
            other: of the same width, or one of them of width 1.
        """
        for numbers, form in ((one.constant, other), (other.constant, one)):
            if numbers is not None:
                return _scaled(form, numbers)
        width = _common_width(one, other)
        factors: dict[Key, Numbers] = {}
        # A matrix product has no factors to sort among others: as a whole it is one.
        for first, one_by in self._whole(one).factors.items():
            for second, other_by in self._whole(other).factors.items():
                key = tuple(sorted((*first, *second), key=lambda atom: atom.serial))
                _add(factors, key, np.broadcast_to(one_by * other_by, (width,)))
        return _form(width, factors, {})

    def part(self, form: Form, start: int, stop: int) -> Form:
        """Some of the numbers of a form.

        Args:
            form: a form.
            start: the first one.
            stop: behind the last one.

        Raises:
            NotACell: for a part of a value that enters the step.
        """
        width = len(range(*slice(start, stop).indices(form.width)))
        if (start, width) == (0, form.width):
            return form
        made = _form(width, {}, {key: value[:, start:stop] for key, value in form.matrices.items()})
        for key, coefficient in form.factors.items():
            each = _form(width, {(): coefficient[start:stop]}, {})
            for atom in key:
                each = self.product(each, self._part_of(atom, start, stop))
            made = added(made, each)
        return made

    def _part_of(self, atom: Atom, start: int, stop: int) -> Form:
        if atom.width == 1:
            return _alone(atom)
        if atom.of is None:
            raise NotACell(f"it takes a part of '{atom.name}'")
        return self.function(atom.name, self.part(atom.of, start, stop), atom.parameters)

    def _whole(self, form: Form) -> Form:
        return self.function(IDENTITY, form) if form.matrices else form

    def _atom(
        self, name: str, width: int, parameters: tuple[float, ...] = (), of: Form | None = None
    ) -> Atom:
        self._serial += 1
        return Atom(self._serial, width, name, parameters, of)


def is_one(coefficient: Numbers) -> bool:
    """Whether a coefficient is 1 in float32: 6 * (1 / 6) may be rounded."""
    return bool((np.abs(coefficient - 1) <= _ROUNDING).all())


def constant(numbers: NDArray[np.generic]) -> Form:
    """Numbers (n,), for all sequences the same."""
    return _form(numbers.size, {(): numbers.astype(np.float64).reshape(-1)}, {})


def added(one: Form, other: Form, sign: float = 1.0) -> Form:
    """The sum of two forms, or their difference.

    Args:
        one: a form.
        other: of the same width, or one of them of width 1.
        sign: of the other.
    """
    width = _common_width(one, other)
    factors: dict[Key, Numbers] = {}
    matrices: dict[Key, Numbers] = {}
    for form, by in ((one, 1.0), (other, sign)):
        if form.matrices and form.width != width:
            raise NotACell("a matrix product of one column is added to several")
        for key, coefficient in form.factors.items():
            _add(factors, key, np.broadcast_to(by * coefficient, (width,)))
        for key, matrix in form.matrices.items():
            _add(matrices, key, by * matrix)
    return _form(width, factors, matrices)


def multiplied(form: Form, matrix: NDArray[np.generic]) -> Form:
    """A form (B, m) @ a matrix (m, n).

    Args:
        form: a form.
        matrix: of constants.

    Raises:
        NotACell: when the sizes do not fit.
    """
    if form.width != matrix.shape[0]:
        raise NotACell("it multiplies by a matrix that does not fit")
    numbers, width = matrix.astype(np.float64), matrix.shape[1]
    factors: dict[Key, Numbers] = {}
    matrices: dict[Key, Numbers] = {}
    for key, coefficient in form.factors.items():
        if not key:
            factors[()] = coefficient @ numbers
        else:
            _add(matrices, key, coefficient[:, None] * numbers)
    for key, inner in form.matrices.items():
        _add(matrices, key, inner @ numbers)
    return _form(width, factors, matrices)


def _scaled(form: Form, numbers: Numbers) -> Form:
    width = max(form.width, numbers.size)
    if form.matrices and form.width != width:
        raise NotACell("a matrix product of one column is multiplied by several numbers")
    factors = {
        key: np.broadcast_to(value * numbers, (width,)) for key, value in form.factors.items()
    }
    return _form(width, factors, {key: value * numbers for key, value in form.matrices.items()})


def _alone(atom: Atom) -> Form:
    return Form(atom.width, {(atom,): np.ones(atom.width)}, {})


def _form(width: int, factors: dict[Key, Numbers], matrices: dict[Key, Numbers]) -> Form:
    """A form without what is zero everywhere."""
    return Form(
        width,
        {key: value for key, value in factors.items() if value.any()},
        {key: value for key, value in matrices.items() if value.any()},
    )


def _common_width(one: Form, other: Form) -> int:
    if one.width != other.width and 1 not in (one.width, other.width):
        raise NotACell("it combines values of different sizes")
    return max(one.width, other.width)


def _add(terms: dict[Key, Numbers], key: Key, value: Numbers) -> None:
    terms[key] = terms[key] + value if key in terms else value


def _equal(one: Mapping[Key, Numbers], other: Mapping[Key, Numbers]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(value, other[key]) for key, value in one.items()
    )
