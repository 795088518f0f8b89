"""Graphs that the tests of rewriting share."""

from __future__ import annotations

import numpy as np

from isslim.compress.onnx.inference import infer
from isslim.compress.onnx.model.split_model import split_constants
from isslim.compress.onnx.normalise.normal_form import normal_form
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.rewrite.named_arrays import Meaning, declare
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.pruning.axes import Array
from tests.compress.onnx.drawing import BATCH, STEPS, Builder

WIDTH, UNITS = 3, 4


def traced(b: Builder) -> tuple[AxisFacts, dict[str, Array], Meaning]:
    """A graph with its arrays and what they mean."""
    trace = infer(normal_form(split_constants(simplified(b.model()))))
    return (trace, *declare(trace))


def tagger(kind: str = "LSTM", direction: str = "bidirectional", **more: object) -> Builder:
    """A layer and a Gemm behind it; `lstm_0`, `gru_0` or `rnn_0`, and `gemm_3`."""
    b = Builder(rng=np.random.default_rng(3))
    count = 2 if direction == "bidirectional" else 1
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.recurrent(kind, x, WIDTH, UNITS, direction, **more)[0]
    turned = b.node("Transpose", [steps], perm=[0, 2, 1, 3])
    flat = b.node("Reshape", [turned, b.constant([-1, count * UNITS])])
    b.output(b.node("Gemm", [flat, b.weights(2, count * UNITS), b.weights(2)], transB=1), "y")
    b.outputs[-1].type.tensor_type.shape.dim.add().dim_param = "N"
    b.outputs[-1].type.tensor_type.shape.dim.add().dim_value = 2
    return b
