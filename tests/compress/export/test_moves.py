"""Merged operators that only move numbers: the same outputs bit by bit, and fewer operators."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from isslim.compress.export import moves
from isslim.compress.export.int8_forms import FORMS
from isslim.compress.export.moves import LARGEST, merge_moves
from isslim.compress.export.quantize import quantize_graph
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.types.recipe import Budget, Recipe
from tests.compress.onnx.drawing import Builder
from tests.compress.onnx.proving import cut, run

UNITS, WIDTH = 6, 4


def merged(model: ModelProto, feeds: dict[str, np.ndarray]) -> Counter[str]:
    """The operators of a merged graph, which gives what the graph gave."""
    made = merge_moves(model)
    onnx.checker.check_model(made, full_check=True)
    before, after = run(model, feeds), run(made, feeds)
    assert list(before) == list(after)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
        assert (after[name].shape, after[name].dtype) == (value.shape, value.dtype)
    return Counter(node.op_type for node in made.graph.node)


def denoiser(opset: int, batch: int | str = 1) -> Builder:
    """Two LSTMs of one step; their states, h and c in the last dimension, are one tensor."""
    b = Builder(opset)
    x = b.floats("x", (1, 1, WIDTH), [1, batch, WIDTH])
    states = b.floats("states", (1, 2, UNITS, 2), [batch, 2, UNITS, 2])
    shown = []
    for layer, width in enumerate((WIDTH, UNITS)):
        parts = b.split(states, [1, 1], 1)
        initial = [
            b.unsqueeze(b.squeeze(b.squeeze(part, 3), 1), 0)
            for part in b.split(parts[layer], [1, 1], 3)
        ]
        outputs = b.recurrent("LSTM", x, width, UNITS, initial=initial)
        x = b.squeeze(outputs[0], 1)
        shown.append([b.unsqueeze(b.squeeze(each, 0), 1) for each in outputs[1:]])
    stacks = [b.node("Concat", list(each), axis=1) for each in zip(*shown, strict=True)]
    both = b.node("Concat", [b.unsqueeze(each, 3) for each in stacks], axis=3)
    b.output(both, "after", [batch, 2, UNITS, 2])
    b.output(b.node("MatMul", [x, b.weights(UNITS, 3)]), "y", [1, batch, 3])
    return b


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_states_of_fixed_size_are_read_and_written_by_one_gather_each(opset: int) -> None:
    b = denoiser(opset)
    found = merged(b.model(), b.feeds)
    assert found["GatherElements"] == 2
    assert found["Split"] == 1
    # The layers' outputs without directions, and the shape of the states, before and after.
    assert found["Squeeze"] == found["Reshape"] == 2
    assert found["Unsqueeze"] == 0


def test_states_of_removed_units_are_zero_without_a_pad_for_each() -> None:
    b = denoiser(17)
    network = GraphNetwork.from_model(simplified(b.model()))
    small = cut(network, {axis: np.array([0, 3, 4]) for axis in network.declaration().axes}).model()
    assert sum(node.op_type == "Pad" for node in small.graph.node) == 4
    found = merged(small, b.feeds)
    assert found["GatherElements"] == 2
    assert not found.keys() & {"Pad", "Gather", "Unsqueeze"}
    after = run(merge_moves(small), b.feeds)["after"]
    assert not after[:, :, [1, 2, 5]].any()
    assert after[:, :, [0, 3, 4]].all()


def test_an_int8_form_is_made_of_a_merged_graph(tmp_path: Path) -> None:
    b = denoiser(17)
    small, path = merge_moves(simplified(b.model())), tmp_path / "small.onnx"
    assert quantize_graph(small, path, FORMS[0]).rest == []
    expected, found = run(b.model(), b.feeds), run(onnx.load(path), b.feeds)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=0.05)


def test_both_files_of_a_graph_are_merged_and_proven(tmp_path: Path) -> None:
    b, paths = denoiser(17), {name: tmp_path / f"{name}.onnx" for name in ("sent", "f32", "int8")}
    onnx.save(b.model(), paths["sent"])
    recipe = Recipe(budget=Budget(loss=0.5), minutes=0)
    task = GraphTask(PreparedGraph(paths["sent"]), recipe, None, None)
    axes = task.original.declaration().axes
    small = cut(task.original, {axis: np.array([0, 2, 5]) for axis in axes})
    task.export(small, paths["f32"])
    task.quantize(small, paths["f32"], paths["int8"], FORMS[0])
    assert task.verify_export(paths["f32"], small, "compressed").error == 0
    for name in ("f32", "int8"):
        operators = [node.op_type for node in onnx.load(paths[name]).graph.node]
        assert operators.count("GatherElements") == 2
        assert "Pad" not in operators


def test_values_of_unknown_size_are_moved_as_they_were() -> None:
    b = denoiser(17, batch="B")
    before = Counter(node.op_type for node in simplified(b.model()).graph.node)
    after = merged(simplified(b.model()), b.feeds)
    assert after["GatherElements"] == 0
    assert after["Squeeze"] == before["Squeeze"]


def test_what_others_read_within_a_chain_is_still_there() -> None:
    b = Builder()
    x = b.floats("x", (2, 3, 4), [2, 3, 4])
    turned = b.node("Transpose", [x], perm=[2, 0, 1])
    flat = b.node("Reshape", [turned, b.constant([4, 6])])
    first, second = b.split(flat, [1, 3], 0)
    chosen = b.node("Gather", [second, b.constant([2, 0])], axis=0)
    b.output(b.node("Relu", [turned]), "inner", [4, 2, 3])
    b.output(b.node("Concat", [chosen, first], axis=0), "last", [3, 6])
    b.output(x, "same", [2, 3, 4])
    # A branch reads a value of the chain, and gives on another one as it is.
    ports = [helper.make_empty_tensor_value_info(name) for name in ("then", "else")]
    relu, absolute = (
        helper.make_graph([helper.make_node(operator, [read], [port.name])], "b", [], [port])
        for operator, read, port in zip(("Relu", "Identity"), (flat, first), ports, strict=True)
    )
    condition = b.input("condition", np.array(False), [])
    made = b.node("If", [condition], then_branch=relu, else_branch=absolute)
    b.output(b.node("Relu", [made]), "branch", ["N", 6])
    merged(b.model(), b.feeds)
    merged(b.model(), b.feeds | {"condition": np.array(True)})


@pytest.mark.parametrize("filler", [None, 0.0, 2.0])
def test_zeros_are_put_in_and_other_numbers_are_not(filler: float | None) -> None:
    b = Builder()
    x = b.floats("x", (1, 1, 5), [1, 1, 5])
    read = [x, b.constant([0, 0, 1, 0, 0, 2])]
    read += [] if filler is None else [b.constant(filler, np.float32)]
    moved = b.node("Gather", [b.node("Pad", read), b.constant([7, 0, 3, 3])], axis=2)
    moved = b.squeeze(b.unsqueeze(b.squeeze(moved, 0), 1), 0)
    b.output(b.node("Relu", [moved]), "y", [1, 4])
    assert (merged(b.model(), b.feeds)["Pad"] == 0) == (filler != 2.0)


@pytest.mark.parametrize("size", [LARGEST, LARGEST + 1])
def test_large_tensors_are_moved_in_blocks(size: int) -> None:
    b = Builder()
    x = b.floats("x", (size,), [size])
    moved = b.unsqueeze(b.squeeze(b.unsqueeze(b.unsqueeze(x, 0), 0), 0), 2)
    b.output(moved, "y", [1, size, 1])
    assert merged(b.model(), b.feeds)["Reshape"] == (size == LARGEST)


def test_shapes_are_computed_as_they_were() -> None:
    b = Builder()
    x = b.floats("x", (3, 4, 5), [3, "T", 5])
    sizes = b.node("Gather", [b.node("Shape", [x]), b.constant([0, 2])], axis=0)
    target = b.node(
        "Concat", [sizes, b.node("Gather", [b.node("Shape", [x]), b.constant([1])])], axis=0
    )
    b.output(b.node("Reshape", [x, target]), "y", [3, 5, "T"])
    assert merged(b.model(), b.feeds)["GatherElements"] == 0


def test_a_chain_that_would_be_no_less_work_stays() -> None:
    b = Builder()
    x = b.floats("x", (30, 40), [30, 40])
    moved = b.node("Transpose", [b.node("Gather", [x, b.constant(range(29, 0, -1))], axis=0)])
    b.output(b.node("Relu", [moved]), "y", [40, 29])
    assert merged(b.model(), b.feeds) == Counter(
        node.op_type for node in b.model().graph.node if node.op_type != "Constant"
    )


def test_values_of_nothing_but_zeros_stay() -> None:
    b = Builder()
    x = b.floats("x", (1, 3), [1, 3])
    padded = b.node("Pad", [x, b.constant([0, 0, 0, 2])])
    zeros = b.squeeze(
        b.unsqueeze(b.node("Slice", [padded, *map(b.constant, ([3], [5], [1]))]), 0), 0
    )
    b.output(b.node("Relu", [zeros]), "y", [1, 2])
    merged(b.model(), b.feeds)


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_give_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "GATHERED", 1_000_000)
    rng, b = np.random.default_rng(seed), Builder([11, 13, 17][seed % 3])
    shapes = {b.floats(f"x{i}", (2, 3, 4), [2, 3, 4]): (2, 3, 4) for i in range(2)}
    for _ in range(14):
        name = str(rng.choice(list(shapes)))
        shape, along = shapes[name], int(rng.integers(3))
        kind = rng.choice(["Transpose", "Gather", "Pad", "Concat", "Reshape", "Split", "Relu"])
        if kind == "Transpose":
            order = [int(each) for each in rng.permutation(3)]
            shapes[b.node(kind, [name], perm=order)] = tuple(shape[each] for each in order)
        elif kind == "Gather":
            chosen = rng.integers(-shape[along], shape[along], 3)
            sizes = [*shape]
            sizes[along] = 3
            shapes[b.node(kind, [name, b.constant(chosen)], axis=along)] = tuple(sizes)
        elif kind == "Pad":
            margin = rng.integers(0, 2, 6)
            sizes = np.array(shape) + margin[:3] + margin[3:]
            shapes[b.node(kind, [name, b.constant(margin)])] = tuple(sizes.tolist())
        elif kind == "Concat":
            sizes = [*shape]
            sizes[along] *= 2
            shapes[b.node(kind, [name, name], axis=along)] = tuple(sizes)
        elif kind == "Reshape":
            sizes = [shape[1], shape[0], shape[2]]
            shapes[b.node(kind, [name, b.constant(sizes)])] = tuple(sizes)
        elif kind == "Split" and shape[along] > 1:
            cut_at = [1, shape[along] - 1]
            for part, size in zip(b.split(name, cut_at, along), cut_at, strict=True):
                sizes = [*shape]
                sizes[along] = size
                shapes[part] = tuple(sizes)
        else:
            shapes[b.node("Relu", [name])] = shape
    for number, name in enumerate(list(shapes)[2::3]):
        b.output(name, f"y{number}", list(shapes[name]))
    merged(b.model(), b.feeds)


def streaming(layers: int, opset: int, free: str | None) -> Builder:
    """LSTMs of one step; states (L, B, H) as PyTorch gives them, the batch is free."""
    b = Builder(opset)
    x = b.floats("x", (1, 2, WIDTH), [1, free, WIDTH])
    states = [b.floats(each, (layers, 2, UNITS), [layers, "B", UNITS]) for each in ("h", "c")]
    shown: list[list[str]] = []
    for layer in range(layers):
        chosen = [b.node("Gather", [each, b.constant(layer)], axis=0) for each in states]
        initial = [b.unsqueeze(each, 0) for each in chosen]
        outputs = b.recurrent("LSTM", x, UNITS if layer else WIDTH, UNITS, initial=initial)
        x = b.squeeze(outputs[0], 1)
        shown.append([b.unsqueeze(b.squeeze(each, 0), 0) for each in outputs[1:]])
    for name, parts in zip(("h after", "c after"), zip(*shown, strict=True), strict=True):
        b.output(b.node("Concat", list(parts), axis=0), name, [layers, "B", UNITS])
    # Something else that is read of a state: its dimensions are none of rows.
    last = b.unsqueeze(b.squeeze(outputs[1], 0), 2)
    b.output(b.node("Relu", [last]), "y", ["B", UNITS, 1])
    return b


@pytest.mark.parametrize("free", ["B", None])  # named, or what follows from it has no name
@pytest.mark.parametrize(("layers", "opset"), [(1, 17), (2, 17), (2, 11), (3, 17)])
def test_rows_of_states_are_moved_whatever_the_batch(
    layers: int, opset: int, free: str | None
) -> None:
    b = streaming(layers, opset, free)
    network = GraphNetwork.from_model(simplified(b.model()))
    axes = network.declaration().axes
    keep = {axis: np.array([0, 2, 3 + at]) for at, axis in enumerate(axes)}
    small = cut(network, keep).model()
    before = Counter(node.op_type for node in small.graph.node)
    after = merged(small, b.feeds)
    for batch in (1, 5):
        rng = np.random.default_rng(batch)
        feeds = {
            name: rng.normal(size=(value.shape[0], batch, value.shape[2])).astype(np.float32)
            for name, value in b.feeds.items()
        }
        assert merged(small, feeds) == after
    assert after["GatherElements"] == 0
    # One for each state of each layer, before and after it; the last layer's h is also the output.
    assert after["Gather"] <= 4 * layers
    assert after["Gather"] < before["Gather"]
    assert after["Unsqueeze"] == 1
    assert sum(after.values()) < sum(before.values()) - 4 * layers


def test_rows_in_one_order_are_ordered_together() -> None:
    b = Builder()
    x = b.floats("x", (1, 2, WIDTH), [1, "B", WIDTH])
    state = b.floats("state", (2, 2, UNITS), [2, "B", UNITS])
    chosen = [b.node("Gather", [state, b.constant(index)], axis=0) for index in range(2)]
    outputs = b.recurrent(
        "LSTM", x, WIDTH, UNITS, initial=[b.unsqueeze(each, 0) for each in chosen]
    )
    parts = [b.unsqueeze(b.squeeze(each, 0), 0) for each in outputs[1:]]
    b.output(b.node("Concat", parts, axis=0), "after", [2, "B", UNITS])
    said = b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(UNITS, 3)])
    b.output(said, "y", [1, "B", 3])
    network = GraphNetwork.from_model(simplified(b.model()))
    small = cut(network, {axis: np.array([1, 4]) for axis in network.declaration().axes}).model()
    found = merged(small, b.feeds)
    del found["Identity"]  # which no runtime runs
    assert found == Counter(
        ["Gather", "Split", "LSTM", "Concat", "Pad", "Gather", "Squeeze", "MatMul"]
    )


@pytest.mark.parametrize("free", ["B", None])
def test_rows_of_a_free_dimension_that_are_chosen_or_turned_stay(free: str | None) -> None:
    b = Builder()
    x = b.floats("x", (2, 3, 4), [2, free, 4])
    bounds = [b.constant(each) for each in ([0], [3], [1])]
    head = b.node("Slice", [x, *bounds])  # all, of three
    head = b.node(
        "Gather", [b.node("Gather", [head, b.constant([1])], axis=0), b.constant([2])], axis=2
    )
    b.output(b.node("Relu", [head]), "head", [1, "M", 1])
    first = b.node("Gather", [x, b.constant([0, 1, 2])], axis=1)
    moved = b.node(
        "Gather", [b.node("Gather", [first, b.constant([1])], axis=0), b.constant([2])], axis=2
    )
    b.output(b.node("Relu", [moved]), "y", [1, 3, 1])
    turned = b.node("Slice", [x, *map(b.constant, ([-1], [-9], [1], [-1]))])
    turned = b.node(
        "Gather", [b.node("Gather", [turned, b.constant([1])], axis=0), b.constant([3])], axis=2
    )
    b.output(b.node("Relu", [turned]), "z", [1, "N", 1])
    merged(b.model(), b.feeds)
    longer = {"x": np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)}
    merged(b.model(), longer)


@pytest.mark.parametrize(("low", "high"), [(0, 20), (-20, 2**31 - 1)])
@pytest.mark.parametrize("steps", [9, 30])
def test_a_slice_of_a_free_dimension_stays_whatever_its_output_is_declared_as(
    low: int, high: int, steps: int
) -> None:
    """An exporter that is told of one name for both dimensions writes it for both."""
    b = Builder()
    x = b.floats("x", (1, steps, 6), [1, "T", 6])
    product = b.node("MatMul", [x, b.weights(6, 4)])
    bounds = [b.constant(each) for each in ([low], [high], [1])]
    b.output(b.node("Slice", [product, *bounds]), "y", [1, "T", 4])
    assert merged(b.model(), b.feeds)["Slice"] == 1


@pytest.mark.parametrize("steps", [4, 9, 30])
def test_sizes_of_outputs_that_are_out_of_date_are_not_relied_on(steps: int) -> None:
    """The runtime only warns of them."""
    b = Builder()
    x = b.floats("x", (steps, 1, 6), ["T", 1, 6])
    b.node("Relu", [x], ["feat"])
    b.outputs.append(helper.make_tensor_value_info("feat", TensorProto.FLOAT, [9, 1, 6]))
    last = b.squeeze(b.node("Gather", ["feat", b.constant(-1)], axis=0), 0)
    b.output(b.unsqueeze(last, 0), "y", [1, 6])
    merged(b.model(), b.feeds)


def test_a_value_is_given_once_where_another_output_of_its_operator_stays() -> None:
    b = Builder()
    x = b.floats("x", (1, 5, 8), [1, "T", 8])
    first, second = b.split(x, [3, 5], 2)
    one = b.squeeze(b.node("MatMul", [b.unsqueeze(first, 2), b.weights(3, 6)]), 2)
    whole = b.unsqueeze(b.squeeze(x, 0), 0)
    added = b.node("Add", [b.node("MatMul", [second, b.weights(5, 6)]), one])
    b.output(b.node("Add", [added, b.node("MatMul", [whole, b.weights(8, 6)])]), "y", [1, "T", 6])
    merged(b.model(), b.feeds)
