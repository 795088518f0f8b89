"""A random basis between two constants: the function stays, and no number stands out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from isslim.compress.export.int8_forms import Form, Part
from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.export.spreading import spread
from isslim.compress.kinds.language.export import export
from isslim.compress.onnx.model.split_model import merge_constants, split_constants
from isslim.runtime.language.scoring import score_batch
from isslim.runtime.language.session import LanguageSession
from tests.compress.export.test_quantize import K, held, network, siamese
from tests.compress.kinds.language.export.test_ranks import ranked
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run


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
    work = Int8Graph(parts)
    spread(work, Form())
    assert work.spread
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


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_narrow_layers_are_spread_wherever_they_are(cell: str, tmp_path: Path) -> None:
    network = ranked(cell)
    arrays, narrow = network.arrays(), network.declaration().narrow
    assert len(narrow) == 4
    for place in narrow:  # components in the order of a regression, each far larger than the next
        scale = np.logspace(0, -3, len(arrays[place.weight])).astype(np.float32)
        arrays[place.weight] *= scale[:, None]
        arrays[place.bias] *= scale
    export(network.rebuilt(arrays), tmp_path / "a.onnx", recurrence="scan")
    parts = split_constants(onnx.load(tmp_path / "a.onnx"))
    work = Int8Graph(parts)
    spread(work, Form())
    before = {"input_narrow_0", "recurrent_narrow_1", "bottleneck_1", "bottleneck_2"}
    after = {"input_weight_0", "recurrent_weight_1", "decoder_1", "decoder_2"}
    biases = {"bottleneck_1_bias", "bottleneck_2_bias"}
    names = {name.replace("_spread", "") for name in work.spread}
    assert names == {"embedding", *before, *after, *biases}
    for name in before - {"input_narrow_0"}:
        width = 0 if name.startswith("bottleneck") else 1  # a Gemm's matrix lies the other way
        sizes = np.linalg.norm(work.constants[f"{name}_spread"], axis=1 - width)
        skewed = np.linalg.norm(work.constants[name], axis=1 - width)
        assert sizes.max() / sizes.min() < 0.05 * skewed.max() / skewed.min()
    onnx.save(merge_constants(parts), tmp_path / "b.onnx")
    one, other = (
        score_batch(LanguageSession(tmp_path / f"{name}.onnx"), [[3, 1, 4, 1, 5, 9]], 2)[0]
        for name in "ab"
    )
    np.testing.assert_allclose(other.log_probs, one.log_probs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("plain", [False, True])
def test_a_table_is_turned_once_for_all_readers_that_can_be_turned_with_it(plain: bool) -> None:
    b, model = siamese()
    work = Int8Graph(split_constants(model))
    lookups = [node for node in work.graph.node if node.op_type == "Gather"]
    layers = [node for node in work.graph.node if node.op_type == "LSTM"]
    table, weight = lookups[0].input[0], layers[0].input[1]
    if plain:
        layers[1].input[1] = weight
    spread(work, Form())
    # The second layer's weights come through Transposes: it reads the table as it was.
    read = f"{table}_spread" if plain else table
    assert [node.input[0] for node in lookups] == [f"{table}_spread", read]
    assert work.spread == {f"{table}_spread", f"{weight}_spread"}
    made = run(merge_constants(work.parts), b.feeds)["y"]
    np.testing.assert_allclose(made, run(model, b.feeds)["y"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("reader", ["an output", "an addition", "nobody"])
def test_a_table_whose_rows_are_read_otherwise_too_stays(reader: str) -> None:
    b = Builder()
    ids = b.input("ids", b.rng.integers(0, 9, (STEPS, BATCH)), ["T", "B"])
    words = b.node("Gather", [b.weights(9, 4), ids])
    if reader != "nobody":
        b.recurrent("GRU", words, 4, 5)
    if reader == "an addition":
        b.output(b.node("Add", [words, words]), "y")
    elif reader == "an output":
        b.output(words, "y")
    work = Int8Graph(split_constants(b.model()))
    spread(work, Form())
    assert not work.spread


def test_a_table_that_stays_float32_is_not_spread(tmp_path: Path) -> None:
    export(network(), tmp_path / "a.onnx")
    work = Int8Graph(split_constants(onnx.load(tmp_path / "a.onnx")))
    spread(work, Form(kept=frozenset({Part.EMBEDDING})))
    assert work.spread == {"bottleneck_spread", "bottleneck_bias_spread", "decoder_spread"}
