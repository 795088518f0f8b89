"""Generation against the network's own probabilities, token by token, and its texts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.runtime.errors import TokenOutOfRange
from isslim.runtime.language.completion import Completion, Ends, Written
from isslim.runtime.language.detokenizing import Detokenizer
from isslim.runtime.language.generation import Position, TokenStream, beginning, read
from isslim.runtime.language.sampling import Sampler, Sampling
from isslim.runtime.language.scoring import next_log_probs, score_batch
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec, character_tokenizer, word_tokenizer
from isslim.types.text import TextContract

WORDS = ["<eos>", "<unk>", *(f"w{index}" for index in range(38))]
GREEDY, FREE = Sampling(temperature=0), Sampling()


@pytest.fixture(scope="module", params=["float32", "int8"])
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LanguageSession:
    folder = tmp_path_factory.mktemp("graphs")
    network = LstmLanguageModel(LstmSpec(len(WORDS), 12, (20, 16)))
    network.initialise(0.8, torch.Generator().manual_seed(3))
    export(network, folder / "float32.onnx")
    quantize(folder / "float32.onnx", folder / "int8.onnx")
    return LanguageSession(folder / f"{request.param}.onnx")


def words() -> TextCodec:
    contract = TextContract(
        unit="word",
        vocabulary=len(WORDS),
        start_token="<eos>",
        unknown_token="<unk>",
        newline_token="<eos>",
    )
    return TextCodec(word_tokenizer(WORDS, "<unk>", "<eos>"), contract)


def stream(
    session: LanguageSession, sampling: Sampling, seed: int = 0, top: int = 0
) -> TokenStream:
    position, _ = read(session, [5, 9, 7], beginning(session, 0))
    return TokenStream(position, Sampler(sampling, seed), top)


def written(session: LanguageSession, ends: Ends, sampling: Sampling = FREE) -> list[Written]:
    completion = Completion(stream(session, sampling), words(), ends)
    found: list[Written] = []
    while completion.finish_reason is None:
        found += completion.advance(session)
    return found


def test_greedy_tokens_are_the_most_likely_after_all_before(session: LanguageSession) -> None:
    ours, ids = stream(session, GREEDY, top=3), [5, 9, 7]
    drawn = [ours.draw(session) for _ in range(12)]
    state = session.zero_state(1)
    for token in [0, *ids[:-1]]:
        _, state = next_log_probs(session, token, state)
    last = ids[-1]
    for each in drawn:
        log_probs, state = next_log_probs(session, last, state)
        # Prompts are read in one run: int8 rounds the activations of a run together.
        tolerance = 0.25 if session.integer else 1e-5
        assert each.log_prob == pytest.approx(float(log_probs[each.id]), abs=tolerance)
        assert each.top[0] == (each.id, each.log_prob)
        assert len(each.top) == 3
        last = each.id
    if not session.integer:
        text = score_batch(session, [[*ids, *(each.id for each in drawn)]], 0)[0]
        assert [each.log_prob for each in drawn] == pytest.approx(
            text.log_probs[3:].tolist(), abs=1e-5
        )


def test_reading_scores_as_scoring_does(session: LanguageSession) -> None:
    ids = [int(each) for each in np.random.default_rng(1).integers(0, len(WORDS), 150)]
    expected = score_batch(session, [ids], 0, top_k=2)[0]
    position, plain = read(session, ids, beginning(session, 0))
    assert plain.log_probs.tolist() == expected.log_probs.tolist()
    _, ranked = read(session, ids, beginning(session, 0), top_k=2)
    np.testing.assert_allclose(ranked.log_probs, expected.log_probs, rtol=0, atol=1e-6)
    assert ranked.top == expected.top
    assert (position.last, position.context) == (ids[-1], tuple(ids[-8:]))
    # Ids as they are: the first is given.
    again, given = read(session, [0, *ids], None, top_k=2)
    assert np.isnan(given.log_probs[0])
    assert given.top[0] is None
    assert given.log_probs[1:].tolist() == ranked.log_probs.tolist()
    for name, array in position.state.items():
        np.testing.assert_array_equal(array, again.state[name])
    alone, score = read(session, [7], None)
    assert (alone.last, len(score.log_probs)) == (7, 1)
    with pytest.raises(TokenOutOfRange):
        read(session, [len(WORDS)], None)


def test_text_goes_on_from_its_position_as_if_it_had_been_one(session: LanguageSession) -> None:
    whole = stream(session, FREE, seed=4)
    expected = [whole.draw(session).id for _ in range(20)]
    first = stream(session, FREE, seed=4)
    begun = [first.draw(session).id for _ in range(9)]
    second = TokenStream(first.position, Sampler(FREE, 4, first.sampler.drawn))
    assert begun + [second.draw(session).id for _ in range(11)] == expected
    other = stream(session, FREE, seed=5)
    assert [other.draw(session).id for _ in range(20)] != expected


def test_pieces_of_a_completion_are_its_text_and_its_tokens(session: LanguageSession) -> None:
    found = written(session, Ends(30))
    ids = [each.drawn.id for each in found]
    before = words().decode([5, 9, 7])
    assert before + "".join(each.text for each in found) == words().decode([5, 9, 7, *ids])
    assert len(ids) == 30


def test_stop_ends_a_text_before_it(session: LanguageSession) -> None:
    whole = written(session, Ends(30))
    text = "".join(each.text for each in whole)
    part = f"{whole[10].text}{whole[11].text}"[:-1]
    for stops in ((part,), ("nowhere", part), (text[4:7], part), ("nowhere",)):
        found = "".join(each.text for each in written(session, Ends(30, stops)))
        assert found == text[: min([text.find(each) for each in stops if each in text] or [None])]


def test_stop_over_several_tokens_is_never_shown_in_part(session: LanguageSession) -> None:
    whole = written(session, Ends(30))
    text, stop = "".join(each.text for each in whole), "".join(each.text for each in whole[6:9])
    completion = Completion(stream(session, FREE), words(), Ends(30, (stop,)))
    shown, longest = "", text[: text.find(stop)]
    while completion.finish_reason is None:
        shown += "".join(each.text for each in completion.advance(session))
        assert longest.startswith(shown)
    assert (shown, completion.finish_reason) == (longest, "stop")


def test_spelling_of_a_token_stops_too_and_ids_do(session: LanguageSession) -> None:
    whole = [each.drawn.id for each in written(session, Ends(200))]
    assert 0 in whole
    for ends in (Ends(200, ("<eos>",)), Ends(200, (), 0), Ends(200, ("\n",))):
        found = written(session, ends)
        assert [each.drawn.id for each in found] == whole[: whole.index(0)]
    first = Completion(stream(session, FREE), words(), Ends(200, ("<eos>",)))
    while first.finish_reason is None:
        first.advance(session)
    assert first.finish_reason == "stop"
    assert first.drawn == whole.index(0) + 1
    assert first.stream.position.last == 0


def test_nothing_is_run_where_no_tokens_are_wanted(session: LanguageSession) -> None:
    assert Completion(stream(session, FREE), words(), Ends(0)).finish_reason == "length"


SAMPLE = "the cat saw the cats. naïve café, 漢字かな \N{GRINNING FACE}! \n  two  lines\n"


def subwords() -> Iterator[tuple[str, Tokenizer]]:
    corpus = [SAMPLE, "the cat saw"] * 3
    trainer = {"vocab_size": 300, "show_progress": False, "special_tokens": ["<s>"]}
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    byte_level.train_from_iterator(
        corpus, trainers.BpeTrainer(**trainer, initial_alphabet=alphabet)
    )
    yield "bytes", byte_level
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    unigram.train_from_iterator(corpus, trainers.UnigramTrainer(**trainer, unk_token="<s>"))
    yield "metaspace", unigram
    pieces = Tokenizer(models.WordPiece(unk_token="<s>"))
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    pieces.train_from_iterator(corpus, trainers.WordPieceTrainer(**trainer))
    yield "wordpiece", pieces


def codecs() -> list[object]:
    characters = sorted(set(SAMPLE))
    made = [("words", words())]
    contract = TextContract(
        unit="character",
        vocabulary=len(characters),
        start_token="\n",
        unknown_token=None,
        newline_token=None,
    )
    made.append(("characters", TextCodec(character_tokenizer(characters, None), contract)))
    for name, tokenizer in subwords():
        size = tokenizer.get_vocab_size()
        contract = TextContract(
            unit="subword",
            vocabulary=size,
            start_token=None,
            unknown_token=None,
            newline_token=None,
        )
        made.append((name, TextCodec(tokenizer, contract)))
    return [pytest.param(codec, id=name) for name, codec in made]


@pytest.mark.parametrize("codec", codecs())
def test_pieces_joined_are_the_decoded_text(codec: TextCodec) -> None:
    generator = np.random.default_rng(0)
    texts = [codec.tokenize(SAMPLE)]
    texts += [generator.integers(0, codec.contract.vocabulary, 60).tolist() for _ in range(40)]
    for ids in texts:
        for begin in (0, 1, 25):
            before, after = ids[:begin][-8:], ids[begin:]
            if codec.decode(before).endswith("\N{REPLACEMENT CHARACTER}"):
                continue
            pieces = Detokenizer(codec, ids[:begin])
            given = [pieces.add(token) for token in after]
            joined = codec.decode(before) + "".join(given) + pieces.end()
            assert joined == codec.decode([*before, *after])


def test_character_of_several_tokens_is_written_with_its_last() -> None:
    tokenizer = dict(subwords())["bytes"]
    contract = TextContract(
        unit="subword",
        vocabulary=tokenizer.get_vocab_size(),
        start_token=None,
        unknown_token=None,
        newline_token=None,
    )
    codec = TextCodec(tokenizer, contract)
    token_of = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = [tokenizer.token_to_id(each) for each in token_of.pre_tokenize_str("é")[0][0]]
    assert len(letters) == 2
    pieces = Detokenizer(codec)
    assert [pieces.add(each) for each in letters] == ["", "é"]
    assert pieces.add(letters[0]) == ""
    assert not pieces.complete
    assert pieces.end() == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([2, 3], "w0 w1"),
        ([2, 0, 3], "w0\nw1"),
        ([0, 2, 0], "\nw0\n"),
        ([2, 0, 0, 3], "w0\n\nw1"),
    ],
)
def test_lines_of_words_have_no_margins(ids: list[int], text: str) -> None:
    assert words().decode(ids) == text
    assert words().tokenize(text) == ids


def test_positions_hold_what_a_text_needs_and_no_more(session: LanguageSession) -> None:
    ours = stream(session, FREE)
    for _ in range(50):
        ours.draw(session)
    position = ours.position
    assert isinstance(position, Position)
    assert len(position.context) == 8
    assert {array.shape for array in position.state.values()} == {(1, 1, 20), (1, 1, 16)}
