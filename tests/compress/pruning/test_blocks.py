"""A decoder in blocks of words: taken apart and put together, and the sizes that lose least."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.pruning import axes, blocks
from isslim.compress.pruning.axes import InputMatrix, PreActivation
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow
from tests.compress.pruning import made

Matrix = NDArray[np.float64]
PLAIN = made.language()
SIZES = (5, 12, 23)
ORDER = np.random.default_rng(3).permutation(made.WORDS)


def test_rows_go_to_their_blocks_and_come_back() -> None:
    arrays = made.filled(PLAIN)
    before = {name: array.copy() for name, array in arrays.items()}
    apart, declaration = blocks.split(arrays, PLAIN, ORDER, SIZES)
    declaration.check(apart)
    assert blocks.block_sizes(declaration) == SIZES
    assert blocks.block_sizes(PLAIN) == ()
    assert "decoder.weight" not in apart
    np.testing.assert_array_equal(apart["softmax.order"], ORDER)
    row = 0
    for block, size in enumerate(SIZES):
        assert apart[blocks.weight_of(block)].shape == (size, made.UNITS)
        for own in range(size):
            token = ORDER[row]
            np.testing.assert_array_equal(
                apart[blocks.weight_of(block)][own], arrays["decoder.weight"][token]
            )
            assert apart[blocks.bias_of(block)][own] == arrays["decoder.bias"][token]
            row += 1
    for block, (start, size) in enumerate(zip((0, 5, 17), SIZES, strict=True)):
        found = blocks.rows_of(blocks.site_of(block), apart, declaration)
        np.testing.assert_array_equal(found, ORDER[start : start + size])
    assert blocks.rows_of("layer", apart, declaration) is None
    assert blocks.rows_of("decoder", arrays, PLAIN) is None
    back, again = blocks.merge(apart, declaration, PLAIN.sites[-1])
    assert again == PLAIN
    assert back.keys() == before.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(back[name], array)
        np.testing.assert_array_equal(arrays[name], array)


def test_blocks_stand_where_the_decoder_stood_and_cost_as_much() -> None:
    declaration = blocks.declare_blocks(PLAIN, SIZES)
    assert declaration.sites == (
        PLAIN.sites[0],
        *(
            PreActivation(
                f"decoder.{block}",
                (InputMatrix(f"softmax.blocks.{block}.weight", ("units",)),),
                f"softmax.blocks.{block}.bias",
            )
            for block in range(3)
        ),
    )
    assert declaration.indices == {"softmax.order"}
    assert axes.parameters(declaration) == axes.parameters(PLAIN)
    assert axes.mult_adds(declaration) == axes.mult_adds(PLAIN)
    small = axes.resized(declaration, {"units": 4})
    assert blocks.without_blocks(small, PLAIN.sites[-1]) == axes.resized(PLAIN, {"units": 4})


def test_what_cannot_be_taken_apart_or_put_together_is_refused() -> None:
    arrays = made.filled(PLAIN)
    with pytest.raises(ValueError, match=r"blocks of \[5, 6\] rows do not make up a decoder of 40"):
        blocks.declare_blocks(PLAIN, (5, 6))
    with pytest.raises(ValueError, match="do not make up"):
        blocks.declare_blocks(PLAIN, (40, 0))
    for unfit in (made.language(bias=False), declare_narrow(PLAIN, BOTTLENECK)):
        with pytest.raises(ValueError, match="there is no decoder of one untied matrix"):
            blocks.declare_blocks(unfit, SIZES)
    twice = ORDER.copy()
    twice[0] = twice[1]
    with pytest.raises(ValueError, match="each of 40 tokens once"):
        blocks.split(arrays, PLAIN, twice, SIZES)
    with pytest.raises(ValueError, match="there are no blocks to merge"):
        blocks.merge(arrays, PLAIN, PLAIN.sites[-1])
    apart = declare_narrow(blocks.declare_blocks(PLAIN, SIZES), blocks.place_of(1))
    with pytest.raises(ValueError, match=r"narrow layers \['decoder.1.narrow'\] stand there"):
        blocks.without_blocks(apart, PLAIN.sites[-1])


def test_words_go_by_how_often_they_occur_the_first_of_equals_first() -> None:
    assert blocks.by_frequency(np.array([2.0, 7.0, 0.0, 7.0])).tolist() == [1, 3, 0, 2]


def test_a_vocabulary_that_is_nearly_by_frequency_keeps_its_order() -> None:
    sorted_once = 1e6 / np.arange(1, 301)
    noise = np.random.default_rng(0).uniform(0.99, 1.01, 300)
    assert blocks.by_frequency(sorted_once * noise).tolist() == list(range(300))
    # One frequent word stands last; of few words the order costs no table worth saving.
    late = np.append(sorted_once[1:], sorted_once[0])
    assert blocks.by_frequency(late).tolist() == [299, *range(299)]
    assert blocks.by_frequency(sorted_once[:40][::-1]).tolist() == list(range(39, -1, -1))


WORDS, UNITS = 1700, 8


def drawn(frequent: int) -> tuple[NDArray[np.float32], Matrix, Matrix]:
    """A decoder whose frequent words need all directions and whose rare ones need two."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(WORDS, 2)) @ generator.normal(size=(2, UNITS))
    weight[:frequent] = 2 * generator.normal(size=(frequent, UNITS))
    rows = generator.normal(size=(500, UNITS)) * np.linspace(1.5, 0.5, UNITS)
    counts = np.where(np.arange(WORDS) < frequent, 300.0, 2.0)
    return weight.astype(np.float32), np.cov(rows.T, bias=True), counts


def lost(weight: Matrix, covariance: Matrix, counts: Matrix, sizes: tuple[int, ...]) -> float:
    """The least energy lost at a quarter of the work over all ranks, by trying them all."""
    order = sorted(range(WORDS), key=lambda word: -counts[word])
    options = []
    start = 0
    for size in sizes:
        words = order[start : start + size]
        rows = weight[words] * np.sqrt(counts[words] + 1)[:, None]
        spectrum = np.linalg.svd(rows @ np.linalg.cholesky(covariance), compute_uv=False)
        energies = np.zeros(UNITS)
        energies[: len(spectrum)] = np.square(spectrum)
        options.append(
            [
                (min(rank * (size + UNITS), size * UNITS), float(energies[rank:].sum()))
                for rank in range(UNITS + 1)
            ]
        )
        start += size
    limit = blocks.WORK * WORDS * UNITS
    return min(
        sum(loss for _, loss in ranks)
        for ranks in itertools.product(*options)
        if sum(work for work, _ in ranks) <= limit
    )


@pytest.mark.parametrize("frequent", [40, 81, 340])
def test_sizes_lose_least_and_a_block_more_has_to_gain(frequent: int) -> None:
    weight, covariance, counts = drawn(frequent)
    found = blocks.chosen_sizes(weight, covariance, counts)
    tried = [(1700,), (340, 1360), (81, 324, 1295)]  # of four the first would have 20 rows
    by_hand = [lost(weight.astype(np.float64), covariance, counts, sizes) for sizes in tried]
    assert found in tried
    # Prices find the ranks on the hull of all, trying finds the others too.
    chosen = by_hand[tried.index(found)]
    assert chosen <= 1.25 * min(by_hand)
    for sizes, loss in zip(tried[: tried.index(found)], by_hand, strict=False):
        assert chosen < loss, sizes


@pytest.mark.parametrize(("noise", "expected"), [(0.0, 1), (3e-3, 1), (0.3, 2)])
def test_where_one_rank_is_enough_for_all_words_they_stay_together(
    noise: float, expected: int
) -> None:
    generator = np.random.default_rng(1)
    weight = np.outer(generator.normal(size=WORDS), generator.normal(size=UNITS))
    weight += noise * generator.normal(size=weight.shape)
    counts = np.where(np.arange(WORDS) < 300, 60.0, 1.0)
    found = blocks.chosen_sizes(weight.astype(np.float32), np.eye(UNITS), counts)
    assert (len(found) > 1) is (expected > 1)


@pytest.mark.parametrize(
    ("words", "units", "least", "most"), [(600, 400, 100, 6), (400, 8, 64, 2), (300, 8, 300, 1)]
)
def test_no_block_is_too_small_for_a_product(words: int, units: int, least: int, most: int) -> None:
    generator = np.random.default_rng(1)
    weight = generator.normal(size=(words, units)).astype(np.float32)
    counts = 1e5 / np.arange(1, words + 1) ** 2
    found = blocks.chosen_sizes(weight, np.eye(units), counts)
    assert min(found) >= least
    assert len(found) <= most
