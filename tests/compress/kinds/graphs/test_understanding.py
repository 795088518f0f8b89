"""Graphs that are read, and could not be compared with anything: refused in words, before a job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.errors import BadWeights, GraphNotUnderstood
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import layer_graph


def read(model: ModelProto, folder: Path) -> GraphTask:
    path = folder / "changed.onnx"
    onnx.save(model, path)
    return GraphTask(PreparedGraph(path), Recipe(budget=Budget(size_ratio=0.9)), None, None)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_no_numbers_are_named(value: float, tmp_path: Path) -> None:
    model = onnx.load(layer_graph(tmp_path))
    (node,) = (each for each in model.graph.node if each.op_type == "LSTM")
    (tensor,) = (each for each in model.graph.initializer if each.name == node.input[2])
    weights = numpy_helper.to_array(tensor).copy()
    weights[0, 3, :2] = value
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    with pytest.raises(BadWeights, match="has 2 values that are NaN or infinite") as refused:
        read(model, tmp_path)
    assert "forward.recurrence" in refused.value.issues[0]


def test_a_graph_without_inputs_is_refused(tmp_path: Path) -> None:
    model = onnx.load(layer_graph(tmp_path, fixed=True))
    constant = numpy_helper.from_array(np.zeros((1, 20, 6), np.float32), "x")
    model.graph.initializer.append(constant)
    del model.graph.input[:]
    with pytest.raises(GraphNotUnderstood, match="the graph has no inputs"):
        read(model, tmp_path)


def test_outputs_that_are_no_tensors_are_refused_with_what_to_do(tmp_path: Path) -> None:
    model = onnx.load(layer_graph(tmp_path))
    model.graph.node.append(helper.make_node("SplitToSequence", ["y"], ["parts"], axis=1))
    parts = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    model.graph.output.append(parts)
    with pytest.raises(GraphNotUnderstood, match=r"cannot be compared: parts\. Export the model"):
        read(model, tmp_path)


def test_a_graph_that_the_runtime_refuses_is_refused_by_the_name_of_its_file(
    tmp_path: Path,
) -> None:
    model = onnx.load(layer_graph(tmp_path))
    for node in model.graph.node[-2:]:
        node.name = "twice"
    with pytest.raises(GraphNotUnderstood, match=r"two nodes with same node name \(twice\)") as it:
        read(model, tmp_path)
    assert str(tmp_path) not in it.value.detail
    assert "changed.onnx" in it.value.detail
