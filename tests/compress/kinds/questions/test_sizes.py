"""Parameters and multiply-adds of BiDAF by part, against the module's own parameters."""

from __future__ import annotations

from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.sizes import PARTS, parts
from isslim.compress.pruning import axes

SPEC = BidafSpec(6, 12, 4, 7, (5, 4), (6, 3), (4, 5), (3, 6))


def test_parts_hold_every_parameter_once() -> None:
    network = Bidaf(SPEC)
    found = parts(network.declaration())
    own = {name: each.numel() for name, each in network.named_parameters()}
    assert [each.name for each in found] == [name for name, _ in PARTS]
    assert sum(each.parameters for each in found) == sum(own.values())
    for record, (_, prefixes) in zip(found, PARTS, strict=True):
        assert record.parameters == sum(own[name] for name in own if name.startswith(prefixes))


def test_widths_are_filters_words_and_units_of_both_directions() -> None:
    widths = {each.name: (each.width, each.directions) for each in parts(Bidaf(SPEC).declaration())}
    assert widths == {
        "characters": (7, []),
        "highways": (13, []),
        "contextual LSTM": (9, [5, 4]),
        "attention": (0, []),
        "modelling LSTM 1": (9, [6, 3]),
        "modelling LSTM 2": (9, [4, 5]),
        "output LSTM": (9, [3, 6]),
        "heads": (0, []),
    }


def test_multiply_adds_are_the_entries_of_the_matrices_of_sites() -> None:
    declaration = Bidaf(SPEC).declaration()
    smaller = axes.resized(declaration, {"units:output.backward": 2})
    before, after = (
        {each.name: each.mult_adds for each in parts(each)} for each in (declaration, smaller)
    )
    below = 4 * 9 + 3 * 9
    assert before["output LSTM"] == 4 * 3 * (below + 3) + 4 * 6 * (below + 6)
    assert after["output LSTM"] == 4 * 3 * (below + 3) + 4 * 2 * (below + 2)
    assert before["heads"] - after["heads"] == 4
    assert before["highways"] == after["highways"] == 4 * 13 * 13
