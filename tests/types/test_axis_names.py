"""Names of axes of units, and what people read in their place."""

from __future__ import annotations

import pytest

from isslim.types.axis_names import (
    channels_of,
    components_of,
    is_channels,
    is_rank,
    is_units,
    layer_of,
    operator_of,
    rank_of_block,
    rank_of_input,
    rank_of_operator,
    rank_of_recurrence,
    units_of,
)
from isslim.types.wording import axis_name


@pytest.mark.parametrize("layer", ["lstm0", "rhn", "contextual.forward", "/rnn/LSTM.reverse"])
def test_layer_is_read_back_from_its_axis(layer: str) -> None:
    assert units_of(layer) != layer
    assert is_units(units_of(layer))
    assert layer_of(units_of(layer)) == layer


@pytest.mark.parametrize("axis", ["embedding", "bottleneck", "filters", "my units:lstm0"])
def test_other_axes_keep_their_names(axis: str) -> None:
    assert not is_units(axis)
    assert not is_rank(axis)
    assert layer_of(axis) == axis
    assert axis_name(axis) == axis


@pytest.mark.parametrize(
    ("axis", "name"),
    [
        ("units:lstm0", "LSTM layer 1"),
        ("units:gru11", "GRU layer 12"),
        ("units:rhn", "RHN layer"),
        ("units:contextual.forward", "contextual.forward"),
        ("lstm0", "lstm0"),
    ],
)
def test_only_layers_of_language_models_are_counted_from_one(axis: str, name: str) -> None:
    assert axis_name(axis) == name


@pytest.mark.parametrize(
    ("axis", "written", "name"),
    [
        (rank_of_input("lstm1"), "rank:lstm1.input", "input of LSTM layer 2"),
        (rank_of_recurrence("gru0"), "rank:gru0.recurrent", "recurrence of GRU layer 1"),
        (rank_of_block(2), "rank:softmax2", "softmax block 3"),
        ("rank:A.input", "rank:A.input", "rank:A.input"),
        (rank_of_operator("/a/LSTM_1"), "rank:input of /a/LSTM_1", "input of /a/LSTM_1"),
    ],
)
def test_ranks_are_named_by_what_reads_through_them(axis: str, written: str, name: str) -> None:
    assert axis == written
    assert is_rank(axis)
    assert not is_units(axis)
    assert axis_name(axis) == name


def test_an_axis_of_channels_names_its_operator() -> None:
    axis = channels_of("/dense/MatMul")
    assert axis == "channels:/dense/MatMul"
    assert operator_of(axis) == "/dense/MatMul"
    assert (is_channels(axis), is_units(axis)) == (True, False)
    assert not is_channels(units_of("/lstm/LSTM.forward"))
    assert (components_of(axis), components_of("units:lstm0")) == ("channels", "units")
    assert axis_name(axis) == "channels of /dense/MatMul"
