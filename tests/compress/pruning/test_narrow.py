"""A narrow layer before the decoder: where it may stand, how it is declared, and what it weighs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isslim.compress.pruning import axes, narrow
from isslim.compress.pruning.axes import (
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow
from tests.compress.pruning import made

V, H = made.WORDS, made.UNITS


def test_it_is_declared_between_the_layer_and_the_decoder() -> None:
    plain = made.language()
    given = declare_narrow(plain, BOTTLENECK, 4)
    assert given.axes == {**plain.axes, "bottleneck": 4}
    assert {name: axes.shape(given, name) for name in given.dimensions} == {
        **{name: axes.shape(plain, name) for name in plain.dimensions},
        "decoder.weight": (V, 4),
        "bottleneck.weight": (4, H),
        "bottleneck.bias": (4,),
    }
    assert given.sites == (
        plain.sites[0],
        PreActivation(
            "bottleneck", (InputMatrix("bottleneck.weight", ("units",)),), "bottleneck.bias"
        ),
        PreActivation("decoder", (InputMatrix("decoder.weight", ("bottleneck",)),), "decoder.bias"),
    )
    assert given.dimensions["bottleneck.weight"][1] == (Segment("units", H),)
    assert declare_narrow(plain, BOTTLENECK).axes["bottleneck"] == H
    assert narrow.without_narrow(given, BOTTLENECK) == plain


def test_a_decoder_of_several_segments_has_one_as_wide_as_all_of_them() -> None:
    top = (Segment("units", H), Segment(None, 3))
    plain = made.language()
    wide = replace(
        plain,
        dimensions={**plain.dimensions, "decoder.weight": ((Segment(None, V),), top)},
    )
    assert declare_narrow(wide, BOTTLENECK).axes["bottleneck"] == H + 3


def test_put_in_it_passes_everything_on() -> None:
    plain = made.language()
    arrays = made.filled(plain)
    found, given = narrow.insert(arrays, plain, BOTTLENECK)
    given.check(found)
    np.testing.assert_array_equal(found["bottleneck.weight"], np.eye(H))
    np.testing.assert_array_equal(found["bottleneck.bias"], np.zeros(H))
    assert all(found[name].dtype == np.float32 for name in found)
    assert all(found[name] is arrays[name] for name in arrays)


def test_multiplied_back_it_leaves_the_same_logits() -> None:
    given = declare_narrow(made.language(), BOTTLENECK, 4)
    arrays = made.filled(given)
    before = {name: array.copy() for name, array in arrays.items()}
    plain, declaration = narrow.fold(arrays, given, BOTTLENECK)
    assert declaration == made.language()
    declaration.check(plain)
    hidden = np.random.default_rng(2).normal(size=(10, H))
    between = hidden @ before["bottleneck.weight"].T + before["bottleneck.bias"]
    expected = between @ before["decoder.weight"].T + before["decoder.bias"]
    found = hidden @ plain["decoder.weight"].T + plain["decoder.bias"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert plain["decoder.weight"].dtype == plain["decoder.bias"].dtype == np.float32
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def decoder_of(plain: NetworkAxes, *readers: InputMatrix) -> NetworkAxes:
    """The network with other readers of its decoder."""
    return replace(plain, sites=(plain.sites[0], replace(plain.sites[1], readers=readers)))


def test_it_is_applicable_to_an_untied_decoder_of_many_rows() -> None:
    (reader,) = made.language().sites[1].readers
    twice = InputMatrix("decoder.weight", ("units", "others"))
    assert narrow.may_narrow_softmax(made.language(4 * H))
    assert not narrow.may_narrow_softmax(made.language(4 * H - 1))
    assert not narrow.may_narrow_softmax(replace(made.language(), produced={"decoder.weight": "e"}))
    assert narrow.may_narrow_softmax(replace(made.language(), produced={"layer.input": "e"}))
    assert not narrow.may_narrow_softmax(declare_narrow(made.language(), BOTTLENECK, 2))
    unfit = [
        made.language(bias=False),
        replace(made.language(), sites=made.language().sites[:1]),
        decoder_of(made.language(), twice),
        decoder_of(made.language(), reader, reader),
    ]
    for declaration in unfit:
        assert not narrow.may_narrow_softmax(declaration)


OTHER = NarrowPlace("rank:b", "b", "b.weight", "b.bias", "layer", 1)


@pytest.mark.parametrize(
    ("declaration", "place", "why"),
    [
        (made.language(bias=False), BOTTLENECK, "'decoder' has no bias that would take"),
        (made.language(), replace(OTHER, reader=2), "there is no site 'layer' with a matrix 2"),
        (made.language(), replace(OTHER, site="x"), "there is no site 'x' with a matrix 1"),
        (made.language(), replace(OTHER, axis="units"), "there is an axis 'units' already"),
        (
            replace(made.language(), produced={"layer.units": "units"}),
            OTHER,
            "'layer.units' is tied to what it reads",
        ),
    ],
)
def test_where_it_does_not_fit_is_said(
    declaration: NetworkAxes, place: NarrowPlace, why: str
) -> None:
    with pytest.raises(ValueError, match=f"^no narrow layer fits before '{place.site}': {why}"):
        declare_narrow(declaration, place)


def test_it_pays_where_it_is_less_work() -> None:
    for width in range(1, H + 1):
        given = declare_narrow(made.language(), BOTTLENECK, width)
        fewer = axes.mult_adds(given) < axes.mult_adds(made.language())
        assert narrow.pays(given, BOTTLENECK) is fewer
        assert narrow.pays(given, BOTTLENECK, axes.parameters) is (
            axes.parameters(given) < axes.parameters(made.language())
        )


def test_its_cost_weighs_as_measured() -> None:
    assert 4 <= narrow.DIRECT <= 10


def test_as_many_multiply_adds_are_no_reason() -> None:
    # 3 (12 + 6) = 54 < 72; 4 (12 + 6) = 72 = 12 x 6.
    assert narrow.pays(declare_narrow(made.language(12), BOTTLENECK, 3), BOTTLENECK)
    assert not narrow.pays(declare_narrow(made.language(12), BOTTLENECK, 4), BOTTLENECK)


def test_rows_weigh_as_often_as_their_tokens_are_in_the_text() -> None:
    declaration = declare_narrow(made.language(), BOTTLENECK, 4)
    arrays = made.filled(declaration)
    layer, below, decoder = declaration.sites
    frequencies = np.random.default_rng(0).integers(0, 50, V).astype(np.float64)
    of = {name: arrays[name].astype(np.float64) for name in arrays}
    through, last = of["bottleneck.weight"][:, 1:3], of["decoder.weight"][:, 1:3]
    expected: dict[str, list[list[float]]] = {"decoder": [], "bottleneck": []}
    for row, count in zip(of["decoder.weight"], frequencies, strict=True):
        weight = float(np.sqrt(count + 1))
        expected["decoder"].append([weight * row[1], weight * row[2]])
        expected["bottleneck"].append([weight * float(row @ through[:, k]) for k in range(2)])
    for site, matrix in ((decoder, last), (below, through)):
        found = narrow.sensitivity(matrix, site, arrays, declaration, frequencies)
        np.testing.assert_allclose(found, expected[site.name], rtol=1e-12)
        alike = narrow.sensitivity(matrix, site, arrays, declaration, None)
        weights = np.sqrt(frequencies + 1)[:, None]
        np.testing.assert_allclose(alike, np.array(expected[site.name]) / weights, rtol=1e-12)
    gates = of["layer.input"]
    assert narrow.sensitivity(gates, layer, arrays, declaration, frequencies) is gates
