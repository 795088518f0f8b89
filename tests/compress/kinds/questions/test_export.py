"""BiDAF's graph in ONNX Runtime against torch: unequal batches, padding, pruned sizes, int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from isslim.compress.export.int8_nodes import QUANTIZED_LSTM
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.questions.export import build_bidaf, export
from isslim.compress.kinds.questions.networks.axes import LSTMS, BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.networks.bidirectional import DIRECTIONS
from isslim.runtime.errors import GraphRefused
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.questions.session import QuestionSession, SpanScores, TokenBatch

SPECS = {
    "equal": BidafSpec(
        vectors=6,
        characters=12,
        character_embedding=4,
        filters=7,
        contextual=(5, 5),
        modelling0=(4, 4),
        modelling1=(3, 3),
        output=(6, 6),
    ),
    "pruned": BidafSpec(
        vectors=6,
        characters=12,
        character_embedding=4,
        filters=3,
        contextual=(5, 2),
        modelling0=(1, 7),
        modelling1=(8, 3),
        output=(2, 1),
    ),
}
SPECS["narrow"] = replace(SPECS["pruned"], ranks=(4, 5, 0, 6))
Opened = tuple[Bidaf, QuestionSession]


def bidaf(spec: BidafSpec, seed: int = 0) -> Bidaf:
    torch.manual_seed(seed)
    network = Bidaf(spec).eval()
    with torch.no_grad():  # larger than a fresh network's, so that no activation is nearly linear
        for parameter in network.parameters():
            parameter.normal_(0, 0.5)
    return network


@pytest.fixture(params=list(SPECS))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    network = bidaf(SPECS[request.param])
    export(network, tmp_path / "a.onnx")
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)
    return network, QuestionSession(tmp_path / "a.onnx")


def side_of(
    generator: np.random.Generator, lengths: list[int], width: int, spec: BidafSpec
) -> TokenBatch:
    """Random words of 1 to `width` characters; padding holds noise in place of words."""
    shape = (max(lengths), len(lengths))
    characters = generator.integers(1, spec.characters, (*shape, width))
    sizes = generator.integers(1, width + 1, (*shape, 1))
    characters[np.broadcast_to(np.arange(width) >= sizes, characters.shape)] = 0
    vectors = generator.normal(size=(*shape, spec.vectors)).astype(np.float32)
    return TokenBatch(vectors, characters, np.array(lengths, np.int32))


def alone(side: TokenBatch, row: int) -> TokenBatch:
    """One text without any padding: neither tokens nor characters that no word of it needs."""
    length = side.lengths[row]
    characters = side.characters[:length, row : row + 1]
    longest = max(5, int((characters != 0).sum(axis=-1).max()))
    return TokenBatch(
        side.vectors[:length, row : row + 1], characters[..., :longest], side.lengths[row : row + 1]
    )


def by_torch(network: Bidaf, context: TokenBatch, question: TokenBatch) -> SpanScores:
    """Log-probabilities, and the logits' log-sum-exp from the heads' inputs."""
    inputs = [
        torch.from_numpy(each)
        for side in (context, question)
        for each in (side.vectors, side.characters, side.lengths)
    ]
    with torch.no_grad():
        start, end = network(*inputs)
        read = network.site_inputs(
            *inputs
        )  # of every head what it reads at real tokens (N, D), step by step
        real = torch.arange(len(context.vectors))[:, None] < torch.from_numpy(
            context.lengths
        )  # (T, B)
        totals = []
        for name, head in (("start", network.start), ("end", network.end)):
            logits = torch.full(real.shape, -torch.inf)
            logits[real] = head(read[name]).squeeze(-1)
            totals.append(logits.logsumexp(dim=0).numpy())
    return SpanScores(start.numpy(), end.numpy(), *totals)


@pytest.mark.parametrize(
    ("contexts", "questions", "widths"),
    [
        ([1], [1], (5, 5)),
        ([9], [3], (16, 5)),
        ([7, 12, 1], [4, 1, 6], (9, 16)),
        ([3, 3], [2, 2], (5, 7)),
    ],
)
def test_graph_equals_the_network_over_unequal_batches(
    opened: Opened, contexts: list[int], questions: list[int], widths: tuple[int, int]
) -> None:
    network, session = opened
    generator = np.random.default_rng(len(contexts))
    context = side_of(generator, contexts, widths[0], network.spec)
    question = side_of(generator, questions, widths[1], network.spec)
    found, expected = session.run(context, question), by_torch(network, context, question)
    real = np.arange(max(contexts)) < np.array(contexts)[:, None]
    for name in ("start_log_probs", "end_log_probs"):
        one, two = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(one[real], two[real], rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.exp(one).sum(axis=1), 1, rtol=0, atol=1e-5)
        assert (one[~real] <= -1e30).all()
    np.testing.assert_allclose(found.start_totals, expected.start_totals, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.end_totals, expected.end_totals, rtol=0, atol=1e-5)


def test_every_question_of_a_padded_batch_is_as_alone(opened: Opened) -> None:
    network, session = opened
    generator = np.random.default_rng(5)
    context = side_of(generator, [11, 2, 6, 1], 16, network.spec)
    question = side_of(generator, [1, 5, 3, 2], 12, network.spec)
    together = session.run(context, question)
    for row, length in enumerate(context.lengths):
        single = session.run(alone(context, row), alone(question, row))
        for name in ("start_log_probs", "end_log_probs"):
            found, expected = getattr(together, name)[row, :length], getattr(single, name)[0]
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_what_stands_in_padding_is_never_read(opened: Opened) -> None:
    network, session = opened
    generator = np.random.default_rng(6)
    context = side_of(generator, [8, 3], 7, network.spec)
    question = side_of(generator, [2, 5], 7, network.spec)
    before = session.run(context, question)
    for side in (context, question):
        for row, length in enumerate(side.lengths):
            side.vectors[length:, row] = 100.0
            side.characters[length:, row] = 3
    after = session.run(context, question)
    np.testing.assert_array_equal(before.start_log_probs, after.start_log_probs)
    np.testing.assert_array_equal(before.end_log_probs, after.end_log_probs)


def test_int8_takes_lstms_and_highways_and_holds_every_weight_once(
    opened: Opened, tmp_path: Path
) -> None:
    network, session = opened
    assert quantize(session.path, tmp_path / "b.onnx").parts == [
        "highway layers",
        "recurrent layers",
    ]
    graph = onnx.load(tmp_path / "b.onnx").graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    bytes_held = sum(
        tensor.size
        for name, tensor in held.items()
        if tensor.dtype == np.int8 and "zero_point" not in name
    )
    assert not any(
        tensor.dtype == np.uint8 for tensor in held.values()
    )  # see `isslim/compress/export/quantize.py`
    arrays = network.arrays()
    eight_bit = [
        name
        for name in arrays
        if "weight_" in name
        or (name.endswith(".weight") and ("highways" in name or "narrow" in name))
    ]
    assert bytes_held == sum(arrays[name].size for name in eight_bit)
    scales = {
        name.removesuffix("_scale"): tensor.size
        for name, tensor in held.items()
        if name.endswith("_scale")
    }
    assert all(size in (1, held[f"{name}_quantized"].shape[-1]) for name, size in scales.items())
    floats = sum(tensor.size for tensor in held.values() if tensor.dtype == np.float32) - sum(
        scales.values()
    )
    # A narrow layer's bias is a part of the bias of the gates.
    folded = {name for name in arrays if name.endswith("narrow.bias")}
    rest = sum(array.size for name, array in arrays.items() if name not in {*eight_bit, *folded})
    assert rest <= floats <= rest + 2  # and constants of its operators
    # The contextual LSTM's two operators read one matrix, and it is the network's, not one
    # transposed twice.
    weights = dict(build_bidaf(network).weights())
    for lstm in LSTMS:
        for direction in DIRECTIONS:
            for kind in ("input_weight", "recurrent_weight"):
                name = f"{kind}_{lstm}_{direction}"
                if f"{name}_spread_quantized" in held:  # rows of a narrow layer are evened out
                    assert kind == "input_weight"
                    assert network.spec.rank(lstm)
                    continue
                quantized = held[f"{name}_quantized"].astype(np.float32) - held[
                    f"{name}_zero_point"
                ].astype(np.float32)
                scale = held[f"{name}_scale"]
                np.testing.assert_allclose(
                    (scale * quantized).transpose(0, 2, 1),
                    weights[name],
                    rtol=0,
                    atol=0.51 * float(scale.max()),
                )
    assert sum(node.op_type == QUANTIZED_LSTM for node in graph.node) == 2 * (len(LSTMS) + 1)


def test_int8_answers_nearly_as_float32(opened: Opened, tmp_path: Path) -> None:
    network, session = opened
    quantize(session.path, tmp_path / "b.onnx")
    small = QuestionSession(tmp_path / "b.onnx")
    assert (small.integer, session.integer) == (True, False)
    generator = np.random.default_rng(7)
    context, question = (
        side_of(generator, [40], 9, network.spec),
        side_of(generator, [8], 9, network.spec),
    )
    exact, found = session.run(context, question), small.run(context, question)
    np.testing.assert_allclose(found.start_log_probs, exact.start_log_probs, rtol=0, atol=0.25)
    np.testing.assert_allclose(found.end_log_probs, exact.end_log_probs, rtol=0, atol=0.25)


def test_directions_are_operators_and_time_is_never_unrolled() -> None:
    nodes = build_bidaf(bidaf(SPECS["pruned"])).structure.graph.node
    lstms = [node for node in nodes if node.op_type == "LSTM"]
    assert len(lstms) == 2 * (
        len(LSTMS) + 1
    )  # the contextual one reads the context and the question
    assert not [node for node in nodes if node.op_type in ("Scan", "Loop", "If")]


def test_a_graph_opens_only_as_what_it_is(opened: Opened) -> None:
    _, session = opened
    with pytest.raises(GraphRefused, match="'tokens' is missing"):
        LanguageSession(session.path)
    model = onnx.load(session.path)
    model.graph.output.pop()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(model, session.path.with_name("other.onnx"))
    with pytest.raises(GraphRefused):
        QuestionSession(session.path.with_name("other.onnx"))


def test_shapes_and_lengths_that_disagree_are_refused(opened: Opened) -> None:
    network, session = opened
    good = side_of(np.random.default_rng(8), [4, 2], 6, network.spec)
    for bad in (
        TokenBatch(good.vectors[..., 1:], good.characters, good.lengths),
        TokenBatch(good.vectors, good.characters[:, :1], good.lengths),
        TokenBatch(good.vectors, good.characters, good.lengths[:1]),
    ):
        with pytest.raises(ValueError, match="are not"):
            session.run(good, bad)
    for lengths in ([5, 1], [4, 0]):
        with pytest.raises(ValueError, match="lengths must lie"):
            session.run(
                TokenBatch(good.vectors, good.characters, np.array(lengths, np.int32)), good
            )
