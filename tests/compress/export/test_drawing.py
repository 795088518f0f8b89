"""What exporters share: versions, parameters as arrays, ports."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from isslim.compress.export.drawing import IR_VERSION, OPSET, array, model_of, port
from tests.compress.onnx.proving import run


def test_a_graph_becomes_a_model_of_the_shared_versions_that_runs() -> None:
    ports = [port(name, TensorProto.FLOAT, ["T", 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", ports[:1], ports[1:])
    model = model_of(graph)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == IR_VERSION
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(run(model, {"x": x})["y"], -x)


def test_a_name_is_a_free_dimension_and_a_number_a_fixed_one() -> None:
    dims = port("x", TensorProto.INT64, ["T", 2]).type.tensor_type.shape.dim
    assert [(dim.dim_param, dim.dim_value) for dim in dims] == [("T", 0), ("", 2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_parameter_becomes_float32(dtype: torch.dtype) -> None:
    values = torch.tensor([[1.5, -2.25]], dtype=dtype)
    made = array(torch.nn.Parameter(values))
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, [[1.5, -2.25]])
