"""Random inputs for graphs without recorded ones: of declared types and sizes, and runnable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.kinds.graphs.random_inputs import BATCH, STEPS, random_runs
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

WIDTH, UNITS, ROWS = 3, 4, 7
Port = tuple[str, int, list[int | str]]
FLOAT, INT64, INT32, BOOL, STRING = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.BOOL,
    TensorProto.STRING,
)


def built(ports: list[Port], nodes: list[onnx.NodeProto]) -> ModelProto:
    """A graph that ends in an LSTM of `read` (T, B, WIDTH) and a product over it."""
    generator = np.random.default_rng(0)
    constants = {
        "w": generator.normal(0, 0.5, (1, 4 * UNITS, WIDTH)),
        "r": generator.normal(0, 0.5, (1, 4 * UNITS, UNITS)),
        "m": generator.normal(0, 0.5, (UNITS, 2)),
        "rows": generator.normal(0, 0.5, (ROWS, WIDTH)),
    }
    lengths = "lengths" if any(name == "lengths" for name, _, _ in ports) else ""
    whole = [
        *nodes,
        helper.make_node(
            "LSTM", ["read", "w", "r", "", lengths], ["said"], "layer", hidden_size=UNITS
        ),
        helper.make_node("Squeeze", ["said", "one"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["y"]),
    ]
    used = {name for node in whole for name in node.input}
    initializers = [
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in constants.items()
        if name in used
    ]
    initializers.append(numpy_helper.from_array(np.array([1]), "one"))
    graph = helper.make_graph(
        whole,
        "drawn",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in ports],
        [helper.make_tensor_value_info("y", FLOAT, ["steps", "sequences", 2])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def drawn(model: ModelProto, folder: Path, count: int = 6, seed: int = 1) -> list[NamedArrays]:
    onnx.save(model, folder / "graph.onnx")
    network = GraphNetwork.from_model(simplified(model))
    graph = GraphSession(folder / "graph.onnx")
    runs = random_runs(network.trace, graph, count, seed)
    for run in runs:
        graph.run(graph.checked(run))
    return runs


SAME = helper.make_node("Identity", ["x"], ["read"])


def test_free_sizes_differ_from_run_to_run_and_one_name_has_one_size(tmp_path: Path) -> None:
    twice: list[Port] = [("x", FLOAT, ["t", "batch", WIDTH]), ("z", FLOAT, ["t", "batch", WIDTH])]
    runs = drawn(built(twice, [helper.make_node("Add", ["x", "z"], ["read"])]), tmp_path, count=12)
    shapes = {run["x"].shape for run in runs}
    assert len(shapes) > 6
    for run in runs:
        assert run["x"].shape == run["z"].shape
        steps, batch, width = run["x"].shape
        assert STEPS[0] <= steps <= STEPS[1]
        assert BATCH[0] <= batch <= BATCH[1]
        assert width == WIDTH
        assert run["x"].dtype == np.float32
        assert not np.array_equal(run["x"], run["z"])
    values = np.concatenate([run["x"].ravel() for run in runs])
    assert abs(values.mean()) < 0.2
    assert 0.8 < values.std() < 1.2


def test_same_seed_draws_the_same(tmp_path: Path) -> None:
    model = built([("x", FLOAT, ["t", "b", WIDTH])], [SAME])
    first, again, other = (drawn(model, tmp_path, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(one["x"], two["x"]) for one, two in zip(first, again, strict=True))
    assert any(one["x"].shape != two["x"].shape for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("batched_first", [False, True])
def test_ids_are_rows_of_what_they_select(batched_first: bool, tmp_path: Path) -> None:
    shape: list[int | str] = ["batch", "t"] if batched_first else ["t", "batch"]
    nodes = [
        helper.make_node(
            "Gather", ["rows", "ids"], ["vectors" if batched_first else "read"], axis=0
        )
    ]
    if batched_first:
        nodes.append(helper.make_node("Transpose", ["vectors"], ["read"], perm=[1, 0, 2]))
    runs = drawn(built([("ids", INT64, shape)], nodes), tmp_path, count=12)
    ids = np.concatenate([run["ids"].ravel() for run in runs])
    assert set(ids.tolist()) == set(range(ROWS))
    for run in runs:
        assert BATCH[0] <= run["ids"].shape[0 if batched_first else 1] <= BATCH[1]


def test_lengths_are_full(tmp_path: Path) -> None:
    ports: list[Port] = [("x", FLOAT, ["t", "b", WIDTH]), ("lengths", INT32, ["b"])]
    for run in drawn(built(ports, [SAME]), tmp_path):
        steps, batch, _ = run["x"].shape
        assert run["lengths"].tolist() == [steps] * batch
        assert run["lengths"].dtype == np.int32


def test_random_booleans_are_true_and_false(tmp_path: Path) -> None:
    ports: list[Port] = [("x", FLOAT, ["t", "b", WIDTH]), ("mask", BOOL, ["t", "b", 1])]
    nodes = [
        helper.make_node("Cast", ["mask"], ["number"], to=FLOAT),
        helper.make_node("Mul", ["x", "number"], ["read"]),
    ]
    runs = drawn(built(ports, nodes), tmp_path)
    assert set(np.concatenate([run["mask"].ravel() for run in runs]).tolist()) == {True, False}


def test_sizes_that_a_graph_does_not_name_are_found_by_trying(tmp_path: Path) -> None:
    # The steps must be 16, which only a run shows: a product with a constant of 16 rows.
    constant = helper.make_node(
        "Constant",
        [],
        ["square"],
        value=numpy_helper.from_array(np.eye(16, dtype=np.float32)[:, :, None]),
    )
    nodes = [
        constant,
        helper.make_node("Squeeze", ["square", "two"], ["flat_square"]),
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2]))),
        helper.make_node("Transpose", ["x"], ["last"], perm=[1, 2, 0]),
        helper.make_node("MatMul", ["last", "flat_square"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["read"], perm=[2, 0, 1]),
    ]
    nodes[1], nodes[2] = nodes[2], nodes[1]
    for run in drawn(built([("x", FLOAT, ["t", "batch", WIDTH])], nodes), tmp_path):
        assert run["x"].shape[0] == 16


def test_types_without_random_values_are_refused_by_name(tmp_path: Path) -> None:
    texts = [helper.make_node("Cast", ["x"], ["read"], to=FLOAT)]
    with pytest.raises(InputsRefused, match="input 'x' is a tensor"):
        drawn(built([("x", STRING, ["t", "b", WIDTH])], texts), tmp_path)


def test_a_graph_that_runs_on_no_random_inputs_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "Constant", [], ["shape"], value=numpy_helper.from_array(np.array([5, 11, WIDTH]))
        ),
        helper.make_node("Reshape", ["x", "shape"], ["read"]),
    ]
    with pytest.raises(InputsRefused, match="ONNX Runtime cannot run"):
        drawn(built([("x", FLOAT, ["t", "b", WIDTH])], nodes), tmp_path)
