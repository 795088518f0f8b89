"""Parameters and multiply-adds by part, against the module's own parameters."""

from __future__ import annotations

import pytest

from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
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


def test_narrow_layers_count_to_the_layer_or_softmax_that_reads_through_them() -> None:
    ranks, blocks = {"input_ranks": (0, 4), "recurrent_ranks": (3, 5)}, {"blocks": (11, 20)}
    network = GruLanguageModel(GruSpec(V, E, UNITS, **ranks, **blocks, block_ranks=(5, 0)))
    embedding, *layers, softmax = parts(network.declaration())
    assert [each.name for each in layers] == ["GRU layer 1", "GRU layer 2"]
    assert [each.width for each in (embedding, *layers, softmax)] == [E, *UNITS, V]
    assert [each.mult_adds for each in (embedding, *layers, softmax)] == [
        0,
        3 * 9 * E + 3 * 9 * 3 + 3 * 9,
        3 * 7 * 4 + 4 * 9 + 3 * 7 * 5 + 5 * 7,
        11 * 5 + 5 * 7 + 20 * 7,
    ]
    assert [each.parameters - each.mult_adds for each in (*layers, softmax)] == [
        2 * 3 * 9 + 3,
        2 * 3 * 7 + 4 + 5,
        V + 5,
    ]
    total = sum(each.parameters for each in (embedding, *layers, softmax))
    assert total == axes.parameters(network.declaration())
