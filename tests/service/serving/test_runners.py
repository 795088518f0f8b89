"""Which pieces share a run, and that what shares it is scored as it is alone."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.pieces import Piece
from isslim.runtime.language.scoring import CHUNK_STEPS, scored_pieces
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.questions.answering import encode_question, tokenize_question
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.runtime.run_control import RunControl
from isslim.service.serving.runners import MAX_PIECES, LanguageRunner, QuestionRunner
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from tests.conftest import Published
from tests.reader import publish


@pytest.fixture(scope="module")
def model(published: Published) -> LoadedLanguageModel:
    return LoadedLanguageModel(BundleStore(published.settings).open(published.bundle_id))


@pytest.fixture(scope="module")
def plain(model: LoadedLanguageModel) -> LanguageRunner:
    return LanguageRunner(model.session("compressed"))


def pieces(*lengths: int) -> list[Piece]:
    return [Piece(np.ones(length, np.int64), np.ones(length, np.int64)) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "chosen"),
    [
        ((30, 30, 30), [0, 1, 2]),
        ((30, 24, 23, 22, 36), [0, 1, 2, 4]),  # a quarter of padding at most
        ((30, 64, 3), [0, 1]),  # a longer one is shortened
        ((4, 64, 5, 3, 6), [0, 2, 3]),  # but not to a few steps
        ((1, 64, 1, 2), [0, 2]),
        ((64,) * 9, [0, 1, 2, 3]),
        ((1,) * 99, list(range(MAX_PIECES))),
    ],
)
def test_pieces_of_about_one_length_share_a_run(
    lengths: tuple[int, ...], chosen: list[int], plain: LanguageRunner
) -> None:
    assert list(plain.choose(pieces(*lengths))) == chosen


def test_nothing_shares_a_run_of_int8(model: LoadedLanguageModel) -> None:
    runner = LanguageRunner(model.session("compressed-int8"))
    assert runner.session.integer
    assert list(runner.choose(pieces(30, 30, 30))) == [0]


def scored(session: LanguageSession, sequences: list[list[int]], start: int | None) -> list[list]:
    """Log-probabilities and top tokens of sequences that are chosen for shared runs."""
    runner, control = LanguageRunner(session), RunControl()
    streams = [scored_pieces(session, each, start, top_k=3) for each in sequences]
    waiting = [(index, next(stream)) for index, stream in enumerate(streams)]
    results: dict[int, list] = {}
    shared = 0
    while waiting:
        chosen = runner.choose([piece for _, piece in waiting])
        group = [waiting[each] for each in chosen]
        waiting = [each for index, each in enumerate(waiting) if index not in set(chosen)]
        shared = max(shared, len(group))
        found = runner.run([piece for _, piece in group], control)
        for (index, piece), (scores, cost) in zip(group, found, strict=True):
            assert 1 <= cost <= len(piece)
            try:
                waiting.append((index, streams[index].send(scores)))
            except StopIteration as ended:
                results[index] = [ended.value.log_probs, ended.value.top]
    assert (shared > 1) is (len(sequences) > 1 and not session.integer)
    return [results[index] for index in range(len(sequences))]


@pytest.mark.parametrize("start", [None, 0])
@pytest.mark.parametrize("variant", ["original", "compressed"])
def test_float32_texts_of_any_length_are_scored_together_as_alone(
    variant: str, start: int | None, model: LoadedLanguageModel
) -> None:
    """States are carried on, and longer pieces cut where shorter ones end."""
    session, random = model.session(variant), np.random.default_rng(0)
    lengths = (30, 2, 200, 25, CHUNK_STEPS, 31, CHUNK_STEPS + 1, 3, 90, 33, 130)
    sequences = [random.integers(0, session.vocabulary, n).tolist() for n in lengths]
    for ids, (log_probs, top) in zip(sequences, scored(session, sequences, start), strict=True):
        ((expected, expected_top),) = scored(session, [ids], start)
        np.testing.assert_allclose(log_probs, expected, rtol=0, atol=1e-5)
        for some, others in zip(top, expected_top, strict=True):
            if some is not None:
                likely, likely_alone = ([p for _, p in each] for each in (some, others))
                np.testing.assert_allclose(likely, likely_alone, rtol=0, atol=1e-5)


def test_int8_texts_are_scored_beside_others_to_the_bit_as_alone(
    model: LoadedLanguageModel,
) -> None:
    session, random = model.session("compressed-int8"), np.random.default_rng(0)
    sequences = [random.integers(0, session.vocabulary, n).tolist() for n in (30, 200, 31, 30)]
    for ids, found in zip(sequences, scored(session, sequences, 0), strict=True):
        (expected,) = scored(session, [ids], 0)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LoadedQuestionModel:
    home = tmp_path_factory.mktemp("reader")
    bundle_id = publish(home)
    return LoadedQuestionModel(BundleStore(StoreSettings(home=home)).open(bundle_id))


QUESTIONS = [
    ("who sat?", "the cat sat on the mat. it purred"),
    ("who slept under the tree and who did not?", "a dog slept under the tree. it purred"),
    ("?", "the cat sat on a unbelievablylong mat"),
    ("who purred", "the cat sat on the mat. " * 30),
]


@pytest.mark.parametrize("variant", ["original", "compressed-int8"])
def test_questions_of_unequal_lengths_are_answered_together_as_alone(
    variant: str, reader: LoadedQuestionModel
) -> None:
    session, control = reader.session(variant), RunControl()
    runner = QuestionRunner(session)
    inputs = []
    for question, context in QUESTIONS:
        asked = encode_question(reader.codec, tokenize_question(question, context))
        inputs += [(window, asked.question) for _, window in asked.windows]
    chosen = runner.choose(inputs)
    assert list(chosen) == ([0] if session.integer else [0, 1, 2])
    together = runner.run([inputs[index] for index in chosen], control)
    for index, (found, cost) in zip(chosen, together, strict=True):
        ((expected, _),) = runner.run([inputs[index]], control)
        assert cost == len(inputs[index][0].vectors)
        for name in ("start_log_probs", "end_log_probs", "start_totals", "end_totals"):
            some, alone = getattr(found, name), getattr(expected, name)
            assert some.shape == alone.shape
            np.testing.assert_allclose(some, alone, rtol=0, atol=1e-5)
