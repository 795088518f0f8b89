"""Forms are equal where what they stand for is, and compute what numpy does."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.onnx.normalise.cells.forms import (
    Form,
    Forms,
    NotACell,
    added,
    constant,
    is_one,
    multiplied,
)

RNG = np.random.default_rng(0)
WIDTH, BATCH = 4, 3


def value(form: Form, entering: dict[str, np.ndarray]) -> np.ndarray:
    """What a form stands for, of values (B, n) that enter."""

    def product(key: tuple) -> np.ndarray:
        made = np.ones((BATCH, 1))
        for atom in key:
            inner = entering[atom.name] if atom.of is None else value(atom.of, entering)
            made = made * (np.tanh(inner) if atom.name == "Tanh" else inner)
        return made

    total = np.zeros((BATCH, form.width))
    for key, coefficient in form.factors.items():
        total = total + product(key) * coefficient
    for key, matrix in form.matrices.items():
        total = total + np.broadcast_to(product(key), (BATCH, len(matrix))) @ matrix
    return total


@pytest.fixture
def forms() -> Forms:
    return Forms()


def test_a_form_is_what_numpy_computes(forms: Forms) -> None:
    given = {name: RNG.normal(size=(BATCH, WIDTH)) for name in "ab"}
    a, b = (forms.entering(name, WIDTH) for name in "ab")
    matrix, row = RNG.normal(size=(WIDTH, 6)), RNG.normal(size=6)
    inner = added(multiplied(forms.product(a, b), matrix), constant(row))
    squashed = forms.function("Tanh", inner)
    made = forms.product(added(constant(np.ones(1)), squashed, -1.0), inner)
    expected_inner = (given["a"] * given["b"]) @ matrix + row
    expected = (1 - np.tanh(expected_inner)) * expected_inner
    np.testing.assert_allclose(value(made, given), expected, rtol=1e-12, atol=1e-12)
    part = forms.part(made, 2, 5)
    np.testing.assert_allclose(value(part, given), expected[:, 2:5], rtol=1e-12, atol=1e-12)


def test_two_ways_to_mix_are_one_form(forms: Forms) -> None:
    z, h, n = (forms.entering(name, WIDTH) for name in "zhn")
    left = added(constant(np.ones(1)), z, -1.0)
    one = added(forms.product(z, h), forms.product(left, n))
    other = added(n, forms.product(z, added(h, n, -1.0)))
    assert one.equals(other)
    assert not one.equals(added(other, n))


def test_equal_functions_are_one_atom_and_others_are_not(forms: Forms) -> None:
    a = forms.entering("a", WIDTH)
    once = forms.function("Elu", multiplied(a, np.eye(WIDTH)), (1.0,)).atom
    assert once is forms.function("Elu", multiplied(a, np.eye(WIDTH)), (1.0,)).atom
    assert once is not forms.function("Elu", multiplied(a, np.eye(WIDTH)), (2.0,)).atom
    assert once is not forms.function("Elu", multiplied(a, 2 * np.eye(WIDTH)), (1.0,)).atom


def test_a_part_of_functions_side_by_side_is_the_function_of_the_part(forms: Forms) -> None:
    matrix = RNG.normal(size=(WIDTH, 8))
    a = forms.entering("a", WIDTH)
    joint = forms.part(forms.function("Tanh", multiplied(a, matrix)), 4, 8)
    alone = forms.function("Tanh", multiplied(a, matrix[:, 4:]))
    assert joint.atom is alone.atom


def test_a_third_of_three_is_one_in_float32() -> None:
    assert is_one(np.array([6 * np.float64(np.float32(1 / 6))]))
    assert not is_one(np.array([1 + 1e-6]))


def test_what_is_no_cell_is_refused_by_name(forms: Forms) -> None:
    a, b = forms.entering("a", WIDTH), forms.entering("b", WIDTH + 1)
    with pytest.raises(NotACell, match="takes a part of 'a'"):
        forms.part(a, 0, 2)
    with pytest.raises(NotACell, match="values of different sizes"):
        added(a, b)
    with pytest.raises(NotACell, match="a matrix that does not fit"):
        multiplied(a, np.eye(WIDTH + 1))
    column = multiplied(a, np.ones((WIDTH, 1)))
    with pytest.raises(NotACell, match="one column is added to several"):
        added(column, a)
    with pytest.raises(NotACell, match="one column is multiplied by several"):
        forms.product(column, constant(np.arange(1.0, 4.0)))
