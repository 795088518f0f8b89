"""What eight bits do to weights: products that never saturate, one scale or many, the spreading, and which parts take them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper

from isslim.compress.export.quantize import (
    FORMS,
    QUANTIZED_LSTM,
    Form,
    _part_of_ours,
    _Rewriting,
    eight_bits,
    quantize,
    quantize_graph,
)
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.onnx.model.split_model import merge_constants, split_constants
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.runtime.language.scoring import score_batch
from isslim.runtime.language.session import LanguageSession
from tests.compress.onnx.drawing import BATCH, STEPS, Builder

V, K = 60, 12


def network(
    vocabulary: int = V, bottleneck: int | None = K, *, tied: bool = False
) -> LstmLanguageModel:
    spec = LstmSpec(vocabulary, 20 if tied else 10, (24, 20), tied=tied, bottleneck=bottleneck)
    made = LstmLanguageModel(spec).eval()
    made.initialise(0.5, torch.Generator().manual_seed(0))
    return made


def held(path: Path) -> dict[str, np.ndarray]:
    return {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer
    }


def saturating(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(K,) unsigned by (K, N) signed bytes as processors without VNNI multiply: neighbours added in 16 bits (vpmaddubsw)."""
    total = np.zeros(weights.shape[1], np.int64)
    for row in range(0, len(weights), 2):
        pair = sum(
            int(a) * w.astype(np.int64)
            for a, w in zip(activations[row:], weights[row : row + 2], strict=False)
        )
        total += np.clip(pair, -32768, 32767)
    return total


@pytest.mark.parametrize("form", FORMS)
def test_no_processor_saturates_whatever_the_activations_are(form: Form, tmp_path: Path) -> None:
    export(network(), tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", form)
    tensors = held(tmp_path / "b.onnx")
    # Tables are looked up, not multiplied.
    weights = {
        name: each
        for name, each in tensors.items()
        if name.endswith("_quantized") and "embedding" not in name
    }
    assert len(weights) == 2 * 2 + 2
    generator = np.random.default_rng(0)
    for name, weight in weights.items():
        assert weight.dtype == np.int8  # by such alone the instructions of VNNI and AMX are used
        assert weight.min() >= -127  # the kernels of ARM flip the sign of activations instead
        assert not tensors[name.replace("_quantized", "_zero_point")].any()
        matrix = weight.reshape(-1, weight.shape[-1]) if weight.ndim == 2 else weight[0]
        for activations in (np.full(len(matrix), 255), generator.integers(0, 2, len(matrix)) * 255):
            exact = activations @ matrix.astype(np.int64)
            np.testing.assert_array_equal(saturating(activations, matrix), exact)


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_pairs_of_weights_fit_and_every_weight_is_within_half_a_step(
    rows: int, per_column: bool
) -> None:
    generator = np.random.default_rng(rows)
    matrix = generator.standard_t(2, (2, rows, 9)).astype(np.float32)
    matrix[0, :, 3] = 0.0
    weights, scale = eight_bits(matrix, per_column=per_column)
    assert scale.shape == ((2, 1, 9) if per_column else (2, 1, 1))
    np.testing.assert_allclose(weights * scale, matrix, rtol=0, atol=0.5001 * scale.max())
    for matrix_of_one in weights.astype(int):
        for column in matrix_of_one.T:
            for row in range(0, rows, 2):
                pair = column[row : row + 2]
                assert sum(pair[pair > 0]) <= 128
                assert sum(pair[pair < 0]) >= -128


def test_a_weight_that_stands_out_has_nearly_eight_bits() -> None:
    matrix = np.random.default_rng(0).normal(0, 0.01, (64, 5)).astype(np.float32)
    matrix[10] = 1.0
    weights, _ = eight_bits(matrix, per_column=True)
    assert (weights[10] >= 120).all()  # of 7 bits it would have 64


def test_forms_say_what_has_a_scale_per_column(tmp_path: Path) -> None:
    export(network(), tmp_path / "a.onnx")
    for form in FORMS:
        quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", form)
        shapes = {
            name: each.shape
            for name, each in held(tmp_path / "b.onnx").items()
            if name.endswith("_scale")
        }
        # The input's product of an LSTM is one for a whole run: there a scale per column costs
        # nothing.
        assert shapes["input_weight_1_scale"] == (1, 80)
        assert shapes["recurrent_weight_1_scale"] == ((1, 80) if form.recurrent else (1,))
        assert shapes["decoder_spread_turned_scale"] == ((V,) if form.products else ())
        assert shapes["embedding_spread_scale"] == ()  # spread, its columns are alike


@pytest.mark.parametrize("part", ["embedding", "recurrent layers", "softmax"])
def test_a_part_can_stay_float32(part: str, tmp_path: Path) -> None:
    export(network(), tmp_path / "a.onnx")
    found = quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", Form(kept=frozenset({part})))
    assert found.rest == [part]
    assert sorted([*found.parts, part]) == ["embedding", "recurrent layers", "softmax"]
    one, other = (
        score_batch(LanguageSession(tmp_path / f"{name}.onnx"), [[3, 1, 4, 1, 5]], 2)[0]
        for name in "ab"
    )
    np.testing.assert_allclose(other.log_probs, one.log_probs, rtol=0, atol=0.1)


@pytest.mark.parametrize("tied", [False, True])
def test_spreading_leaves_the_function_and_evens_the_weights(tied: bool, tmp_path: Path) -> None:
    # Components as principal axes leave them, each far larger than the next.
    skewed = network(bottleneck=None if tied else K, tied=tied)
    with torch.no_grad():
        skewed.embedding.weight *= torch.logspace(0, -3, skewed.embedding.weight.shape[1])
        if skewed.bottleneck is not None:
            skewed.decoder.weight *= torch.logspace(0, -3, K)
            skewed.bottleneck.bias.fill_(1.0)
    export(skewed, tmp_path / "a.onnx")
    parts = split_constants(onnx.load(tmp_path / "a.onnx"))
    _Rewriting(parts, FORMS[0], _part_of_ours).spread()
    onnx.save(merge_constants(parts), tmp_path / "b.onnx")
    before, after = held(tmp_path / "a.onnx"), held(tmp_path / "b.onnx")
    for name in ["embedding"] if tied else ["embedding", "decoder"]:
        even = after[f"{name}_spread"]
        assert (
            np.abs(even).max() / even.std() < 0.85 * np.abs(before[name]).max() / before[name].std()
        )
    assert ("embedding" in after) == tied  # the decoder reads it as it was
    sessions = [LanguageSession(tmp_path / f"{name}.onnx") for name in "ab"]
    one, other = (
        score_batch(session, [[3, 1, 4, 1, 5, 9]], 2)[0].log_probs for session in sessions
    )
    np.testing.assert_allclose(other, one, rtol=0, atol=2e-5)


def siamese(opset: int = 17) -> tuple[Builder, ModelProto]:
    """Two readings with one embedding and one LSTM, whose second weights come through an Identity and a Transpose."""
    b = Builder(opset=opset)
    table, units = b.weights(30, 8), 6
    weights = [b.weights(2, 4 * units, 8), b.weights(2, 4 * units, units), b.weights(2, 8 * units)]
    states = []
    for number in range(2):
        ids = b.input(f"ids{number}", b.rng.integers(0, 30, (STEPS, BATCH)), ["T", "B"])
        given = list(weights)
        if number:
            given[0] = b.node(
                "Transpose", [b.node("Transpose", [weights[0]], perm=[0, 2, 1])], perm=[0, 2, 1]
            )
            given[1] = b.node("Identity", [weights[1]])
        outputs = [f"y{number}", f"h{number}", f"cell{number}"]
        b.node(
            "LSTM",
            [b.node("Gather", [table, ids]), *given],
            outputs,
            hidden_size=units,
            direction="bidirectional",
        )
        states.append(b.node("ReduceMax", [outputs[0]], axes=[0], keepdims=0))
    both = b.node("Concat", states, axis=2)  # (D, B, 2 H)
    flat = b.node(
        "Reshape", [b.node("Transpose", [both], perm=[1, 0, 2]), b.constant([0, 4 * units])]
    )
    b.output(b.node("Gemm", [flat, b.weights(3, 4 * units), b.weights(3)], transB=1), "y", ["B", 3])
    return b, b.model()


def run(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def test_the_original_of_a_graph_is_prepared_as_the_candidate_is(tmp_path: Path) -> None:
    builder, model = siamese()
    onnx.save(model, tmp_path / "a.onnx")
    whole = GraphNetwork.from_model(simplified(model))
    cut = whole.rebuilt({name: 0.5 * value for name, value in whole.arrays().items()})
    operators = []
    for each in (whole, cut):
        found = quantize_graph(each.model(), tmp_path / "b.onnx")
        assert (found.parts, found.rest) == (
            ["embedding", "recurrent layers", "matrix products"],
            [],
        )
        graph = onnx.load(tmp_path / "b.onnx").graph
        operators.append(Counter(node.op_type for node in graph.node))
        if each is whole:
            np.testing.assert_allclose(
                run(tmp_path / "b.onnx", builder.feeds),
                run(tmp_path / "a.onnx", builder.feeds),
                rtol=0,
                atol=0.05,
            )
    assert operators[0] == operators[1]
    assert operators[0][QUANTIZED_LSTM] == 2
    # What both readings share is held once.
    eight_bit = sum(
        np.prod(each.dims) for each in graph.initializer if each.data_type == TensorProto.INT8
    )
    assert eight_bit < 1.3 * (30 * 8 + 2 * 24 * (8 + 6) + 3 * 24)


def test_layers_in_part_are_counted_and_weights_that_are_computed_stay(tmp_path: Path) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, 4), ["T", "B", 4])
    for _ in range(3):
        x = b.squeeze(b.recurrent("LSTM", x, 4, 4)[0], 1)
    factor = b.input("factor", np.array(0.9, np.float32), [])
    computed = b.nodes[2]
    computed.input[1] = b.node("Mul", [computed.input[1], factor])
    b.nodes.insert(0, b.nodes.pop())
    b.output(x, "y", ["T", "B", 4])
    onnx.save(b.model(), tmp_path / "a.onnx")
    found = quantize_graph(b.model(), tmp_path / "b.onnx")
    assert (found.parts, found.rest) == (
        ["2 of 3 recurrent layers"],
        ["the other recurrent layers"],
    )
    np.testing.assert_allclose(
        run(tmp_path / "b.onnx", b.feeds), run(tmp_path / "a.onnx", b.feeds), rtol=0, atol=0.02
    )


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_a_graph_without_anything_for_eight_bits_leaves_no_file(kind: str, tmp_path: Path) -> None:
    b = Builder()
    outputs = b.recurrent(kind, b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4)
    b.output(outputs[0], "y")
    found = quantize_graph(b.model(), tmp_path / "b.onnx")
    assert (found.parts, found.rest) == ([], ["recurrent layers"])
    assert not list(tmp_path.iterdir())
