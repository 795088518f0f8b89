"""Answers: windows against whole contexts, offsets, ties with the slow search, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isslim.runtime.clock import BURST, interleave
from isslim.runtime.errors import TextRefused, UnknownVariant
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.questions.answering import (
    answer,
    encode_question,
    join_windows,
    tokenize_question,
    window_starts,
)
from isslim.runtime.questions.latency import compare_questions
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.runtime.questions.session import QuestionSession, TokenBatch
from isslim.runtime.registry import load
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recommendation import recommended
from tests.reader import WORDS, publish

CONTEXT = "The cat sat on a mat. It purred; a dog slept under the tree — naïve café, 1990s!"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedQuestionModel:
    home = tmp_path_factory.mktemp("reader")
    found = load(BundleStore(StoreSettings(home=home)).open(publish(home)))
    assert isinstance(found, LoadedQuestionModel)
    return found


@pytest.fixture(scope="module")
def session(model: LoadedQuestionModel) -> QuestionSession:
    return model.session("original")


def long_context(tokens: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, tokens))


def probabilities(
    model: LoadedQuestionModel, session: QuestionSession, question: str, context: str
) -> np.ndarray:
    """Start and end log-probabilities of a context in one run, whatever its length."""
    asked = tokenize_question(question, context)
    sides = (
        TokenBatch.of_one(*model.codec.encode(each))
        for each in ([context[a:b] for a, b in asked.spans], asked.question)
    )
    scores = session.run(*sides)
    return np.stack([scores.start_log_probs[0], scores.end_log_probs[0]])


def test_answers_are_the_best_spans_of_the_graph_with_their_characters(
    model: LoadedQuestionModel, session: QuestionSession
) -> None:
    starts, ends = probabilities(model, session, "Who sat?", CONTEXT)
    places = tokenize_question("Who sat?", CONTEXT).spans
    every = [
        (float(starts[i]) + float(ends[j]), places[i][0], places[j][1])
        for i in range(len(places))
        for j in range(i, min(len(places), i + 4))
    ]
    expected = sorted(every, key=lambda each: -each[0])[:5]
    found = answer(
        session,
        encode_question(model.codec, tokenize_question("Who sat?", CONTEXT)),
        top_k=5,
        max_answer_tokens=4,
    )
    assert [(each.start, each.end) for each in found.answers] == [each[1:] for each in expected]
    assert [each.score for each in found.answers] == pytest.approx(
        [math.exp(each[0]) for each in expected], rel=1e-6
    )
    assert all(CONTEXT[each.start : each.end] == each.text for each in found.answers)
    assert found.run_ms > 0
    assert found.search_ms > 0


@pytest.mark.parametrize(
    ("tokens", "window", "stride"), [(1, 4, 2), (4, 4, 2), (5, 4, 2), (23, 7, 3), (23, 7, 7)]
)
def test_windows_cover_every_token_and_are_full(tokens: int, window: int, stride: int) -> None:
    starts = window_starts(tokens, window, stride)
    covered = {token for start in starts for token in range(start, min(tokens, start + window))}
    assert covered == set(range(tokens))
    assert all(start + window <= tokens for start in starts) or starts == [0]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize(
    ("tokens", "window", "stride"),
    [(30, 30, 10), (31, 30, 10), (95, 20, 10), (95, 20, 13), (95, 20, 20)],
)
def test_windows_of_one_distribution_join_to_it(tokens: int, window: int, stride: int) -> None:
    # Windows that agree on the logits, each normalised over itself, must give back the softmax over
    # all.
    logits = np.random.default_rng(tokens).normal(0, 4, tokens)
    firsts = window_starts(tokens, window, stride)
    parts = []
    for first in firsts:
        own = logits[first : first + window]
        total = math.log(np.exp(own).sum())
        parts.append(((own - total).astype(np.float32), total))
    expected = logits - math.log(np.exp(logits).sum())
    np.testing.assert_allclose(join_windows(firsts, parts), expected, rtol=0, atol=1e-5)


def test_tokens_take_the_window_in_which_they_stand_farther_from_an_edge() -> None:
    # Each window says its own number everywhere: who spoke for a token is read off the result.
    firsts, window = [0, 5, 10], 10
    whole = join_windows(
        firsts, [(np.full(window, -1.0, np.float32), float(value)) for value in (1, 2, 3)]
    )
    assert np.round(whole - whole[0]).astype(int).tolist() == [0] * 7 + [1] * 5 + [2] * 8


def test_a_long_context_is_read_in_windows_and_scores_stay_probabilities_of_the_whole(
    model: LoadedQuestionModel, session: QuestionSession
) -> None:
    context = long_context(300, 1)
    reading = encode_question(
        model.codec, tokenize_question("who slept", context), window=80, stride=40
    )
    assert [first for first, _ in reading.windows] == [0, 40, 80, 120, 160, 200, 220]
    found = answer(session, reading, top_k=50, max_answer_tokens=3)
    spans = [(each.start, each.end) for each in found.answers]
    assert len(set(spans)) == 50
    assert all(
        context[start:end] == each.text
        for (start, end), each in zip(spans, found.answers, strict=True)
    )
    everything = answer(session, reading, top_k=10**6, max_answer_tokens=300)
    assert (
        sum(each.score for each in everything.answers) < 1
    )  # of starts and ends in order; all pairs together are 1
    assert max(each.end for each in everything.answers) == len(context)


def test_a_short_context_is_one_window_and_exactly_its_run(
    model: LoadedQuestionModel, session: QuestionSession
) -> None:
    for variant in ("original", "compressed-int8"):
        one = answer(
            model.session(variant), encode_question(model.codec, tokenize_question("who", CONTEXT))
        )
        two = answer(
            model.session(variant),
            encode_question(model.codec, tokenize_question("who", CONTEXT), window=1000),
        )
        assert one.answers == two.answers


def test_texts_without_a_token_are_refused() -> None:
    for question, context, what in (
        ("", "a cat", "question"),
        (" \n", "a cat", "question"),
        ("who", "\t ", "context"),
    ):
        with pytest.raises(TextRefused, match=f"the {what} holds no token"):
            tokenize_question(question, context)


def test_a_bundle_is_opened_by_its_task(
    model: LoadedQuestionModel, published_language: LoadedLanguageModel
) -> None:
    assert (model.task, published_language.task) == ("question-answering", "language-model")
    best = recommended(model.manifest.variants)
    assert best is not None
    assert model.default_variants("cpu") == ["original", best.name]
    assert model.default_variants("cuda") == ["original", "compressed"]
    assert model.memory_bytes >= model.codec.vectors.nbytes
    with pytest.raises(UnknownVariant):
        model.session("huge")


@pytest.fixture
def published_language(published: object) -> LoadedLanguageModel:
    found = load(BundleStore(published.settings).open(published.bundle_id))  # type: ignore[attr-defined]
    assert isinstance(found, LoadedLanguageModel)
    return found


def test_questions_are_timed_by_the_loop_that_times_everything(model: LoadedQuestionModel) -> None:
    sessions = {name: model.session(name) for name in ("original", "compressed")}
    timed = compare_questions(sessions, steps=60, batch=2, pairs=5)
    assert timed["original"].speedup == pytest.approx(1)
    assert (timed["compressed"].steps, timed["compressed"].batch) == (60, 2)
    assert (
        timed["compressed"].speedup_low
        <= timed["compressed"].speedup
        <= timed["compressed"].speedup_high
    )
    with pytest.raises(ValueError, match="baseline"):
        compare_questions({"x": sessions["original"]}, steps=1, batch=1)


def test_any_calls_are_timed_in_turn() -> None:
    order: list[str] = []
    times = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, pairs=4)
    assert [each.wall.shape for each in times.timed.values()] == [(4, BURST), (4, BURST)]
    turns = [name for index, name in enumerate(order[4:]) if index == 0 or order[3 + index] != name]
    assert "".join(turns) == "abababab"
