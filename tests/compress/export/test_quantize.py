"""Whole int8 files: products that never saturate, one scale or many, and which parts take them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper

from isslim.compress.export.int8_forms import FORMS, Form
from isslim.compress.export.int8_nodes import QUANTIZED_LSTM
from isslim.compress.export.quantize import quantize, quantize_graph
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.runtime.language.scoring import score_batch
from isslim.runtime.language.session import LanguageSession
from tests.compress.export.test_int8_weights import saturating
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


def siamese(opset: int = 17) -> tuple[Builder, ModelProto]:
    """Two readings with one embedding and one LSTM; the second weights come through a Transpose."""
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


def named_like_ours(opset: int = 17) -> Builder:
    """A graph of other origin whose nodes have names that mean something in our own files."""
    b = Builder(opset=opset)
    steps = b.squeeze(
        b.recurrent("LSTM", b.floats("x", (STEPS, BATCH, 6), ["T", "B", 6]), 6, 8)[0], 1
    )
    first = b.node("MatMul", [steps, b.weights(8, 5)])
    b.nodes[-1].name = "float32_first"
    flat = b.node("Reshape", [first, b.constant([STEPS, -1])])
    b.nodes[-1].name = "flattening"
    narrow = b.node("MatMul", [flat, b.weights(5 * BATCH, 4)])
    b.nodes[-1].name = "decoder"
    b.output(narrow, "y", [STEPS, 4])
    return b


def test_names_of_nodes_mean_nothing_in_graphs_of_other_origin(tmp_path: Path) -> None:
    b = named_like_ours()
    onnx.save(b.model(), tmp_path / "a.onnx")
    found = quantize_graph(b.model(), tmp_path / "b.onnx")
    assert (found.parts, found.rest) == (["recurrent layers", "matrix products"], [])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node)
    assert operators["MatMulInteger"] == 2
    assert operators["Reshape"] == 1
    expected = run(tmp_path / "a.onnx", b.feeds)
    np.testing.assert_allclose(run(tmp_path / "b.onnx", b.feeds), expected, rtol=0, atol=0.1)


def test_a_bottleneck_of_other_origin_is_read_by_whoever_it_likes(tmp_path: Path) -> None:
    b = Builder()
    steps = b.recurrent("LSTM", b.floats("x", (STEPS, BATCH, 6), ["T", "B", 6]), 6, 8)
    last = b.squeeze(steps[1], 0)
    narrow = b.node("Gemm", [last, b.weights(8, 5), b.weights(5)])
    b.nodes[-1].name = "bottleneck"
    both = b.node("Add", [b.node("Tanh", [narrow]), narrow])
    b.output(both, "y", ["B", 5])
    onnx.save(b.model(), tmp_path / "a.onnx")
    quantize_graph(b.model(), tmp_path / "b.onnx")
    expected = run(tmp_path / "a.onnx", b.feeds)
    np.testing.assert_allclose(run(tmp_path / "b.onnx", b.feeds), expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("factor", [{}, {"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}])
def test_a_product_with_a_factor_or_a_turned_activation_stays_float32(
    factor: dict[str, float], tmp_path: Path
) -> None:
    b = Builder()
    x = b.floats("x", (6, 6), [6, 6])
    b.output(b.node("Gemm", [x, b.weights(6, 5), b.weights(5)], **factor), "y", [6, 5])
    found = quantize_graph(b.model(), tmp_path / "b.onnx")
    product = ["matrix products"]
    assert (found.parts, found.rest) == (([], product) if factor else (product, []))
