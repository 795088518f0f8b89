"""This project's own recurrent highway networks: by their exact names, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.errors import UnknownArchitecture
from isslim.compress.kinds.language.ingest.highway import is_highway, recognise_highway
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec


def arrays(*, tied: bool) -> dict[str, np.ndarray]:
    return RhnLanguageModel(RhnSpec(11, 6, 6, 3, tied)).arrays()


def test_names_of_the_highway_are_recognised() -> None:
    assert is_highway(set(arrays(tied=False)))
    assert not is_highway({"embedding.weight", "rnn.highway.weight", "highways.0.gate.weight"})


@pytest.mark.parametrize("tied", [False, True])
def test_a_network_comes_back_from_its_arrays(tied: bool) -> None:
    given = arrays(tied=tied)
    network, line = recognise_highway(given, True if tied else None, "", [])
    assert network.spec == RhnSpec(11, 6, 6, 3, tied)
    assert line.endswith("depth 3, width 6, tied" if tied else "depth 3, width 6, untied")
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, given[name])


def test_equal_matrices_are_tied_unless_the_config_declares_otherwise() -> None:
    given = arrays(tied=True)
    given["decoder.weight"] = given["embedding.weight"].copy()
    assert recognise_highway(given, None, "", [])[0].spec.tied
    assert not recognise_highway(given, False, "", [])[0].spec.tied


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("embedding.weight", r"no 'embedding\.weight'"),
        ("decoder.weight", "decoder.weight is missing"),
        ("highway.depths.1.weight", "of 3 depths, 1 are missing"),
        ("highway.depths.2.bias", "'highway.depths.2.bias' is declared but absent"),
        ("highway.input.weight", "'highway.input.weight' is declared but absent"),
    ],
)
def test_a_missing_parameter_is_named(name: str, words: str) -> None:
    given = arrays(tied=False)
    del given[name]
    with pytest.raises(UnknownArchitecture, match=words) as refused:
        recognise_highway(given, None, "", ["what was found"])
    assert refused.value.issues == ["what was found"]
    assert "Expected: embedding.weight (V, E), highway.input.weight (2W, E)" in str(refused.value)
