"""Every network's graph in ONNX Runtime against its equations: states, padding, lengths, int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from isslim.compress.errors import TooLargeToExport, VerificationFailed
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import build_graph, export
from isslim.compress.kinds.language.export.stacked import Recurrence
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.verification import verify_graph
from isslim.compress.onnx.model.split_model import graphs
from isslim.runtime.language.scoring import next_log_probs, score_batch
from isslim.runtime.language.session import LanguageSession
from tests.compress.kinds.language.networks.slow import EVERY, NETWORKS, V, slow_log_probs
from tests.compress.kinds.language.networks.test_networks import random_network, random_tokens

Opened = tuple[LanguageModel, LanguageSession]


FORMS: list[tuple[str, Recurrence]] = [
    *((name, "narrow") for name in EVERY),
    ("lstm", "scan"),
    ("gru-tied", "scan"),
]


@pytest.fixture(params=FORMS, ids=lambda each: "-".join(each))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    name, recurrence = request.param
    network = random_network(name)
    export(network, tmp_path / "a.onnx", recurrence=recurrence)
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)
    return network, LanguageSession(tmp_path / "a.onnx")


def ids_of(length: int) -> list[int]:
    return np.random.default_rng(length).integers(0, V, length).tolist()


def test_scores_follow_the_equations_over_chunks_and_unequal_lengths(opened: Opened) -> None:
    network, session = opened
    sequences = [ids_of(length) for length in (1, 150, 3, 64, 65, 2)]
    for ids, found in zip(sequences, score_batch(session, sequences, 5), strict=True):
        log_probs = slow_log_probs(network, np.array([[5, *ids[:-1]]]).T)[:, 0]
        np.testing.assert_allclose(
            found.log_probs, log_probs[np.arange(len(ids)), ids], rtol=0, atol=2e-5
        )


def test_every_sequence_of_a_padded_batch_is_as_alone_in_results_and_states(opened: Opened) -> None:
    network, session = opened
    tokens, targets = random_tokens(9, 3, seed=3), random_tokens(9, 3, seed=4).numpy()
    before = [tuple(torch.rand(each.shape) for each in layer) for layer in network.zero_state(3)]
    fed = dict(
        zip(
            session.zero_state(3), (each.numpy() for layer in before for each in layer), strict=True
        )
    )
    lengths = np.array([9, 4, 1], np.int32)
    places = np.array(
        [(step, column) for column, length in enumerate(lengths) for step in range(length)]
    )
    places = np.random.default_rng(0).permutation(places)
    of_targets, of_all, after = session.run(tokens.numpy(), targets, lengths, fed, places)
    assert of_all.shape == (14, V)
    for column, length in enumerate(lengths):
        own = slice(column, column + 1)
        with torch.no_grad():
            logits, state = network(
                tokens[:length, own],
                [tuple(each[:, own].contiguous() for each in layer) for layer in before],
            )
        expected = logits.log_softmax(-1)[:, 0].numpy()
        here = places[:, 1] == column
        np.testing.assert_allclose(of_all[here], expected[places[here, 0]], rtol=0, atol=1e-5)
        picked = expected[np.arange(length), targets[:length, column]]
        np.testing.assert_allclose(of_targets[:length, column], picked, rtol=0, atol=1e-5)
        for found, each in zip(
            after.values(), (each for layer in state for each in layer), strict=True
        ):
            np.testing.assert_allclose(found[:, own], each.numpy(), rtol=0, atol=1e-5)


def test_generation_step_by_step_is_scoring_at_once(opened: Opened) -> None:
    network, session = opened
    ids = ids_of(12)
    expected, state = slow_log_probs(network, np.array([ids]).T)[:, 0], session.zero_state(1)
    for token, wanted in zip(ids, expected, strict=True):
        found, state = next_log_probs(session, token, state)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_proof_passes_for_the_network_and_fails_for_another(opened: Opened) -> None:
    network, session = opened
    tokens = random_tokens(500, 1).flatten()
    assert verify_graph(session, network, tokens, "it").error < 1e-5
    arrays = network.arrays()
    recurrent = next(name for name in arrays if "weight_hh" in name or "depths.0.weight" in name)
    half = len(arrays[recurrent]) // 2
    arrays[recurrent] = np.concatenate(
        [arrays[recurrent][half:], arrays[recurrent][:half]]
    )  # gates in another order
    with pytest.raises(VerificationFailed):
        verify_graph(session, network.rebuilt(arrays), tokens, "another")


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_lists_its_parts_and_holds_the_rest_once(name: str, tmp_path: Path) -> None:
    network = random_network(name)
    export(network, tmp_path / "a.onnx")
    found = quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    gru = name.startswith("gru")
    assert found.parts == ["embedding", *([] if gru else ["recurrent layers"]), "softmax"]
    assert found.rest == (["recurrent layers"] if gru else [])
    graph = onnx.load(tmp_path / "b.onnx").graph
    tensors = [each for nested in graphs(graph) for each in nested.initializer]
    sizes = {each.name: list(each.dims) for each in tensors}
    held = [each.name for each in tensors if each.data_type == TensorProto.FLOAT]
    for scale in (each for each in held if each.endswith("_scale")):  # one, or one per column
        assert np.prod(sizes[scale]) in (1, sizes[scale.removesuffix("_scale") + "_quantized"][-1])
    floats = sum(int(np.prod(sizes[name])) for name in held if not name.endswith("_scale"))
    recurrent = sum(
        parameter.numel()
        for key, parameter in network.named_parameters()
        if key.startswith(("highway", "layers")) and (gru or parameter.ndim == 1)
    )
    assert not [
        node for node in graph.node if node.op_type == "Reshape"
    ]  # logits lie as the tokens do
    # Beside the recurrent layers and the scales of what was quantized only the decoder's bias.
    assert floats == recurrent + V
    small, plain = LanguageSession(tmp_path / "b.onnx"), LanguageSession(tmp_path / "a.onnx")
    assert (small.integer, plain.integer) == (True, False)
    sequences = [ids_of(length) for length in (30, 7, 90)]
    exact, found = (
        score_batch(plain, sequences, 5, top_k=V),
        score_batch(small, sequences, 5, top_k=V),
    )
    for ids, one, two in zip(sequences, exact, found, strict=True):
        np.testing.assert_allclose(two.log_probs, one.log_probs, rtol=0, atol=0.15)
        for token, log_prob, tops in zip(ids, two.log_probs, two.top, strict=True):
            assert tops is not None
            assert dict(tops)[token] == log_prob
        np.testing.assert_array_equal(two.log_probs, score_batch(small, [ids], 5)[0].log_probs)


@pytest.mark.parametrize(
    ("name", "recurrence", "operator"),
    [
        ("lstm", "narrow", "LSTM"),
        ("gru", "narrow", "GRU"),
        ("rhn", "narrow", "Scan"),
        ("rhn", "native", "Scan"),
        ("lstm", "native", "LSTM"),
        ("lstm", "scan", "Scan"),
        ("gru", "scan", "Scan"),
    ],
)
def test_time_is_never_unrolled(name: str, recurrence: Recurrence, operator: str) -> None:
    network = random_network(name)
    nodes = build_graph(network, recurrence).structure.graph.node
    recurrent = [node for node in nodes if node.op_type in ("LSTM", "GRU", "Scan", "Loop")]
    assert {node.op_type for node in recurrent} == {operator}
    assert len(recurrent) == len(network.zero_state(1))


def test_network_without_an_exporter_is_refused(tmp_path: Path) -> None:
    class Other(LanguageModel):
        """Of no known architecture."""

    Other.__abstractmethods__ = frozenset()
    with pytest.raises(NotImplementedError, match="no exporter for Other"):
        export(Other(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_one_file_are_an_answer_before_anything_is_written(tmp_path: Path) -> None:
    with torch.device("meta"):  # sizes without memory
        network = LstmLanguageModel(LstmSpec(400_000, 1500, (8,)))
    with pytest.raises(
        TooLargeToExport, match=r"2,4\d\d,\d\d\d,\d\d\d bytes in float32; one ONNX file holds"
    ) as refused:
        export(network, tmp_path / "a.onnx")
    assert refused.value.problem().kind == "too-large-to-export"
    assert list(tmp_path.iterdir()) == []
