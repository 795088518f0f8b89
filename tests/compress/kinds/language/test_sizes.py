"""Parameters and multiply-adds by part, against the module's own parameters."""

from __future__ import annotations

import pytest

from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.sizes import is_tied, parts, recurrent_layers
from isslim.compress.pruning import axes

V, E, UNITS = 31, 7, (9, 7)


@pytest.mark.parametrize(("tied", "bottleneck"), [(False, None), (True, None), (False, 3)])
def test_parts_hold_every_parameter_once(tied: bool, bottleneck: int | None) -> None:
    network = LstmLanguageModel(LstmSpec(V, E, UNITS, tied, bottleneck))
    declaration = network.declaration()
    embedding, *layers, softmax = parts(declaration)
    own = {name: each.numel() for name, each in network.named_parameters()}
    narrow = 0 if bottleneck is None else bottleneck * (UNITS[-1] + 1)
    assert is_tied(declaration) is tied
    assert [each.name for each in layers] == ["LSTM layer 1", "LSTM layer 2"] + (
        [] if bottleneck is None else ["bottleneck"]
    )
    assert sum(each.parameters for each in (embedding, *layers, softmax)) == sum(own.values())
    assert sum(each.parameters for each in layers[2:]) == narrow
    # A look-up multiplies nothing; the decoder does, also where it is the embedding.
    width = UNITS[-1] if bottleneck is None else bottleneck
    assert (embedding.width, embedding.parameters, embedding.mult_adds) == (E, V * E, 0)
    assert (softmax.width, softmax.mult_adds) == (V, V * width)
    assert softmax.parameters == V + (0 if tied else V * width)


def test_a_layer_counts_its_own_matrices_and_not_its_readers() -> None:
    declaration = LstmLanguageModel(LstmSpec(V, E, UNITS)).declaration()
    smaller = axes.resized(declaration, {"units:lstm0": 4})
    before, after = recurrent_layers(declaration), recurrent_layers(smaller)
    assert [each.axis for each in after] == ["units:lstm0", "units:lstm1"]
    assert [each.width for each in after] == [4, 7]
    assert [each.mult_adds for each in before] == [4 * 9 * (E + 9), 4 * 7 * (9 + 7)]
    assert [each.mult_adds for each in after] == [4 * 4 * (E + 4), 4 * 7 * (4 + 7)]
    assert after[0].parameters == after[0].mult_adds + 2 * 4 * 4
