"""What tests of trained graphs share: torch against ONNX Runtime on small random graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from tests.compress.onnx.drawing import Builder
from tests.compress.onnx.proving import run


def tensors(feeds: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}


def assert_same(model: ModelProto, feeds: dict[str, NDArray[Any]], tolerance: float) -> TorchGraph:
    """Every output as ONNX Runtime gives it: values, shapes and types."""
    graph = TorchGraph.of(model)
    wanted = run(model, feeds)
    with torch.no_grad():
        found = graph(tensors(feeds), list(wanted))
    for name, value in wanted.items():
        np.testing.assert_allclose(
            found[name].numpy(), value, rtol=tolerance, atol=tolerance, err_msg=name
        )
        assert found[name].numpy().dtype == value.dtype
        assert tuple(found[name].shape) == value.shape
    return graph


def built(b: Builder, *values: str, kinds: Sequence[int] = ()) -> ModelProto:
    """The graph with values as outputs of any shape; `kinds` are their types, float32 without."""
    for at, value in enumerate(values):
        b.output(value, f"y{at}", None, *([kinds[at]] if kinds else []))
    return b.model()


def one(operator: str, *inputs: Any, opset: int = 17, outputs: int = 1, **more: Any) -> None:
    """Compares one node; arrays of floats are inputs of the graph, lists are constants.

    Args:
        operator: its type.
        inputs: its inputs in order; None is left out.
        opset: version of the standard operators.
        outputs: how many it has.
        more: attributes; `tolerance`, and `kinds` of the outputs.
    """
    tolerance, kinds = more.pop("tolerance", 1e-5), more.pop("kinds", ())
    b = Builder(opset=opset)
    names = []
    for at, value in enumerate(inputs):
        if value is None:
            names.append("")
        elif isinstance(value, np.ndarray):
            names.append(b.input(f"x{at}", value, [None] * value.ndim))
        else:
            names.append(b.constant(value))
    while not names[-1]:
        names.pop()
    made = [f"made{at}" for at in range(outputs)]
    b.node(operator, names, made, **more)
    assert_same(built(b, *made, kinds=kinds), b.feeds, tolerance)


def floats(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
