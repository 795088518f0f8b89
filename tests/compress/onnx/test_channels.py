"""Channels of matrices and convolutions around recurrent layers: removed, written out, exported.

Equations are those of the operators' ONNX pages, removed channels held at zero where they are read.

Legend: T steps, B batch, C channels, H units.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from isslim.compress.onnx.network import AxisReport, GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph, simplified
from isslim.compress.pruning.axes import Keep
from isslim.compress.pruning.moments import Moments
from isslim.compress.pruning.repair import repair
from isslim.compress.pruning.rotation import linear_axes
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import assert_cut_equals_masked, cut, run

WIDTH, CHANNELS, UNITS = 4, 6, 5


def dense(function: str, **attributes: object) -> Builder:
    """An LSTM, a dense layer with a bias and an activation, and a matrix that reads it."""
    b = Builder(rng=np.random.default_rng(1))
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.squeeze(b.recurrent("LSTM", x, WIDTH, UNITS)[0], 1)
    made = b.node("MatMul", [steps, b.weights(UNITS, CHANNELS)])
    made = b.node("Add", [made, b.weights(CHANNELS)])
    read = b.node(function, [made], **attributes)
    b.output(b.node("MatMul", [read, b.weights(CHANNELS, 2)]), "y", ["T", "B", 2])
    return b


FUNCTIONS = {
    "Relu": lambda x: np.maximum(x, 0),
    "Tanh": np.tanh,
    # Of zero they give more than zero: what is held at zero is what the matrix reads.
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Exp": np.exp,
}


@pytest.mark.parametrize("function", list(FUNCTIONS))
def test_a_channel_that_is_removed_is_zero_where_it_is_read(function: str) -> None:
    b = dense(function)
    network = GraphNetwork.from_model(simplified(b.model()))
    (channels,) = (each for each in network.channels() if not each.reasons)
    assert channels == AxisReport("channels:matmul_2", ("channels:matmul_2",), CHANNELS, ())
    kept = np.array([1, 2, 5])
    keep = {"channels:matmul_2": kept}
    # Another graph shows what the dense layer gives before its bias.
    shown = Builder(nodes=b.nodes[:3], constants=b.constants, inputs=b.inputs)
    shown.output(b.nodes[2].output[0], "inner")
    bias, above = (b.constants[name] for name in list(b.constants)[-2:])
    read = FUNCTIONS[function](run(shown.model(), b.feeds)["inner"] + bias)
    gone = np.setdiff1d(np.arange(CHANNELS), kept)
    read[..., gone] = 0
    for made in (network.masked_reference(keep), cut(network, keep).model()):
        np.testing.assert_allclose(run(made, b.feeds)["y"], read @ above, rtol=1e-5, atol=1e-5)
    assert_cut_equals_masked(simplified(b.model()), b.feeds)


def test_a_reference_that_forgets_what_an_activation_makes_of_zero_is_noticed() -> None:
    b = dense("Sigmoid")
    network = GraphNetwork.from_model(simplified(b.model()))
    keep = {"channels:matmul_2": np.array([0, 3])}
    right = network.masked_reference(keep)
    # Rows and biases alone at zero: the reader still hears a half of each removed channel.
    wrong = simplified(b.model())
    gone = [1, 2, 4, 5]
    names = {node.name: node for node in wrong.graph.node}
    held = {names["matmul_2"].input[1], names["add_3"].input[1]}
    for tensor in wrong.graph.initializer:
        if tensor.name in held:
            value = numpy_helper.to_array(tensor).copy()
            value[..., gone] = 0
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    small = run(cut(network, keep).model(), b.feeds)["y"]
    np.testing.assert_allclose(small, run(right, b.feeds)["y"], rtol=1e-5, atol=1e-5)
    assert np.abs(small - run(wrong, b.feeds)["y"]).max() > 0.1


def test_a_repair_tells_removed_channels_by_those_that_stay() -> None:
    b = dense("Sigmoid")
    matrix, bias = (b.constants[name] for name in list(b.constants)[-3:-1])
    # Channels 3 to 5 are copies of 0 to 2.
    matrix[:, 3:], bias[3:] = matrix[:, :3], bias[:3]
    network = GraphNetwork.from_model(simplified(b.model()))
    observer = network.observer()
    rows = observer.rows(run(observer.model, b.feeds))
    moments = {name: Moments.of(each) for name, each in rows.items()}
    keep = {"channels:matmul_2": np.arange(3)}
    small = cut_repaired(network, keep, moments)
    expected = run(network.model(), b.feeds)["y"]
    off = np.abs(run(cut(network, keep).model(), b.feeds)["y"] - expected).max()
    assert np.abs(run(small.model(), b.feeds)["y"] - expected).max() < 0.1 * off


def cut_repaired(network: GraphNetwork, keep: Keep, moments: dict[str, Moments]) -> GraphNetwork:
    """Cut after a repair by what its sites read."""
    repaired = repair(network.arrays(), network.declaration(), keep, moments)
    return cut(network.rebuilt(repaired), keep)


def stays(b: Builder, value: str, shape: list) -> dict[str, tuple[str, ...]]:
    """Per axis of channels why it stays, of a graph with this output."""
    b.output(value, "y", shape)
    network = GraphNetwork.from_model(simplified(b.model()))
    return {each.name: each.reasons for each in network.channels()}


def begun() -> tuple[Builder, str]:
    """A dense layer behind an LSTM."""
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.squeeze(b.recurrent("LSTM", x, WIDTH, UNITS)[0], 1)
    return b, b.node("MatMul", [steps, b.weights(UNITS, CHANNELS)])


def test_channels_that_the_outputs_show_stay() -> None:
    b, made = begun()
    (reason,) = stays(b, b.node("Tanh", [made]), ["T", "B", CHANNELS])["channels:matmul_2"]
    assert reason.startswith("it reaches the graph's output 'y'")


def test_channels_that_reach_what_cannot_be_followed_stay() -> None:
    b, made = begun()
    normalised = b.node("Softmax", [made], axis=-1)
    read = b.node("MatMul", [normalised, b.weights(CHANNELS, 2)])
    (reason,) = stays(b, read, ["T", "B", 2])["channels:matmul_2"]
    assert reason.startswith("at Softmax 'softmax_3': it weighs the units against one another")


def test_channels_that_are_summed_without_a_matrix_stay_though_another_reads_them() -> None:
    b, made = begun()
    read = b.node("MatMul", [made, b.weights(CHANNELS, 2)])
    total = b.unsqueeze(b.total(made, 2), 2)
    (reason,) = stays(b, b.node("Add", [read, total]), ["T", "B", 2])["channels:matmul_2"]
    assert reason == "it is summed without a matrix, which would weigh its channels"


def test_channels_that_a_stack_of_matrices_reads_stay() -> None:
    b, made = begun()
    read = b.node("MatMul", [made, b.weights(1, CHANNELS, 2)])
    (reason,) = stays(b, read, ["T", "B", 2])["channels:matmul_2"]
    assert reason == "it is summed without a matrix, which would weigh its channels"


def test_channels_that_nothing_reads_with_a_matrix_stay() -> None:
    b, made = begun()
    # A product of two activations over another dimension than the channels.
    turned = b.node("Transpose", [made], perm=[0, 2, 1])
    shown = b.node("ReduceMax", [turned], axes=[1], keepdims=0)
    reasons = stays(b, shown, ["T", "B"])["channels:matmul_2"]
    assert reasons


def test_channels_that_meet_units_go_with_them() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    steps = b.squeeze(b.recurrent("LSTM", x, WIDTH, UNITS)[0], 1)
    met = b.node("Add", [steps, b.node("MatMul", [x, b.weights(WIDTH, UNITS)])])
    b.output(b.node("MatMul", [met, b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
    assert list(network.declaration().axes) == ["units:lstm_0.forward"]
    assert [each.layers for each in network.report()] == [("units:lstm_0.forward",)]


def test_sizes_of_channels_beside_one_another_are_read_off_smaller_arrays() -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    one = b.node("Relu", [b.node("MatMul", [x, b.weights(WIDTH, 3)])])
    two = b.node("Relu", [b.node("MatMul", [x, b.weights(WIDTH, CHANNELS)])])
    both = b.node("Concat", [one, two], axis=2)
    steps = b.squeeze(b.recurrent("LSTM", both, 3 + CHANNELS, UNITS)[0], 1)
    b.output(b.node("MatMul", [steps, b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
    keep = {"channels:matmul_0": np.array([2]), "channels:matmul_2": np.array([0, 1, 4, 5])}
    sizes = {"channels:matmul_0": 1, "channels:matmul_2": 4, "units:lstm_5.forward": UNITS}
    small = cut(network, keep)
    assert small.declaration().axes == sizes
    small.declaration().check(small.arrays())


class Reader(nn.Module):
    """A small reader of pictures: (B, 1, 8, W) to (B, W / 2, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.one = nn.Sequential(
            nn.Conv2d(6, 8, 1),
            nn.Sigmoid(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.Conv2d(8, 6, 1, bias=False),
        )
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(6, 10, (4, 3), padding=(0, 1))
        self.norm = nn.BatchNorm2d(10)
        self.dense = nn.Linear(10, 12)
        self.lstm = nn.LSTM(12, 9, batch_first=True, bidirectional=True)
        self.between = nn.Linear(18, 11)
        self.out = nn.Linear(11, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every column."""
        x = self.first(x)
        x = self.pool(x + self.one(x))
        x = torch.sigmoid(self.norm(self.second(x)))
        x = torch.tanh(self.dense(x.mean(2).permute(0, 2, 1)))
        x = torch.sigmoid(self.between(self.lstm(x)[0]))
        result: Tensor = self.out(x)
        return result


def reader() -> Reader:
    """With statistics of its own in every normalisation."""
    torch.manual_seed(3)
    model = Reader()
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(4, 1, 8, 12))
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.bias.normal_()
                part.weight.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture(scope="module", params=[True, False], ids=["folded", "unfolded"])
def picture_graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader as a graph, its normalisations folded into convolutions or not."""
    folded = request.param
    path = tmp_path_factory.mktemp("reader") / "reader.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            reader(), (torch.zeros(2, 1, 8, 12),), str(path), dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y"], do_constant_folding=folded,
            training=getattr(torch.onnx.TrainingMode, "EVAL" if folded else "PRESERVE"),
            dynamic_axes={"x": {0: "B", 3: "W"}, "y": {0: "B", 1: "W"}},
        )  # fmt: skip
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert ("BatchNormalization" in kinds) != folded
    return path


def test_an_exported_reader_loses_channels_of_every_kind(picture_graph: Path) -> None:
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 1, 8, 20)).astype(np.float32)}
    for seed in range(3):
        network = assert_cut_equals_masked(read_graph(picture_graph), feeds, seed)
    sizes = {
        "channels:/first/first.0/Conv": 6,
        "channels:/one/one.0/Conv": 8,
        "channels:/second/Conv": 10,
        "channels:/dense/MatMul": 12,
        "units:/lstm/LSTM.forward": 9,
        "units:/lstm/LSTM.backward": 9,
        "channels:/between/MatMul": 11,
    }
    assert network.declaration().axes == sizes
    whole = [(each.name, each.reasons) for each in network.channels() if each.reasons]
    assert [name for name, _ in whole] == ["channels:/out/MatMul"]
    sites = {part.axis for site in network.declaration().sites
             for part in network.declaration().parts(site)}  # fmt: skip
    assert sites >= set(sizes)


def test_a_repaired_reader_equals_its_reference_and_changes_less(picture_graph: Path) -> None:
    network = GraphNetwork.from_model(read_graph(picture_graph))
    generator = np.random.default_rng(1)
    observer, moments = network.observer(), dict[str, Moments]()
    for _ in range(30):
        x = generator.normal(size=(4, 1, 8, 24)).astype(np.float32)
        for site, rows in observer.rows(run(observer.model, {"x": x})).items():
            new = Moments.of(rows)
            moments[site] = moments[site] + new if site in moments else new
    keep = {
        "channels:/first/first.0/Conv": np.array([0, 1, 3, 5]),
        "channels:/one/one.0/Conv": np.array([0, 2, 3, 4, 6, 7]),
        "channels:/second/Conv": np.arange(8),
        "channels:/between/MatMul": np.arange(2, 10),
    }
    feeds = {"x": generator.normal(size=(4, 1, 8, 24)).astype(np.float32)}
    expected = run(network.model(), feeds)["y"]
    repaired = repair(network.arrays(), network.declaration(), keep, moments)
    made = run(cut(network.rebuilt(repaired), keep).model(), feeds)["y"]
    plain = run(cut(network, keep).model(), feeds)["y"]
    assert np.square(made - expected).mean() < 0.3 * np.square(plain - expected).mean()
    silent = run(network.rebuilt(repaired).masked_reference(keep), feeds)["y"]
    np.testing.assert_allclose(made, silent, rtol=1e-5, atol=1e-5)


def test_channels_of_a_table_called_embedding_are_not_turned_to_another_basis() -> None:
    b = Builder()
    b.constants["embedding.weight"] = b.rng.normal(size=(9, CHANNELS)).astype(np.float32)
    ids = b.input("ids", np.arange(STEPS * BATCH).reshape(STEPS, BATCH) % 9, ["T", "B"])
    # There is a function between the table and what reads it.
    read = b.node("Sigmoid", [b.node("Gather", ["embedding.weight", ids])])
    steps = b.squeeze(b.recurrent("LSTM", read, CHANNELS, UNITS)[0], 1)
    b.output(b.node("MatMul", [steps, b.weights(UNITS, 2)]), "y", ["T", "B", 2])
    network = assert_cut_equals_masked(simplified(b.model()), b.feeds)
    assert list(network.declaration().axes) == ["channels:gather_0", "units:lstm_2.forward"]
    assert linear_axes(network.declaration()) == []
