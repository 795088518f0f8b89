"""The int8 forms of language models with narrow layers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from isslim.compress.export.int8_forms import Form
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.export.int8 import quantize_network
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.onnx.model.split_model import nodes
from isslim.runtime.language.scoring import score_batch
from isslim.runtime.language.session import LanguageSession
from tests.compress.kinds.language.export.test_ranks import ranked

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]


def log_probs(path: Path) -> np.ndarray:
    return np.array(score_batch(LanguageSession(path), [TEXT], 2)[0].log_probs)


@pytest.mark.parametrize("scans", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_narrow_layers_and_blocks_take_eight_bits(cell: str, scans: bool, tmp_path: Path) -> None:
    network = ranked(cell)
    export(network, tmp_path / "a.onnx")
    found = quantize_network(network, tmp_path / "a.onnx", tmp_path / "b.onnx", Form(scans=scans))
    layers = [] if cell == "gru" and not scans else ["recurrent layers"]
    assert found.parts == ["embedding", *layers, "softmax"]
    assert found.rest == ([] if layers else ["recurrent layers"])
    assert found.scans == scans
    made = Counter(node.op_type for node in nodes(onnx.load(tmp_path / "b.onnx").graph))
    assert made["MatMul"] + made["Gemm"] + made["LSTM"] == 0
    # The first layer has no narrow recurrence: only a GRU of it is a Scan.
    expected = {
        ("lstm", False): {"DynamicQuantizeLSTM": 2, "Scan": 0, "GRU": 0},
        ("lstm", True): {"DynamicQuantizeLSTM": 1, "Scan": 1, "GRU": 0},
        ("gru", False): {"DynamicQuantizeLSTM": 0, "Scan": 0, "GRU": 2},
        ("gru", True): {"DynamicQuantizeLSTM": 0, "Scan": 2, "GRU": 0},
    }[cell, scans]
    assert {operator: made[operator] for operator in expected} == expected
    np.testing.assert_allclose(
        log_probs(tmp_path / "b.onnx"), log_probs(tmp_path / "a.onnx"), rtol=0, atol=0.05
    )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_recurrent_layers_that_stay_float32_are_no_int8_scans(tmp_path: Path) -> None:
    network = ranked("lstm")
    export(network, tmp_path / "a.onnx")
    form = Form(kept=frozenset({"recurrent layers"}), scans=True)
    found = quantize_network(network, tmp_path / "a.onnx", tmp_path / "b.onnx", form)
    assert (found.parts, found.rest) == (["embedding", "softmax"], ["recurrent layers"])
    assert not found.scans


def test_a_network_without_narrow_recurrences_is_quantized_from_its_file(tmp_path: Path) -> None:
    network = GruLanguageModel(GruSpec(30, 8, (12,), input_ranks=(5,))).eval()
    export(network, tmp_path / "a.onnx")
    for scans in (False, True):
        form = Form(scans=scans)
        found = quantize_network(network, tmp_path / "a.onnx", tmp_path / "b.onnx", form)
        assert found.scans == scans
