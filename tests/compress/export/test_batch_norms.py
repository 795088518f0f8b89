"""Norms are folded into the convolutions before them where that changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.export.batch_norms import fold_batch_norms
from isslim.compress.onnx.model.split_model import merge_constants, split_constants
from isslim.runtime.graphs.recorded_inputs import GraphSession


def normed(*, bias: bool = True, shared: bool = False, **attributes: float) -> ModelProto:
    """Two convolutions with one kernel, x (1, 2, T) to y, the first with a norm behind it.

    Args:
        bias: whether the convolutions have one.
        shared: whether y also reads what the norm reads.
        **attributes: of the norm.
    """
    draw = np.random.default_rng(0)
    held = {name: draw.normal(size=3) for name in ("bias", "scale", "shift", "mean")}
    held |= {"kernel": draw.normal(size=(3, 2, 3)), "variance": draw.uniform(0.5, 2.0, 3)}
    read = ["x", "kernel", *(["bias"] if bias else [])]
    statistics = ["scale", "shift", "mean", "variance"]
    nodes = [
        helper.make_node("Conv", read, ["first"]),
        helper.make_node("BatchNormalization", ["first", *statistics], ["normed"], **attributes),
        helper.make_node("Conv", read, ["second"]),
        helper.make_node("Sum", ["normed", "second", *(["first"] if shared else [])], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, None])
        for name, channels in (("x", 2), ("y", 3))
    ]
    arrays = [numpy_helper.from_array(each.astype(np.float32), name) for name, each in held.items()]
    graph = helper.make_graph(nodes, "normed", ports[:1], ports[1:], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "folded"),
    [
        (normed(), True),
        (normed(bias=False), True),
        (normed(epsilon=0.3), True),
        (normed(shared=True), False),
    ],
)
def test_a_norm_is_folded_unless_another_reads_the_convolution(
    model: ModelProto, folded: bool, tmp_path: Path
) -> None:
    parts = split_constants(model)
    fold_batch_norms(parts)
    small = merge_constants(parts)
    operators = [node.op_type for node in small.graph.node]
    assert operators.count("BatchNormalization") == (0 if folded else 1)
    x, found = np.random.default_rng(1).normal(size=(1, 2, 9)).astype(np.float32), []
    for each in (model, small):
        onnx.save(each, tmp_path / "graph.onnx")
        found.append(GraphSession(tmp_path / "graph.onnx").run({"x": x})["y"])
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_statistics_of_the_data_itself_stay() -> None:
    model = normed(training_mode=1)
    model.graph.node[1].output.extend(["running_mean", "running_variance"])
    parts = split_constants(model)
    fold_batch_norms(parts)
    assert [node.op_type for node in parts.structure.graph.node].count("BatchNormalization") == 1
