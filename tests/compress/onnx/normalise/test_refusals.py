"""What is refused is refused by name, before anything is made of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from isslim.compress.errors import GraphNotUnderstood, UnreadableUpload
from isslim.compress.onnx.model.shapes import inferred_shapes
from isslim.compress.onnx.model.split_model import split_constants
from isslim.compress.onnx.normalise.onnx_reader import read_graph, simplified
from isslim.compress.onnx.normalise.preparing import prepare
from isslim.compress.onnx.normalise.refusals import (
    OPSETS,
    refuse_misfits,
    refuse_odd_tensors,
    refuse_unreadable,
    refuse_without_layers,
)
from tests.compress.onnx.drawing import BATCH, STEPS, Builder


def lstm(opset: int = 17, **attributes: object) -> ModelProto:
    """A layer with a matrix behind it."""
    b = Builder(opset)
    outputs = b.recurrent(
        "LSTM", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4, **attributes
    )
    b.output(b.node("MatMul", [b.squeeze(outputs[0], 1), b.weights(4, 2)]), "y", ["T", "B", 2])
    return b.model()


def test_an_lstm_is_read() -> None:
    assert [node.op_type for node in simplified(lstm()).graph.node].count("LSTM") == 1


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 100)
    with pytest.raises(UnreadableUpload, match="has 100 bytes; 99 are allowed"):
        read_graph(tmp_path / "model.onnx", largest=99)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08" * 40])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UnreadableUpload, match="no ONNX model"):
        read_graph(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("old", "words"),
    [
        (b"LSTM", "'op_type' of NodeProto"),
        (b"MatMul", "'op_type' of NodeProto"),
        (b"hidden_size", "'name' of AttributeProto"),
    ],
)
def test_a_text_that_is_none_is_named(tmp_path: Path, old: bytes, words: str) -> None:
    content = lstm().SerializeToString()
    assert old in content
    (tmp_path / "model.onnx").write_bytes(content.replace(old, b"\xff" + old[1:]))
    with pytest.raises(UnreadableUpload, match=f"{words} in the graph is no text in UTF-8: b'.xff"):
        read_graph(tmp_path / "model.onnx")


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    whole = lstm().SerializeToString()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableUpload):
        read_graph(tmp_path / "model.onnx")


def test_a_graph_without_recurrent_layers_is_refused_with_what_it_has() -> None:
    b = Builder()
    b.output(
        b.node("Relu", [b.node("MatMul", [b.floats("x", (2, 3), ["B", 3]), b.weights(3, 2)])]),
        "y",
        ["B", 2],
    )
    with pytest.raises(GraphNotUnderstood, match=r"no LSTM, GRU, RNN node .* found: .*MatMul"):
        simplified(b.model())


def test_a_recurrence_written_out_is_refused_as_that() -> None:
    b = Builder()
    state, matrix = b.floats("x", (2, 3), ["B", 3]), b.weights(3, 3)
    for _ in range(3):
        product = b.node("MatMul", [state, matrix])
        state = b.node("Mul", [b.node("Sigmoid", [product]), b.node("Tanh", [product])])
    b.output(state, "y", ["B", 3])
    with pytest.raises(GraphNotUnderstood, match="the recurrence is written out"):
        simplified(b.model())


def test_a_plain_recurrence_written_out_is_told_from_other_products() -> None:
    b = Builder()
    state, matrix = b.floats("x", (2, 3), ["B", 3]), b.weights(3, 3)
    for _ in range(4):
        state = b.node("Relu", [b.node("MatMul", [state, matrix])])
    b.output(state, "y", ["B", 3])
    with pytest.raises(GraphNotUnderstood, match=r"nn\.RNN only with `dynamo=False`"):
        simplified(b.model())


def test_operators_of_onnx_runtimes_optimiser_are_refused_with_what_to_do() -> None:
    model = lstm()
    matrix = next(node for node in model.graph.node if node.op_type == "MatMul")
    matrix.op_type, matrix.domain = "FusedMatMul", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(
        GraphNotUnderstood, match=r"com\.microsoft\.FusedMatMul.*from before optimisation"
    ):
        simplified(model)


def test_a_recurrence_written_as_a_scan_is_refused_as_that() -> None:
    def port(name: str, shape: list) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "matrix"], ["p"]),
            helper.make_node("Add", ["p", "step"], ["s"]),
            helper.make_node("Tanh", ["s"], ["after"]),
            helper.make_node("Identity", ["after"], ["shown"]),
        ],
        "body",
        [port("h", [2, 3]), port("step", [2, 3])],
        [port("after", [2, 3]), port("shown", [2, 3])],
    )  # fmt: skip
    b = Builder()
    b.constants["matrix"] = np.zeros((3, 3), np.float32)
    b.constants["start"] = np.zeros((2, 3), np.float32)
    b.floats("x", (5, 2, 3), [5, 2, 3])
    b.node("Scan", ["start", "x"], ["end", "all"], body=body, num_scan_inputs=1)
    b.output("all", "y", [5, 2, 3])
    with pytest.raises(
        GraphNotUnderstood,
        match=r"the Scan '.*' holds a recurrent cell that was written out step.*unroll=False",
    ):
        simplified(b.model())


def test_a_quantized_layer_is_refused_as_that() -> None:
    model = lstm()
    layer = next(node for node in model.graph.node if node.op_type == "LSTM")
    layer.op_type, layer.domain = "DynamicQuantizeLSTM", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(
        GraphNotUnderstood, match="DynamicQuantizeLSTM: the layer is already quantized"
    ):
        simplified(model)


@pytest.mark.parametrize("moved", [False, True])
def test_a_layer_with_weights_stored_as_integers_is_refused_as_quantized(moved: bool) -> None:
    b = Builder()
    b.constants["scale"] = np.array(0.1, np.float32)
    b.constants["small"] = np.ones((16, 3) if moved else (1, 16, 3), np.int8)
    b.recurrent(
        "LSTM", b.floats("x", (STEPS, BATCH, 3), ["T", "B", 3]), 3, 4, outputs=["a", "h", "c"]
    )
    layer = b.nodes.pop()
    stored = b.node("DequantizeLinear", ["small", "scale"])
    layer.input[1] = b.unsqueeze(stored, 0) if moved else stored
    b.nodes.append(layer)
    b.output("h", "y", [1, "B", 4])
    with pytest.raises(GraphNotUnderstood, match="come out of a DequantizeLinear"):
        simplified(b.model())


def test_custom_operators_are_refused_with_their_names() -> None:
    model = lstm()
    model.graph.node.append(helper.make_node("Fancy", ["x"], ["unused"], domain="my.domain"))
    model.opset_import.append(helper.make_opsetid("my.domain", 1))
    with pytest.raises(GraphNotUnderstood, match=r"operators of custom domains: my\.domain\.Fancy"):
        simplified(model)


@pytest.mark.parametrize("version", [7, 99])
def test_versions_that_are_not_read_are_refused(version: int) -> None:
    model = lstm()
    model.opset_import[0].version = version
    with pytest.raises(GraphNotUnderstood, match=f"opset {version}: versions 9 to"):
        simplified(model)


def test_what_is_told_of_other_versions_makes_a_graph_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(lstm(7), "model.onnx")
    with pytest.raises(GraphNotUnderstood) as refused:
        read_graph(Path("model.onnx"))
    (line,) = re.findall("`(.*)`", refused.value.detail)
    exec(line)
    found = [node.op_type for node in read_graph(Path("converted.onnx")).graph.node]
    assert found == [node.op_type for node in lstm().graph.node]


def test_a_graph_that_onnx_itself_refuses_is_refused_with_its_words() -> None:
    model = lstm()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(UnreadableUpload, match="ONNX's checker refuses the model"):
        simplified(model)


def test_sparse_constants_are_refused() -> None:
    model = lstm()
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    with pytest.raises(GraphNotUnderstood, match="sparse constants"):
        simplified(model)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [("data_type", 99, "of type 99"), ("dims", [5, 7], r"sizes \[5, 7\] cannot be read")],
)
def test_tensors_that_are_none_are_named(field: str, value: object, told: str) -> None:
    model = lstm()
    tensor = model.graph.initializer[0]
    if isinstance(value, list):
        del tensor.dims[:]
        tensor.dims.extend(value)
    else:
        setattr(tensor, field, value)
    for reads in (refuse_odd_tensors, simplified):
        with pytest.raises(UnreadableUpload, match=f"'{tensor.name}' .*{told}"):
            reads(model)


def test_tensors_that_are_none_are_named_before_they_are_widened(tmp_path: Path) -> None:
    model = lstm()
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    tensor.data_type = TensorProto.BFLOAT16  # of bytes for twice as many
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UnreadableUpload, match=f"'{tensor.name}' of type 16 .* cannot be read"):
        prepare(tmp_path / "model.onnx")


def test_sizes_that_contradict_each_other_are_refused() -> None:
    model = lstm()
    (matrix,) = [each for each in model.graph.initializer if list(each.dims) == [4, 2]]
    model.graph.output[0].name = matrix.name  # of three dimensions
    with pytest.raises(GraphNotUnderstood, match="types or sizes in the graph do not fit"):
        inferred_shapes(split_constants(model))


def looped() -> ModelProto:
    """A layer beside a Loop that carries one value and collects another."""
    model = lstm()
    ports = {
        name: helper.make_tensor_value_info(name, kind, [])
        for name, kind in (
            *(("step", TensorProto.INT64), ("go", TensorProto.BOOL), ("goes", TensorProto.BOOL)),
            *((name, TensorProto.FLOAT) for name in ("held", "handed", "kept")),
        )
    }
    body = helper.make_graph(
        [
            helper.make_node("Identity", [read], [written])
            for read, written in (("go", "goes"), ("held", "handed"), ("held", "kept"))
        ],
        "body",
        [ports["step"], ports["go"], ports["held"]],
        [ports["goes"], ports["handed"], ports["kept"]],
    )
    model.graph.initializer.append(helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]))
    model.graph.initializer.append(helper.make_tensor("trips", TensorProto.INT64, [], [3]))
    inputs, outputs = ["trips", "", "zero"], ["last", "all"]
    model.graph.node.append(helper.make_node("Loop", inputs, outputs, "steps", body=body))
    return model


def test_a_loop_that_fits_its_body_is_read() -> None:
    assert simplified(looped()).graph.node


@pytest.mark.parametrize(
    ("ports", "told"),
    [
        ("input", "it gives 3 inputs, and the body takes 2"),
        ("output", "it needs 3 outputs, and the body has 2"),
    ],
)
def test_a_body_that_does_not_fit_is_named(ports: str, told: str) -> None:
    model = looped()
    del getattr(model.graph.node[-1].attribute[0].g, ports)[-1]
    with pytest.raises(UnreadableUpload, match=f"the Loop 'steps' does not fit its body: {told}"):
        refuse_misfits(model)


def branched(kind: int, count: int) -> ModelProto:
    """With an If whose else-branch has outputs of that type and number."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "ab"]
    nodes = [helper.make_node("Identity", ["y"], [name]) for name in "ab"]
    model = lstm()
    model.graph.input.append(helper.make_tensor_value_info("sure", TensorProto.BOOL, []))
    then = helper.make_graph(nodes[:1], "then", [], ports[:1])
    otherwise = helper.make_graph(nodes, "else", [], ports[:count])
    then.output[0].type.tensor_type.elem_type = 0
    otherwise.output[0].type.tensor_type.elem_type = kind
    branches = {"then_branch": then, "else_branch": otherwise}
    model.graph.node.append(helper.make_node("If", ["sure"], ["z"], "either", **branches))
    return model


def test_branches_of_different_numbers_of_outputs_are_named() -> None:
    model = branched(TensorProto.FLOAT, 2)
    refuse_misfits(branched(TensorProto.FLOAT, 1))
    with pytest.raises(UnreadableUpload, match=r"If 'either' .*: its branches have 2 and 1 outp"):
        refuse_misfits(model)


def test_a_type_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(GraphNotUnderstood, match="do not fit each other: Invalid tensor data ty"):
        simplified(branched(-1, 1))
    # The same before the checker has seen it: what is widened is not read yet.
    model = lstm()
    model.graph.node.add(op_type="MatMul", domain="nowhere", input=["x", "x"], output=["z"])
    wide = numpy_helper.from_array(np.zeros(1), "wide")
    model.graph.initializer.append(wide)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(GraphNotUnderstood, match=r"do not fit each other: .*domain nowhere"):
        prepare(tmp_path / "model.onnx")


def test_everything_that_is_in_the_way_is_named_at_once() -> None:
    model = lstm()
    model.graph.node[0].op_type, model.graph.node[0].domain = "QLinearLSTM", "com.microsoft"
    model.graph.node.append(helper.make_node("B", ["x"], ["b"], domain="my.domain"))
    model.graph.node.append(helper.make_node("A", ["x"], ["a"], domain="my.domain"))
    model.opset_import[0].version = OPSETS[1] + 1
    with pytest.raises(GraphNotUnderstood) as refused:
        refuse_unreadable(model)
    quantized, custom, opset = refused.value.issues
    assert "is a QLinearLSTM" in quantized
    assert custom == "operators of custom domains: my.domain.A, my.domain.B"
    assert opset.startswith(f"opset {OPSETS[1] + 1}: versions")


@pytest.mark.parametrize("version", OPSETS)
def test_the_oldest_and_the_newest_version_are_read(version: int) -> None:
    model = lstm()
    model.opset_import[0].version = version
    refuse_unreadable(model)


def test_weights_that_lead_back_to_themselves_are_no_quantized_ones() -> None:
    model = lstm()
    layer = next(node for node in model.graph.node if node.op_type == "LSTM")
    model.graph.node.append(helper.make_node("Identity", ["one"], ["other"]))
    model.graph.node.append(helper.make_node("Identity", ["other"], ["one"]))
    layer.input[1] = "one"
    refuse_without_layers(model)


def test_two_products_with_one_matrix_are_no_recurrence() -> None:
    b = Builder()
    value, matrix = b.floats("x", (2, 3), ["B", 3]), b.weights(3, 3)
    for _ in range(2):
        value = b.node("Relu", [b.node("MatMul", [value, matrix])])
    b.output(value, "y", ["B", 3])
    with pytest.raises(GraphNotUnderstood, match="so there are no units to remove"):
        refuse_without_layers(b.model())
