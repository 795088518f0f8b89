"""Normalisations, in torch and in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.kinds.graphs.trainable.same import built, floats, one
from tests.compress.onnx.drawing import Builder

CHANNELS = [floats(6, seed=seed) for seed in (1, 2, 3)]
VARIANCE = np.abs(floats(6, seed=4)) + np.float32(0.1)


def test_stored_statistics_of_channels() -> None:
    one("BatchNormalization", floats(2, 6, 4), *CHANNELS, VARIANCE, epsilon=1e-3)
    one("BatchNormalization", floats(2, 6), *CHANNELS, VARIANCE, opset=9)


def test_statistics_of_the_data_are_refused() -> None:
    b = Builder()
    inputs = [b.floats("x", (2, 3, 4), [2, 3, 4]), *[b.weights(3) for _ in range(4)]]
    names = ["y", "mean", "variance"]
    b.node("BatchNormalization", inputs, names, training_mode=1)
    with pytest.raises(NotTrainable, match="its training_mode is 1; only 0 is supported"):
        TorchGraph.of(built(b, "y"))
    b.nodes[0].attribute.clear()
    with pytest.raises(NotTrainable, match="it gives statistics of the data"):
        TorchGraph.of(built(b, "y"))


def test_each_instance() -> None:
    one("InstanceNormalization", floats(2, 6, 4, 3), *CHANNELS[:2], epsilon=1e-3)


@pytest.mark.parametrize("opset", [18, 21])
def test_groups_of_channels(opset: int) -> None:
    scale, bias = (each[:3] if opset < 21 else each for each in CHANNELS[:2])
    one("GroupNormalization", floats(2, 6, 4), scale, bias, opset=opset, num_groups=3)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("outputs", [1, 3])
def test_layers(axis: int, outputs: int) -> None:
    shape = (6,) if axis == -1 else (3, 6)
    scale, bias = floats(*shape, seed=1), floats(*shape, seed=2)
    one("LayerNormalization", floats(2, 3, 6), scale, bias, axis=axis, outputs=outputs)
    one("LayerNormalization", floats(2, 3, 6), scale, axis=axis, epsilon=0.1)


@pytest.mark.parametrize("axis", [-1, 1])
def test_root_mean_squares(axis: int) -> None:
    scale = floats(*((6,) if axis == -1 else (3, 6)), seed=1)
    one("RMSNormalization", floats(2, 3, 6), scale, opset=23, axis=axis)


@pytest.mark.parametrize("order", [1, 2])
def test_norms_of_vectors_zero_among_them(order: int) -> None:
    x = floats(2, 3)
    x[0] = 0
    one("LpNormalization", x, p=order, axis=-1)


def test_mean_and_variance() -> None:
    one("MeanVarianceNormalization", floats(2, 3, 4, 5), opset=13)
    one("MeanVarianceNormalization", floats(2, 3, 4), opset=13, axes=[0, 2])


@pytest.mark.parametrize("size", [1, 3, 5])
def test_responses_of_neighbouring_channels(size: int) -> None:
    one("LRN", floats(2, 6, 4, 4), size=size, alpha=0.5, beta=0.6, bias=1.5)
