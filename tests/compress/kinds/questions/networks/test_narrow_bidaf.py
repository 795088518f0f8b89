"""Narrow layers before BiDAF's LSTMs: exact until they are cut, equal to their reference, saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import isslim.torch
from isslim.compress.ingest.checkpoint import Checkpoint
from isslim.compress.kinds.questions.activations import collect_question_activations
from isslim.compress.kinds.questions.ingest import recognise_bidaf
from isslim.compress.kinds.questions.networks.axes import LSTMS, BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.sizes import parts
from isslim.compress.pruning import axes, narrow
from isslim.compress.pruning.ranking import prune, rank_components
from isslim.compress.training.saved_network import COMPRESSED, save_network
from tests.compress.kinds.questions import made
from tests.compress.kinds.questions.networks.test_bidaf import NARROW, SPEC, batch_of, network_of


@torch.no_grad()
def test_put_in_everywhere_and_multiplied_back_the_function_stays() -> None:
    network, inputs = network_of(), batch_of([9, 1, 6], [3, 8, 1])
    arrays, declaration = network.arrays(), network.declaration()
    places = network.narrow_places()
    assert [place.axis for place in places] == [f"rank:{lstm}.input" for lstm in LSTMS]
    for place in places:
        arrays, declaration = narrow.insert(arrays, declaration, place)
    wider = network.rebuilt(arrays)
    assert wider.narrow_places() == ()
    assert wider.declaration() == declaration
    assert wider.spec.ranks == (13, 36, 9, 63)
    torch.testing.assert_close(wider(*inputs), network(*inputs), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_product_of_both_matrices_is_one_network_without() -> None:
    network, inputs = network_of(NARROW), batch_of([9, 1, 6], [3, 8, 1])
    arrays, declaration = network.arrays(), network.declaration()
    assert [place.axis for place in network.narrow_places()] == ["rank:modelling1.input"]
    for place in declaration.narrow:
        arrays, declaration = narrow.fold(arrays, declaration, place)
    plain = network.rebuilt(arrays)
    assert plain.spec == replace(NARROW, ranks=())
    assert plain.declaration() == declaration
    torch.testing.assert_close(plain(*inputs), network(*inputs), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_cut_of_units_and_ranks_together_equals_its_masked_reference() -> None:
    torch.manual_seed(0)
    data = made.questions(30, seed=3)
    spec = BidafSpec(12, int(data.characters.max()) + 1, 4, 6, (6, 6), (7, 6), (6, 6), (6, 7))
    network = Bidaf(spec).eval()
    observed = collect_question_activations(network, data)
    plan = rank_components(
        network.arrays(), network.declaration(), observed, prunable=[*network.declaration().axes],
        count="mult_adds", narrow=network.narrow_places(), min_kept=2,
    )  # fmt: skip
    pruned = prune(plan, 0.6)
    small, reference = network.rebuilt(pruned.arrays), network.rebuilt(pruned.reference)
    assert small.declaration() == pruned.declaration
    assert len(small.spec.ranks) == len(LSTMS)
    assert axes.mult_adds(pruned.declaration) < 0.7 * axes.mult_adds(network.declaration())
    inputs = data.inputs(range(12))
    torch.testing.assert_close(small(*inputs), reference(*inputs), rtol=0, atol=1e-5)
    # Moments of the smaller network have the sites of its declaration.
    again = collect_question_activations(small, data)
    assert again.moments.keys() == {site.name for site in pruned.declaration.sites}


def test_ranks_are_one_for_each_lstm() -> None:
    assert replace(SPEC, ranks=(0, 0, 0, 0)) == SPEC
    assert [NARROW.rank(lstm) for lstm in LSTMS] == [5, 4, 0, 6]
    assert [SPEC.rank(lstm) for lstm in LSTMS] == [0, 0, 0, 0]
    for wrong in ((3,), (1, 2, 3, -4)):
        with pytest.raises(
            ValueError, match=r"'ranks' is .* 4 numbers are expected, for contextual"
        ):
            replace(SPEC, ranks=wrong)


def test_what_was_saved_is_loaded_and_read_as_an_upload(tmp_path: Path) -> None:
    network = network_of(NARROW)
    save_network(tmp_path, network)
    found = isslim.torch.load(tmp_path)
    assert isinstance(found, Bidaf)
    assert found.spec == NARROW
    inputs = batch_of([5, 2], [3, 1])
    torch.testing.assert_close(found(*inputs), network(*inputs), rtol=0, atol=0)
    read = recognise_bidaf(Checkpoint(network.arrays(), {}, []))
    assert read.network.spec == NARROW
    assert "narrow layers: contextual 5, modelling0 4, output 6" in read.reading.recognised


def test_sizes_that_were_saved_before_there_were_narrow_layers_are_read(tmp_path: Path) -> None:
    network = network_of()
    save_network(tmp_path, network)
    assert "ranks" not in json.loads((tmp_path / COMPRESSED.spec).read_text())["spec"]
    found = isslim.torch.load(tmp_path)
    assert isinstance(found, Bidaf)
    assert found.spec == SPEC


def test_a_part_has_the_narrow_layer_that_it_reads() -> None:
    declaration = network_of(NARROW).declaration()
    found = {part.name: part for part in parts(declaration)}
    own = 36 * 4 + 4  # P and c
    own += 4 * 6 * (4 + 6 + 2) + 4 * 3 * (4 + 3 + 2)
    assert found["modelling LSTM 1"].parameters == own
    assert found["modelling LSTM 1"].mult_adds == 36 * 4 + 24 * (4 + 6) + 12 * (4 + 3)
    assert found["modelling LSTM 1"].width == 9
    assert sum(part.parameters for part in found.values()) == axes.parameters(declaration)
    assert sum(part.mult_adds for part in found.values()) == axes.mult_adds(declaration)
    np.testing.assert_equal(found["modelling LSTM 1"].directions, [6, 3])
