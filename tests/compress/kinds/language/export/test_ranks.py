"""Graphs of networks with narrow layers: one function in every form, and what each graph holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, numpy_helper

from isslim.compress.errors import VerificationFailed
from isslim.compress.export.node_roles import NodeRole
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.export.stacked import Recurrence
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.verification import verify_graph
from isslim.compress.onnx.model.attributes import subgraphs
from isslim.runtime.language.scoring import perplexity
from isslim.runtime.language.session import LanguageSession

V, E, H = 300, 40, (70, 50)
INPUT_RANKS, RECURRENT_RANKS = (11, 0), (0, 13)
BLOCKS, BLOCK_RANKS = (30, 90, 180), (0, 17, 9)
RECURRENCES: list[Recurrence] = ["narrow", "native", "scan"]


def ranked(cell: str) -> LanguageModel:
    """Ranks at some layers and blocks only, rows of the softmax in a random order."""
    torch.manual_seed(0)
    kind = GruSpec if cell == "gru" else LstmSpec
    spec = kind(
        V,
        E,
        H,
        input_ranks=INPUT_RANKS,
        recurrent_ranks=RECURRENT_RANKS,
        blocks=BLOCKS,
        block_ranks=BLOCK_RANKS,
    )
    drawn = GruLanguageModel(spec) if isinstance(spec, GruSpec) else LstmLanguageModel(spec)
    arrays = drawn.arrays()
    generator = np.random.default_rng(1)
    for name, each in arrays.items():
        arrays[name] = generator.uniform(-0.3, 0.3, each.shape).astype(np.float32)
    arrays["softmax.order"] = generator.permutation(V).astype(np.float32)
    return drawn.rebuilt(arrays)


def written(network: LanguageModel, path: Path, recurrence: Recurrence) -> ModelProto:
    export(network, path, recurrence=recurrence)
    onnx.checker.check_model(str(path), full_check=True)
    return onnx.load(path)


def nodes_of(model: ModelProto, operator: str) -> list[NodeProto]:
    """Of the graph and of its Scans' bodies, in order."""
    found = list[NodeProto]()
    for node in model.graph.node:
        found += [node, *(inner for body in subgraphs(node) for inner in body.node)]
    return [node for node in found if node.op_type == operator]


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_form_gives_what_torch_gives(
    cell: str, recurrence: Recurrence, tmp_path: Path
) -> None:
    network, steps, batch = ranked(cell), 21, 4
    written(network, tmp_path / "a.onnx", recurrence)
    session = LanguageSession(tmp_path / "a.onnx")
    generator = np.random.default_rng(2)
    tokens, targets = generator.integers(0, V, (2, steps, batch))
    lengths = np.array([21, 1, 8, 20], np.int32)
    places = np.array([[20, 0], [7, 2], [0, 1], [0, 3]])
    before = {
        name: generator.uniform(-1, 1, each.shape).astype(np.float32)
        for name, each in session.zero_state(batch).items()
    }
    of_targets, of_all, after = session.run(tokens, targets, lengths, before, places)
    states = iter(before.values())
    carried = [
        tuple(torch.from_numpy(next(states)) for _ in each) for each in network.zero_state(1)
    ]
    for column, length in enumerate(lengths):
        own = slice(column, column + 1)
        with torch.no_grad():
            logits, state = network(
                torch.from_numpy(tokens[:length, own]),
                [tuple(each[:, own].contiguous() for each in layer) for layer in carried],
            )
        expected = logits.log_softmax(-1)[:, 0].numpy()
        picked = expected[np.arange(length), targets[:length, column]]
        np.testing.assert_allclose(of_targets[:length, column], picked, rtol=0, atol=1e-5)
        for row in np.flatnonzero(places[:, 1] == column):
            np.testing.assert_allclose(of_all[row], expected[places[row, 0]], rtol=0, atol=1e-5)
        flat = [each.numpy() for layer in state for each in layer]
        for found, wanted in zip(after.values(), flat, strict=True):
            np.testing.assert_allclose(found[:, own], wanted, rtol=0, atol=1e-5)
    _, nowhere, _ = session.run(tokens, targets, lengths, before)
    assert nowhere.shape == (0, V)


def test_rows_in_the_order_of_the_tokens_need_no_table(tmp_path: Path) -> None:
    network = ranked("lstm")
    table = written(network, tmp_path / "table.onnx", "narrow")
    sorted_rows = network.rebuilt({**network.arrays(), "softmax.order": np.arange(V, dtype="f4")})
    plain = written(sorted_rows, tmp_path / "plain.onnx", "narrow")
    assert len(nodes_of(table, "Gather")) - len(nodes_of(plain, "Gather")) == 2
    tokens = torch.randint(V, (300,), generator=torch.Generator().manual_seed(0))
    session = LanguageSession(tmp_path / "plain.onnx")
    assert verify_graph(session, sorted_rows, tokens, "it").error < 1e-5


@pytest.mark.parametrize("name", ["narrow_ih.bias", "narrow_hh.bias", "narrow.1.bias"])
def test_proof_notices_a_constant_of_a_narrow_layer(name: str, tmp_path: Path) -> None:
    network = ranked("lstm")
    export(network, tmp_path / "a.onnx")
    session = LanguageSession(tmp_path / "a.onnx")
    tokens = torch.randint(V, (500,), generator=torch.Generator().manual_seed(0))
    assert verify_graph(session, network, tokens, "it").error < 1e-5
    arrays = network.arrays()
    (full,) = (each for each in arrays if each.endswith(name))
    arrays[full] = np.zeros_like(arrays[full])
    with pytest.raises(VerificationFailed):
        verify_graph(session, network.rebuilt(arrays), tokens, "another")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_scan_and_its_products_have_names_and_matrices_of_inputs_by_outputs(
    cell: str, tmp_path: Path
) -> None:
    model = written(ranked(cell), tmp_path / "a.onnx", "scan")
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    rows = 3 if cell == "gru" else 4
    assert {node.name: shapes[node.input[1]] for node in nodes_of(model, "MatMul")} == {
        "recurrent_input_narrow_0": (E, 11),
        "recurrent_input_0": (11, rows * 70),
        "recurrent_gates_0": (70, rows * 70),
        "recurrent_input_1": (70, rows * 50),
        "recurrent_narrow_1": (50, 13),
        "recurrent_gates_1": (13, rows * 50),
    }
    scans = nodes_of(model, "Scan")
    assert [node.name for node in scans] == ["recurrent_scan_0", "recurrent_scan_1"]
    assert all(
        NodeRole.of(node) is NodeRole.RECURRENT for node in [*scans, *nodes_of(model, "MatMul")]
    )


def test_only_a_narrow_recurrence_is_a_scan(tmp_path: Path) -> None:
    network = ranked("lstm")
    some = written(network, tmp_path / "a.onnx", "narrow")
    assert len(nodes_of(some, "LSTM")) == len(nodes_of(some, "Scan")) == 1
    none = written(network, tmp_path / "a.onnx", "native")
    assert (len(nodes_of(none, "LSTM")), len(nodes_of(none, "Scan"))) == (2, 0)
    # Multiplied out: the operator has no other recurrence.
    (whole,) = (each for each in none.graph.initializer if each.name == "recurrent_weight_1")
    arrays = network.arrays()
    expected = arrays["layers.1.weight_hh_l0"] @ arrays["layers.1.narrow_hh.weight"]
    i, f, g, o = np.split(expected, 4)
    np.testing.assert_allclose(
        numpy_helper.to_array(whole)[0], np.concatenate([i, o, f, g]), rtol=0, atol=1e-6
    )


def test_blocks_take_8_bits_and_need_no_reshape(tmp_path: Path) -> None:
    network = ranked("gru")
    export(network, tmp_path / "a.onnx")
    assert "softmax" in quantize(tmp_path / "a.onnx", tmp_path / "b.onnx").parts
    assert not nodes_of(onnx.load(tmp_path / "b.onnx"), "Reshape")
    exact, rough = (LanguageSession(tmp_path / f"{each}.onnx") for each in "ab")
    text = np.random.default_rng(3).integers(0, V, 400).tolist()
    assert perplexity(rough, text, 0) == pytest.approx(perplexity(exact, text, 0), rel=0.01)
