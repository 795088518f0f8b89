"""Narrow layers in words, and of how many directions they pass some on."""

from __future__ import annotations

import pytest

from isslim.types.axis_names import (
    rank_of_block,
    rank_of_input,
    rank_of_recurrence,
    units_of_recurrence,
)
from isslim.types.wording import axis_name, directions_left, directions_read, is_narrow

SIZES = {"embedding": 54, "units:lstm0": 225, "units:lstm1": 187}


@pytest.mark.parametrize(
    ("axis", "name", "read"),
    [
        (rank_of_input("lstm0"), "input of LSTM layer 1", 54),
        (rank_of_input("lstm1"), "input of LSTM layer 2", 225),
        (rank_of_recurrence("lstm0"), "recurrence of LSTM layer 1", 225),
        (rank_of_recurrence("lstm1"), "recurrence of LSTM layer 2", 187),
        (rank_of_block(0), "softmax block 1", 187),
        (rank_of_block(11), "softmax block 12", 187),
        ("bottleneck", "bottleneck", 187),
    ],
)
def test_a_narrow_layer_is_named_by_what_reads_it(axis: str, name: str, read: int) -> None:
    assert is_narrow(axis)
    assert axis_name(axis) == name
    assert directions_read(axis, SIZES) == read
    # Of a model that has the narrow layers already, the same.
    assert directions_read(axis, SIZES | {axis: 3, "bottleneck": 2}) == read


def test_the_rank_of_a_recurrence_leads_to_its_units() -> None:
    assert units_of_recurrence(rank_of_recurrence("lstm1")) == "units:lstm1"
    others = (rank_of_input("lstm1"), rank_of_block(0), "units:lstm1", "lstm1.recurrent")
    assert [units_of_recurrence(axis) for axis in others] == [None] * 4


@pytest.mark.parametrize("axis", ["units:lstm0", "embedding", "filters", "rank", "my rank:lstm0"])
def test_other_axes_read_nothing(axis: str) -> None:
    assert not is_narrow(axis)
    assert directions_read(axis, SIZES) is None


def test_a_width_that_is_no_axis_is_not_known() -> None:
    tied = {"units:gru0": 100, "units:gru1": 60}
    assert directions_read(rank_of_input("gru0"), tied) is None
    assert directions_read(rank_of_input("gru1"), tied) == 100
    assert directions_read(rank_of_recurrence("gru7"), tied) is None
    assert directions_read("bottleneck", {"embedding": 3}) is None


def test_of_a_model_that_was_narrow_before_its_own_width_counts() -> None:
    before = SIZES | {rank_of_input("lstm1"): 100}
    after = {"units:lstm0": 200, rank_of_input("lstm1"): 60, rank_of_recurrence("lstm1"): 40}
    assert directions_left(before, after) == {
        rank_of_input("lstm1"): (100, 60),
        rank_of_recurrence("lstm1"): (187, 40),
    }


@pytest.mark.parametrize(
    ("lstm", "name", "read"),
    [
        ("contextual", "input of contextual LSTM", None),
        ("modelling0", "input of modelling LSTM 1", 4 * (5 + 4)),
        ("modelling1", "input of modelling LSTM 2", 6 + 3),
        ("output", "input of output LSTM", 4 * (5 + 4) + 3 * (4 + 2)),
    ],
)
def test_a_reader_names_its_lstms_and_reads_several_of_their_outputs(
    lstm: str, name: str, read: int | None
) -> None:
    units = {"contextual": (5, 4), "modelling0": (6, 3), "modelling1": (4, 2), "output": (3, 6)}
    sizes = {"filters": 7} | {
        f"units:{layer}.{direction}": size
        for layer, both in units.items()
        for direction, size in zip(("forward", "backward"), both, strict=True)
    }
    assert axis_name(rank_of_input(lstm)) == name
    assert directions_read(rank_of_input(lstm), sizes) == read
