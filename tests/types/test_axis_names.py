"""Names of axes of units, and what people read in their place."""

from __future__ import annotations

import pytest

from isslim.types.axis_names import is_units, layer_of, units_of
from isslim.types.wording import axis_name


@pytest.mark.parametrize("layer", ["lstm0", "rhn", "contextual.forward", "/rnn/LSTM.reverse"])
def test_layer_is_read_back_from_its_axis(layer: str) -> None:
    assert units_of(layer) != layer
    assert is_units(units_of(layer))
    assert layer_of(units_of(layer)) == layer


@pytest.mark.parametrize("axis", ["embedding", "bottleneck", "filters", "my units:lstm0"])
def test_other_axes_keep_their_names(axis: str) -> None:
    assert not is_units(axis)
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
