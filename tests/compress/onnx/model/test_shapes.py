"""Inferred shapes are those that ONNX Runtime's values have."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper

from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import split_constants
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run


def described() -> tuple[Builder, ModelProto]:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3])
    steps = b.recurrent("LSTM", x, 3, 4, "bidirectional")[0]
    turned = b.node("Transpose", [steps], perm=[0, 2, 1, 3])
    merged = b.node("Reshape", [turned, b.constant([0, 0, -1])])
    b.output(b.node("MatMul", [merged, b.weights(8, 2000)]), "y", ["T", "B", 2000])
    return b, b.model()


def test_every_known_size_is_the_real_one_and_a_name_is_always_the_same_size() -> None:
    b, model = described()
    layouts = inferred_shapes(split_constants(model))
    seen = {name for node in model.graph.node for name in node.output}
    sizes: dict[str, set[int]] = {}
    for name in seen & layouts.keys():
        tapped = ModelProto()
        tapped.CopyFrom(model)
        tapped.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        value = run(tapped, b.feeds).get(name)
        assert value is not None
        assert value.ndim == layouts[name].rank
        for dim, real in zip(layouts[name].dims, value.shape, strict=True):
            if isinstance(dim, int):
                assert dim == real
            else:
                sizes.setdefault(str(dim), set()).add(real)
    assert sizes["T"] == {STEPS}
    assert sizes["B"] == {BATCH}
    assert all(len(each) == 1 for each in sizes.values())
    # The target of the Reshape is a constant whose value is looked at; the weights' shape suffices.
    (reshaped,) = (n.output[0] for n in model.graph.node if n.op_type == "Reshape")
    assert layouts[reshaped].dims == ("T", "B", 8)
    assert layouts["y"].dims == ("T", "B", 2000)


def test_unknown_sizes_are_equal_to_themselves_only_and_old_notes_are_not_believed() -> None:
    b = Builder()
    for name in ("x", "z"):
        b.input(name, np.zeros((2, 2), np.float32), [None, 2])
    b.node("Relu", ["x"], ["r"])
    model = b.model()
    model.graph.value_info.append(helper.make_tensor_value_info("r", 1, [7, 7]))
    layouts = inferred_shapes(split_constants(model))
    assert layouts["x"].dims[0] != layouts["z"].dims[0]
    assert layouts["r"].dims[1] == 2


def test_a_branch_sees_the_constants_of_the_graph_around_it() -> None:
    b = Builder()
    b.floats("x", (4, 6), [4, 6])
    target = b.constant([3, 8])
    branch = helper.make_graph(
        [helper.make_node("Reshape", ["x", target], ["inside"])], "branch", [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )  # fmt: skip
    flag = b.input("flag", np.array(True), [])
    b.node("If", [flag], ["y"], then_branch=branch, else_branch=branch)
    assert inferred_shapes(split_constants(b.model()))["inside"].dims == (3, 8)


def test_declared_sizes_of_outputs_are_not_believed() -> None:
    """The runtime only warns where they are out of date; of their rank it is sure."""
    b = Builder()
    b.input("x", np.zeros((2, 2), np.float32), [None, 2])
    b.node("Relu", ["x"], ["y"])
    b.outputs.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [7, 2]))
    layout = inferred_shapes(split_constants(b.model()))["y"]
    assert layout.rank == 2
    assert isinstance(layout.dims[0], str)
    assert layout.dims[1] == 2
