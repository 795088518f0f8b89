"""Quantized graphs with 32-bit weights again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from benchmarks.published.dequantizing import dequantized
from benchmarks.published.exporting import export
from isslim.runtime.graphs.recorded_inputs import GraphSession


class Tagger(nn.Module):
    """LSTMs in both directions, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 10, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of every step."""
        scores: torch.Tensor = self.head(self.lstm(x)[0])
        return scores


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    free = {"x": ("batch", "steps", None), "scores": ("batch", "steps", None)}
    export(Tagger(), (torch.zeros(1, 4, 6),), tmp_path / "float.onnx", free)
    path = tmp_path / "quantized.onnx"
    quantize_dynamic(tmp_path / "float.onnx", path, weight_type=QuantType.QInt8)
    return path


def test_outputs_are_those_of_the_graph_before_quantization(
    quantized: Path, tmp_path: Path
) -> None:
    model = dequantized(onnx.load(quantized))
    onnx.save(model, tmp_path / "again.onnx")
    assert not {"DynamicQuantizeLSTM", "MatMulInteger", "DynamicQuantizeLinear"} & {
        node.op_type for node in model.graph.node
    }
    x = np.random.default_rng(0).normal(size=(1, 7, 6)).astype(np.float32)
    before, after = (
        GraphSession(tmp_path / f"{name}.onnx").run({"x": x})["scores"]
        for name in ("float", "again")
    )
    np.testing.assert_allclose(after, before, atol=0.02)  # the weights' own rounding is left


def test_weights_are_the_quantized_ones_times_their_scale(quantized: Path) -> None:
    model, again = onnx.load(quantized), dequantized(onnx.load(quantized))
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    node = next(node for node in model.graph.node if node.op_type == "DynamicQuantizeLSTM")
    whole, scale, zero = (arrays[node.input[place]] for place in (2, 10, 11))
    plain = next(node for node in again.graph.node if node.op_type == "LSTM")
    found = {each.name: numpy_helper.to_array(each) for each in again.graph.initializer}
    recurrent = found[plain.input[2]]
    for side in range(2):
        own = scale if scale.ndim == 0 else scale[side]
        offset = int(zero if zero.ndim == 0 else zero[side])
        wanted = (whole[side].astype(np.float64) - offset) * own
        np.testing.assert_allclose(recurrent[side], wanted.T, rtol=1e-6)


def test_a_product_that_is_written_otherwise_is_refused(quantized: Path) -> None:
    model = onnx.load(quantized)
    integer = next(node for node in model.graph.node if node.op_type == "MatMulInteger")
    cast = next(node for node in model.graph.node if integer.output[0] in node.input)
    cast.op_type = "Identity"
    with pytest.raises(ValueError, match="is not followed by Cast and Mul"):
        dequantized(model)
