"""What eight bits do to weights: the range that never saturates, one scale or many, and the spreading before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from compress.export import export
from compress.networks.lstm import LstmLanguageModel, LstmSpec
from compress.quantize import _spread, quantize
from runtime.scoring import score_batch
from runtime.session import VariantSession

V, K = 60, 12
MOST = 32767
"""What sixteen bits hold."""


def network(vocabulary: int = V) -> LstmLanguageModel:
    made = LstmLanguageModel(LstmSpec(vocabulary, 10, (24, 20), bottleneck=K)).eval()
    made.initialise(0.5, torch.Generator().manual_seed(0))
    return made


def held(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def test_two_products_of_a_weight_and_an_activation_fit_sixteen_bits(tmp_path: Path) -> None:
    export(network(), tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    tensors = held(tmp_path / "b.onnx")
    weights = {name: each for name, each in tensors.items() if name.endswith("_quantized") and "embedding" not in name}
    assert len(weights) == 2 * 2 + 2
    for weight in weights.values():
        assert weight.dtype == np.int8  # by such alone the instructions of VNNI and AMX are used
        assert 2 * 255 * int(np.abs(weight.astype(np.int32)).max()) <= MOST
    assert not any(tensors[name.replace("_quantized", "_zero_point")].any() for name in weights)


def test_matrices_have_one_scale_unless_a_weight_stands_out(tmp_path: Path) -> None:
    even, uneven = network(600), network(600)
    with torch.no_grad():
        uneven.decoder.weight[7, 3] = 40.0
        uneven.layers[1].weight_hh_l0[5, 2] = 40.0
    shapes = []
    for number, each in enumerate((even, uneven)):
        export(each, tmp_path / f"{number}.onnx")
        quantize(tmp_path / f"{number}.onnx", tmp_path / f"{number}-int8.onnx")
        tensors = held(tmp_path / f"{number}-int8.onnx")
        lstms = [f"{kind}_weight_{layer}" for layer in (0, 1) for kind in ("input", "recurrent")]
        shapes.append([tensors[f"{name}_scale"].shape for name in ("decoder_Transposed", *lstms)])
    # Both matrices of an LSTM are quantized alike.
    assert shapes == [[(), (1,), (1,), (1,), (1,)], [(600,), (1,), (1,), (1, 80), (1, 80)]]


def test_spreading_leaves_the_function_and_evens_the_weights(tmp_path: Path) -> None:
    # Components as principal axes leave them, each far larger than the next.
    skewed = network()
    size = torch.logspace(0, -3, K)
    with torch.no_grad():
        skewed.decoder.weight *= size
        assert skewed.bottleneck is not None
        skewed.bottleneck.bias.fill_(1.0)
    export(skewed, tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    before = held(tmp_path / "a.onnx")["decoder"]
    _spread(model.graph)
    onnx.save(model, tmp_path / "b.onnx")
    after = held(tmp_path / "b.onnx")["decoder"]
    assert np.abs(after).max() / after.std() < 0.75 * np.abs(before).max() / before.std()
    sessions = [VariantSession(tmp_path / f"{name}.onnx") for name in "ab"]
    one, other = (score_batch(session, [[3, 1, 4, 1, 5, 9]], 2)[0].log_probs for session in sessions)
    np.testing.assert_allclose(other, one, rtol=0, atol=2e-5)
