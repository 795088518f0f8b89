"""GRU and RNN as a Scan, against ONNX Runtime's operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from isslim.compress.export.int8_graph import Int8Graph
from isslim.compress.export.recurrent_scan import as_scan, has_scan
from isslim.compress.onnx.model.split_model import merge_constants, replace, split_constants
from tests.compress.onnx.drawing import BATCH, STEPS, Builder
from tests.compress.onnx.proving import run

WIDTH, H = 3, 4
CELLS = [("GRU", {"linear_before_reset": 1}), ("GRU", {}), ("RNN", {})]


def drawn(
    kind: str,
    direction: str = "forward",
    *,
    opset: int = 17,
    lengths: bool = False,
    initial: bool = False,
    wanted: tuple[int, ...] = (0, 1),
    **attributes: object,
) -> Builder:
    """A layer with the outputs that are wanted, Y and Y_h."""
    b = Builder(opset=opset)
    count = 2 if direction == "bidirectional" else 1
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    state = [b.floats("h", (count, BATCH, H), [count, "B", H])] if initial else None
    # One sequence of all steps, one of a single one.
    given = b.input("lengths", np.array([STEPS, 1, 3], np.int32), ["B"]) if lengths else ""
    names = [["every", ""], ["", "last"], ["every", "last"]][sum(wanted) + len(wanted) - 1]
    b.recurrent(
        kind, x, WIDTH, H, direction, initial=state, lengths=given, outputs=names, **attributes
    )
    shapes = ["T", count, "B", H], [count, "B", H]
    for index in wanted:
        b.output(names[index], "y" if index == 0 else "h_last", list(shapes[index]))
    return b


def written(b: Builder) -> onnx.ModelProto:
    """The graph with its layers as Scans."""
    work = Int8Graph(split_constants(b.model()))
    nodes = []
    for node in work.graph.node:
        nodes += as_scan(work, node) if has_scan(work, node) else [node]
    assert not any(node.op_type in ("GRU", "RNN") for node in nodes)
    replace(work.graph.node, nodes)
    model = merge_constants(work.parts)
    onnx.checker.check_model(model, full_check=True)
    return model


def assert_same(b: Builder) -> None:
    expected, found = run(b.model(), b.feeds), run(written(b), b.feeds)
    assert expected.keys() == found.keys()
    for name, each in expected.items():
        assert found[name].shape == each.shape
        np.testing.assert_allclose(found[name], each, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "attributes"), CELLS)
def test_a_scan_computes_what_the_operator_does(
    kind: str, attributes: dict[str, int], direction: str, lengths: bool, initial: bool
) -> None:
    assert_same(drawn(kind, direction, lengths=lengths, initial=initial, **attributes))


@pytest.mark.parametrize("opset", [11, 12, 13, 21])
def test_it_is_written_for_every_version_of_the_operators(opset: int) -> None:
    for kind, attributes in CELLS:
        assert_same(drawn(kind, "bidirectional", opset=opset, lengths=True, **attributes))


@pytest.mark.parametrize("wanted", [(0,), (1,)])
def test_outputs_that_nobody_reads_are_not_made(wanted: tuple[int, ...]) -> None:
    for kind, attributes in CELLS:
        b = drawn(kind, lengths=True, wanted=wanted, **attributes)
        assert_same(b)
        (scan,) = (node for node in written(b).graph.node if node.op_type == "Scan")
        assert len(scan.output) == 1 + (0 in wanted)


def test_weights_without_a_bias_are_those_with_zeros() -> None:
    for kind, attributes in CELLS:
        assert_same(drawn(kind, "bidirectional", bias=False, **attributes))


def test_the_state_of_a_sequence_that_has_ended_is_exactly_what_it_was() -> None:
    for kind, attributes in CELLS:
        model, whole = (drawn(kind, lengths=True, initial=True, **attributes) for _ in range(2))
        longer = dict(model.feeds, lengths=np.array([3, 3, 3], np.int32))
        shorter = dict(longer, x=whole.feeds["x"][:3])
        found, expected = (run(written(model), feeds)["h_last"] for feeds in (longer, shorter))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LSTM", {}),
        ("GRU", {"clip": 3.0}),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"]}),
        ("GRU", {"activations": ["Sigmoid", "Relu"]}),
        ("RNN", {"activations": ["Relu"]}),
    ],
)
def test_other_layers_stay(kind: str, attributes: dict[str, object]) -> None:
    b = Builder()
    x = b.floats("x", (STEPS, BATCH, WIDTH), ["T", "B", WIDTH])
    b.output(b.recurrent(kind, x, WIDTH, H, **attributes)[0], "y")
    work = Int8Graph(split_constants(b.model()))
    assert not has_scan(work, work.graph.node[0])


def test_layers_of_another_layout_or_old_operators_or_computed_weights_stay() -> None:
    batches_first = drawn("GRU", layout=1)
    old = drawn("GRU", opset=10)
    computed, bias = drawn("GRU"), drawn("RNN")
    for b, at in ((computed, 2), (bias, 3)):
        name = b.nodes[0].input[at]
        b.nodes[0].input[at] = b.node("Abs", [name])
    for b in (batches_first, old, computed, bias):
        work = Int8Graph(split_constants(b.model()))
        (layer,) = (node for node in work.graph.node if node.op_type in ("GRU", "RNN"))
        assert not has_scan(work, layer)


def test_the_usual_activations_may_be_written_out() -> None:
    named = ["sigmoid", "TANH"]
    b = drawn("GRU", "bidirectional", activations=named * 2)
    work = Int8Graph(split_constants(b.model()))
    assert has_scan(work, work.graph.node[0])
