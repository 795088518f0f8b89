"""What a window reads, against convolutions in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from isslim.compress.onnx.model.windows import OUTSIDE, Window, most_rows
from tests.compress.onnx.drawing import Builder
from tests.compress.onnx.proving import run

FORMS: dict[str, dict[str, object]] = {
    "plain": {},
    "stride": {"strides": [2, 3]},
    "dilation": {"dilations": [2, 1]},
    "pads": {"pads": [1, 2, 0, 1]},
    "all": {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 3, 2, 0]},
    "SAME_UPPER": {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    "SAME_LOWER": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "VALID": {"auto_pad": "VALID"},
}


@pytest.mark.parametrize("form", list(FORMS))
def test_rows_times_the_matrices_of_all_places_are_the_convolution(form: str) -> None:
    b = Builder(rng=np.random.default_rng(5))
    x = b.floats("x", (2, 3, 7, 8), [2, 3, 7, 8])
    kernel = b.weights(4, 3, 3, 2)
    b.output(b.node("Conv", [x, kernel], **FORMS[form]), "y")  # type: ignore[arg-type]
    expected = run(b.model(), b.feeds)["y"]
    window = Window.of(b.nodes[0], (3, 2))
    shape = [2, *(n for each in window.places((7, 8)) for n in each.shape)]  # N, O, K, O, K
    rows = window.rows(b.feeds["x"], 10**6).reshape(*shape, 3)
    made = np.einsum("nhkwlc,mckl->nmhw", rows, b.constants[kernel])
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)


def test_places_over_the_margin_read_zero() -> None:
    window = Window.of(helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1]), (3,))
    (places,) = window.places((2,))
    np.testing.assert_array_equal(places, [[OUTSIDE, 0, 1], [0, 1, OUTSIDE]])
    rows = window.rows(np.array([[[5.0, 7.0]]]), 100)
    np.testing.assert_array_equal(rows[:, 0], [0, 5, 7, 5, 7, 0])


def test_of_many_rows_so_many_are_drawn_from_all_places() -> None:
    window = Window((3,), (1,), (1,), (0, 0))
    value = np.arange(3000, dtype=np.float32).reshape(1, 1, 3000)
    rows = window.rows(value, 300)[:, 0]
    assert rows.shape == (300,)
    assert (np.diff(rows) >= -2).all()  # in their order
    assert np.ptp(rows) > 2900
    np.testing.assert_array_equal(rows, window.rows(value, 300)[:, 0])


def test_a_window_larger_than_its_input_has_no_position() -> None:
    rows = Window((5,), (1,), (1,), (0, 0)).rows(np.ones((1, 2, 3), np.float32), 10)
    assert rows.shape == (0, 2)


def test_of_many_runs_each_is_observed_by_fewer_rows() -> None:
    assert [most_rows(24, runs) for runs in (1, 32, 64, 320)] == [4096, 4096, 2048, 410]
    assert [most_rows(512, runs) for runs in (32, 64)] == [8192, 4096]
