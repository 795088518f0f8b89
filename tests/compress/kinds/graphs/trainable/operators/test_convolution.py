"""Convolutions and pools, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import assert_same, built, floats, one, tensors
from tests.compress.onnx.drawing import Builder

WINDOWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded alike": {"pads": [1, 2, 1, 2]},
    "padded at one end": {"pads": [0, 2, 1, 0]},
    "in strides": {"strides": [2, 3], "pads": [1, 0, 1, 1]},
    "dilated": {"dilations": [2, 1], "pads": [1, 1, 1, 1]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "valid": {"auto_pad": "VALID", "strides": [2, 1]},
}


@pytest.mark.parametrize("windows", WINDOWS)
def test_convolutions(windows: str) -> None:
    one("Conv", floats(2, 4, 7, 8), floats(6, 4, 3, 2, seed=1), floats(6), **WINDOWS[windows])


@pytest.mark.parametrize("sizes", [(9,), (5, 6), (4, 5, 6)], ids=["1", "2", "3"])
def test_convolutions_of_one_to_three_dimensions_and_with_groups(sizes: tuple[int, ...]) -> None:
    kernel = floats(6, 2, *[3] * len(sizes), seed=1)
    one("Conv", floats(2, 4, *sizes), kernel, group=2)


def test_convolution_of_four_dimensions_is_refused() -> None:
    b = Builder()
    x = b.floats("x", (1, 1, 2, 2, 2, 2), [None] * 6)
    y = b.node("Conv", [x, b.weights(1, 1, 2, 2, 2, 2)])
    with pytest.raises(NotTrainable, match="its windows have 4 dimensions"):
        TorchGraph.of(built(b, y))(tensors(b.feeds), ["y0"])


TRANSPOSED = {
    **{name: each for name, each in WINDOWS.items() if name not in ("same lower", "valid")},
    "with more at the end": {"strides": [2, 3], "output_padding": [1, 2], "pads": [1, 0, 1, 1]},
    "of a given shape": {"strides": [2, 2], "output_shape": [15, 15]},
}


@pytest.mark.parametrize("windows", TRANSPOSED)
def test_transposed_convolutions(windows: str) -> None:
    kernel = floats(4, 6, 3, 2, seed=1)
    one("ConvTranspose", floats(2, 4, 7, 8), kernel, floats(6), **TRANSPOSED[windows])


POOLS = {
    **{name: each for name, each in WINDOWS.items() if name not in ("dilated", "padded alike")},
    "padded": {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    "to the end": {"ceil_mode": 1, "strides": [2, 3], "pads": [1, 1, 1, 1]},
    "to the end, unpadded": {"ceil_mode": 1, "strides": [2, 2]},
}


@pytest.mark.parametrize("windows", [name for name in POOLS if name != "padded at one end"])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_pools(operator: str, windows: str) -> None:
    one(operator, floats(2, 3, 7, 8), opset=19, kernel_shape=[3, 2], **POOLS[windows])


@pytest.mark.parametrize("windows", ["padded", "to the end"])
def test_padding_may_be_counted(windows: str) -> None:
    settings = {"kernel_shape": [3, 2], "count_include_pad": 1, **POOLS[windows]}
    one("AveragePool", floats(2, 3, 7, 8), opset=19, **settings)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_dilated_pools(operator: str) -> None:
    settings = {"kernel_shape": [3], "dilations": [2], "pads": [1, 1]}
    one(operator, floats(2, 3, 9), opset=19, **settings)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_norms_of_windows(order: int) -> None:
    one("LpPool", floats(2, 3, 7, 8), opset=18, kernel_shape=[3, 2], strides=[2, 1], p=order)


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
def test_pools_of_everything(operator: str) -> None:
    one(operator, floats(2, 3, 4, 5))


def test_indices_of_a_pool_are_refused() -> None:
    b = Builder()
    b.node("MaxPool", [b.floats("x", (1, 1, 4), [1, 1, 4])], ["y", "at"], kernel_shape=[2])
    with pytest.raises(NotTrainable, match="its indices are read"):
        TorchGraph.of(built(b, "y"))


def test_kernel_and_bias_are_trained() -> None:
    b = Builder()
    kernel, bias = b.weights(3, 2, 3), b.weights(3)
    x = b.floats("x", (1, 2, 8), [1, 2, None])
    graph = assert_same(built(b, b.node("Conv", [x, kernel, bias])), b.feeds, 1e-5)
    assert list(graph.weights) == [kernel, bias]
    graph(tensors(b.feeds), ["y0"])["y0"].sum().backward()
    torch.testing.assert_close(graph.weights[bias].grad, torch.full((3,), 6.0))
    assert graph.weights[kernel].grad is not None
