"""Scoring against a slow numpy LSTM, text rules, generation, refusals; real ONNX Runtime."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.runtime.errors import DeviceUnavailable, GraphRefused, TextRefused, TokenOutOfRange
from isslim.runtime.language.latency import compare
from isslim.runtime.language.scoring import (
    MIN_PIECE,
    ONE_STREAM,
    SequenceScore,
    next_log_probs,
    perplexity,
    score_batch,
    text_log_probs,
)
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec, character_tokenizer, word_tokenizer
from isslim.runtime.opening import devices
from isslim.types.manifest import TextContract

V = 40
SPECS = {"untied": LstmSpec(V, 12, (20, 16)), "tied": LstmSpec(V, 16, (20, 16), tied=True)}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_log_probs(network: LstmLanguageModel, ids: list[int], start: int) -> np.ndarray:
    """Float64, one token at a time, written from the equations of the LSTM."""
    arrays = {name: array.astype(np.float64) for name, array in network.arrays().items()}
    head = arrays.get("decoder.weight", arrays["embedding.weight"])
    units = network.spec.units
    hidden, cell = [np.zeros(n) for n in units], [np.zeros(n) for n in units]
    result = []
    for before, target in zip([start, *ids], ids, strict=False):
        x = arrays["embedding.weight"][before]
        for k in range(len(units)):
            p = f"layers.{k}."
            gates = arrays[p + "weight_ih_l0"] @ x + arrays[p + "weight_hh_l0"] @ hidden[k]
            i, f, g, o = np.split(gates + arrays[p + "bias_ih_l0"] + arrays[p + "bias_hh_l0"], 4)
            cell[k] = sigmoid(f) * cell[k] + sigmoid(i) * np.tanh(g)
            hidden[k] = sigmoid(o) * np.tanh(cell[k])
            x = hidden[k]
        logits = head @ x + arrays["decoder.bias"]
        top = logits.max()
        result.append(logits[target] - top - np.log(np.exp(logits - top).sum()))
    return np.array(result)


@pytest.fixture(params=list(SPECS))
def opened(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[LstmLanguageModel, LanguageSession, LanguageSession]:
    torch.manual_seed(0)
    network = LstmLanguageModel(SPECS[request.param]).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.7, 0.7)
    export(network, tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    return network, LanguageSession(tmp_path / "a.onnx"), LanguageSession(tmp_path / "b.onnx")


def random_ids(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, V, length).tolist()


def test_scores_equal_a_slow_lstm_over_chunks_and_unequal_lengths(
    opened: tuple[LstmLanguageModel, LanguageSession, LanguageSession],
) -> None:
    network, session, _ = opened
    sequences = [random_ids(length, length) for length in (1, 150, 3, 64, 65, 2)]
    for ids, found in zip(sequences, score_batch(session, sequences, 5), strict=True):
        np.testing.assert_allclose(
            found.log_probs, slow_log_probs(network, ids, 5), rtol=0, atol=2e-5
        )
        assert found.counted == len(ids)


def test_int8_sums_never_saturate(tmp_path: Path) -> None:
    # Largest weights on largest activations, all of one sign: sixteen bits hold no two such
    # products. A quantization to signed weights passes this on processors with VNNI only.
    network = LstmLanguageModel(LstmSpec(V, 8, (64,)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.layers[0].get_parameter("bias_ih_l0").fill_(
            20
        )  # every gate open: h = tanh(1) after one step
        network.decoder.weight[: V // 2] = 0.05
    export(network, tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    plain, small = (
        score_batch(LanguageSession(tmp_path / f"{name}.onnx"), [[0, V - 1]], 5)[0] for name in "ab"
    )
    np.testing.assert_allclose(small.log_probs, plain.log_probs, rtol=0, atol=0.02)


def test_int8_sums_of_a_recurrent_layer_never_saturate(tmp_path: Path) -> None:
    # The same for an LSTM's own products: weights of one size, where the errors of rounding are
    # small.
    generator = torch.Generator().manual_seed(0)
    network = LstmLanguageModel(LstmSpec(V, 64, (96,))).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator).sign())
    export(network, tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    plain, small = (
        score_batch(LanguageSession(tmp_path / f"{name}.onnx"), [[0, 7, 3, 30, 2]], 5)[0]
        for name in "ab"
    )
    np.testing.assert_allclose(small.log_probs, plain.log_probs, rtol=0, atol=0.05)


def test_int8_is_close_smaller_and_never_depends_on_its_neighbours(
    opened: tuple[LstmLanguageModel, LanguageSession, LanguageSession],
) -> None:
    _, plain, small = opened
    assert (plain.integer, small.integer) == (False, True)
    assert small.path.stat().st_size < 0.6 * plain.path.stat().st_size
    sequences = [random_ids(length, length) for length in (30, 7, 90)]
    together = score_batch(small, sequences, 5)
    for ids, found in zip(sequences, together, strict=True):
        np.testing.assert_array_equal(found.log_probs, score_batch(small, [ids], 5)[0].log_probs)
    exact = score_batch(plain, sequences, 5)
    assert abs(together[2].total / exact[2].total - 1) < 0.02


def test_without_a_start_token_the_first_token_is_not_scored(
    opened: tuple[LstmLanguageModel, LanguageSession, LanguageSession],
) -> None:
    network, session, _ = opened
    ids = random_ids(9, 1)
    found = score_batch(session, [ids, [3]], None, top_k=3)
    assert math.isnan(found[0].log_probs[0])
    np.testing.assert_allclose(
        found[0].log_probs[1:], slow_log_probs(network, ids[1:], ids[0]), rtol=0, atol=2e-5
    )
    assert (found[1].counted, found[1].perplexity) == (0, None)
    assert found[0].top[0] is None
    assert len(found[0].top) == 9
    with pytest.raises(ValueError, match="at least one"):
        perplexity(session, [3], None)


def test_perplexity_and_generation_step(
    opened: tuple[LstmLanguageModel, LanguageSession, LanguageSession],
) -> None:
    network, session, _ = opened
    ids = random_ids(20, 2)
    expected = math.exp(-slow_log_probs(network, ids, 5).mean())
    assert perplexity(session, ids, 5) == pytest.approx(expected, rel=1e-5)
    state, total = session.zero_state(1), 0.0
    for before, target in zip([5, *ids], ids, strict=False):
        log_probs, state = next_log_probs(session, before, state)
        assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-4)
        total += float(log_probs[target])
    assert math.exp(-total / 20) == pytest.approx(expected, rel=1e-5)


def test_padding_never_changes_a_result(
    opened: tuple[LstmLanguageModel, LanguageSession, LanguageSession],
) -> None:
    _, session, _ = opened
    tokens, targets = np.array([random_ids(8, 3)]).T, np.array([random_ids(8, 4)]).T
    plain, _, after = session.run(
        tokens[:5], targets[:5], np.array([5], np.int32), session.zero_state(1)
    )
    padded, _, after_padded = session.run(
        tokens, targets, np.array([5], np.int32), session.zero_state(1)
    )
    np.testing.assert_allclose(padded[:5], plain, rtol=0, atol=1e-6)
    for name in after:
        np.testing.assert_allclose(after_padded[name], after[name], rtol=0, atol=1e-6)


def test_bad_ids_graphs_and_devices_are_refused(
    opened: tuple[LstmLanguageModel, LanguageSession, LanguageSession], tmp_path: Path
) -> None:
    _, session, _ = opened
    for wrong in (V, -1):
        with pytest.raises(TokenOutOfRange):
            score_batch(session, [[1, wrong]], 5)
    with pytest.raises(ValueError, match="no token"):
        score_batch(session, [[]], 5)
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07 rubbish")
    with pytest.raises(GraphRefused):
        LanguageSession(tmp_path / "bad.onnx")
    if "cuda" not in devices():
        with pytest.raises(DeviceUnavailable):
            LanguageSession(session.path, device="cuda")


def test_comparison_finds_the_larger_model_slower(tmp_path: Path) -> None:
    sessions = {}
    for name, units in (("original", 256), ("compressed", 16)):
        export(LstmLanguageModel(LstmSpec(500, units, (units,))), tmp_path / f"{name}.onnx")
        sessions[name] = LanguageSession(tmp_path / f"{name}.onnx")
    timed = compare(sessions, steps=20, batch=2, pairs=15)
    assert timed["original"].speedup == pytest.approx(1)
    small = timed["compressed"]
    assert small.speedup > 2
    assert small.speedup_low <= small.speedup <= small.speedup_high
    assert small.median_ms <= small.p90_ms
    with pytest.raises(ValueError, match="baseline"):
        compare({"x": sessions["original"]}, steps=1, batch=1)


def codec(tokenizer: Tokenizer, **contract: object) -> TextCodec:
    rules = {
        "unit": "word",
        "vocabulary": 5,
        "start_token": None,
        "unknown_token": None,
        "newline_token": None,
    }
    return TextCodec(tokenizer, TextContract.model_validate(rules | contract))


def test_word_text_rules() -> None:
    words = ["<eos>", "<unk>", "N", "cat", "<s>"]
    made = codec(
        word_tokenizer(words, "<unk>", "<eos>"),
        unknown_token="<unk>",
        newline_token="<eos>",
        start_token="<eos>",
    )
    assert made.encode("cat N\n<unk> cat\n") == [3, 2, 0, 1, 3, 0]
    assert made.encode("dog cat") == [1, 3]
    assert made.decode([3, 2, 0, 3]) == "cat N\ncat"
    for text in ("", "   ", "dog bird"):
        with pytest.raises(TextRefused):
            made.encode(text)


def test_without_an_unknown_token_strange_words_are_named() -> None:
    made = codec(word_tokenizer(["a", "b"], None, None))
    assert made.encode("a b\na") == [0, 1, 0]
    with pytest.raises(TextRefused, match="zebra"):
        made.encode("a zebra b")


def test_character_text_rules() -> None:
    made = codec(character_tokenizer(["a", " ", "\n", "é"], None), unit="character")
    assert made.encode("a\n é") == [0, 2, 1, 3]
    assert made.decode([0, 2, 1, 3]) == "a\n é"


def test_long_text_in_pieces_is_scored_about_as_one_stream(
    opened: tuple[LstmLanguageModel, LanguageSession, LanguageSession],
) -> None:
    network, session, _ = opened
    ids = random_ids(ONE_STREAM + 1, 3)
    short = slow_log_probs(network, ids[:900], 5)
    found = text_log_probs(session, ids[:900], 5)
    np.testing.assert_allclose(found, short, rtol=0, atol=2e-5)  # float32
    whole = slow_log_probs(network, ids, 5)
    pieces = text_log_probs(session, ids, 5)
    assert pieces.shape == whole.shape
    first = len(ids) // (len(ids) // MIN_PIECE)
    np.testing.assert_allclose(pieces[:first], whole[:first], rtol=0, atol=2e-5)
    # Borders forget what is further back than the warm-up, which a small network does too.
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-3)
    without_start = text_log_probs(session, ids[:900], None)
    assert np.isnan(without_start).tolist() == [True] + [False] * 899


@pytest.mark.parametrize("given", [(), (0,), (3, 7), tuple(range(40))])
def test_sums_leave_out_tokens_that_are_not_scored(given: tuple[int, ...]) -> None:
    log_probs = -np.random.default_rng(0).gamma(2, 2, 40).astype(np.float32)
    log_probs[list(given)] = np.nan
    scored = [float(each) for each in log_probs if not math.isnan(each)]
    found = SequenceScore(log_probs)
    assert found.counted == len(scored)
    assert found.total == pytest.approx(math.fsum(scored), rel=1e-12)
