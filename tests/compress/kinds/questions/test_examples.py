"""Examples and batches hold the texts and their answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isslim.compress.kinds.questions.examples import batches, common_characters, prepare
from isslim.compress.kinds.questions.squad import Answer, Paragraph, Question, Unrecovered
from isslim.runtime.questions.question_tokenizer import tokenize
from tests.compress.kinds.questions import made


def test_a_batch_is_every_text_as_the_codec_encodes_it_padded() -> None:
    codec, found = made.codec(), made.questions(5, seed=1)
    chosen = [3, 0, 6]
    inputs = found.inputs(chosen)
    for side, text in ((0, "context"), (3, "question")):
        vectors, characters, lengths = inputs[side : side + 3]
        assert (vectors.dtype, characters.dtype, lengths.dtype) == (
            torch.float32,
            torch.int64,
            torch.int32,
        )
        for column, index in enumerate(chosen):
            words = [token.text for token in tokenize(getattr(found.examples[index], text))]
            own, ids = codec.encode(words)
            assert lengths[column] == len(words)
            np.testing.assert_array_equal(vectors[: len(words), column], own)
            np.testing.assert_array_equal(characters[: len(words), column, : ids.shape[1]], ids)
            assert not characters[: len(words), column, ids.shape[1] :].any()
            assert not vectors[len(words) :, column].any()
            assert not characters[len(words) :, column].any()


def test_distinct_words_are_the_same_batch() -> None:
    found = made.questions(6, seed=2)
    chosen = [5, 1, 2]
    vectors, characters, *rows = found.distinct(chosen)
    assert len(torch.unique(torch.cat([vectors, characters.float()], dim=1), dim=0)) == len(vectors)
    placed = found.inputs(chosen)
    for side, (row, lengths) in enumerate((rows[:2], rows[2:])):
        assert torch.equal(lengths, placed[3 * side + 2])
        real = torch.arange(len(row))[:, None] < lengths
        assert torch.equal(vectors[row][real], placed[3 * side][real])
        assert torch.equal(characters[row][real], placed[3 * side + 1][real])


def test_spans_are_those_of_the_first_golden_answer_that_is_one() -> None:
    answers = (Answer("ri", 7), Answer("Paris", 5), Answer("in Paris", 3))
    asked = (
        Question("a", "Where?", answers),
        Question("b", "Where?", ()),
        Question("c", " ", answers),
    )
    found = prepare([Paragraph("X in Paris", asked), Paragraph(" ", asked)], made.codec())
    assert [example.id for example in found.examples] == ["a", "b"]
    assert found.examples[0].span == (2, 2)
    assert found.examples[0].golden == ("ri", "Paris", "in Paris")
    assert found.unrecovered == {Unrecovered.STARTS_INSIDE: 1, Unrecovered.ELSEWHERE: 1}
    with pytest.raises(ValueError, match="cannot be trained on"):
        found.spans([0, 1])


def test_nothing_to_ask_is_refused() -> None:
    with pytest.raises(ValueError, match="no question"):
        prepare([Paragraph("X", ())], made.codec())


def test_batches_hold_every_text_once_and_lengths_near_each_other() -> None:
    lengths = np.random.default_rng(0).integers(5, 300, 2_000).tolist()
    plain, first, second = (
        batches(lengths, 16, seed if seed is None else np.random.default_rng(seed))
        for seed in (None, 1, 2)
    )
    for found in (plain, first, second):
        assert sorted(index for batch in found for index in batch) == list(range(2_000))
        padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in found)
        assert padded < 1.05 * sum(lengths)
    assert first != second
    assert first == batches(lengths, 16, np.random.default_rng(1))
    longest = [max(lengths[index] for index in batch) for batch in first]
    assert longest != sorted(longest)


def test_characters_are_those_that_are_often_enough_there() -> None:
    paragraph = Paragraph("aab \u00e9", (Question("1", "abc \u00e9", ()),))
    assert common_characters([paragraph], 2) == ["a", "b", "\u00e9"]
