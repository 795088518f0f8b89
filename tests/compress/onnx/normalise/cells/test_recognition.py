"""What a Loop carries, shows and masks decides whether it is a layer."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, helper

from isslim.compress.onnx.model.attributes import subgraphs
from isslim.compress.onnx.model.split_model import SplitModel
from isslim.compress.onnx.normalise.cells.forms import NotACell
from isslim.compress.onnx.normalise.cells.recognition import Masked
from tests.compress.onnx.normalise.cells.keras_loops import KerasLayer
from tests.compress.onnx.normalise.cells.loops import Change, inner, read


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (KerasLayer(), Masked.NEVER),
        (KerasLayer(mask=True), Masked.LAST),
        (KerasLayer(mask=True, zero_output=True), Masked.ZEROS),
    ],
)
def test_what_stands_where_a_mask_is_false(layer: KerasLayer, expected: Masked) -> None:
    found = read(layer)
    assert set(found.outputs.values()) == {expected}
    assert bool(found.mask) == (expected is not Masked.NEVER)


def shows_the_state(parts: SplitModel, loop: NodeProto) -> None:
    body = subgraphs(loop)[0]
    inner(loop, "Identity").input[0] = body.output[3].name


def test_a_layer_may_show_its_state_where_its_mask_is_false() -> None:
    found = read(KerasLayer(mask=True), shows_the_state)
    assert set(found.outputs.values()) == {Masked.STATE}


def shows_the_cell(parts: SplitModel, loop: NodeProto) -> None:
    inner(loop, "Identity").input[0] = subgraphs(loop)[0].output[3].name


def shown_before(parts: SplitModel, loop: NodeProto) -> None:
    parts.constants["ones"] = np.ones((3, 6), np.float32)
    loop.input[3] = "ones"


def resets(parts: SplitModel, loop: NodeProto) -> None:
    """The state becomes what was shown, where the mask is false."""
    body = subgraphs(loop)[0]
    body.output[3].name = body.output[2].name


def reads_the_count(parts: SplitModel, loop: NodeProto) -> None:
    parts.structure.graph.node.append(helper.make_node("Neg", [loop.output[0]], ["negative"]))


@pytest.mark.parametrize(
    ("layer", "change", "reason"),
    [
        (KerasLayer("LSTM"), shows_the_cell, "other values than the state of its cell"),
        (KerasLayer("GRU", mask=True), shown_before, "before the first step of its mask"),
        (KerasLayer("GRU", mask=True), resets, "it changes its states"),
        (KerasLayer("RNN"), reads_the_count, "neither a state nor a count"),
    ],
)
def test_what_is_no_layer_stays(layer: KerasLayer, change: Change, reason: str) -> None:
    with pytest.raises(NotACell, match=reason):
        read(layer, change)
