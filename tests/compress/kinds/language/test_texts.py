"""The uploaded texts against the model: what is read wrongly shows in its perplexity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.errors import TextUnusable
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.texts import NEVER_COMPARED, read_texts
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.kinds.upload import DataFiles
from isslim.runtime.language.text import TextCodec, word_tokenizer
from isslim.types.manifest import TextContract
from isslim.types.recipe import Recipe
from tests.conftest import WORDS, Trained


def codec(words: list[str]) -> TextCodec:
    contract = TextContract(
        unit="word",
        vocabulary=len(words),
        start_token="<eos>",
        unknown_token="<unk>",
        newline_token="<eos>",
    )
    return TextCodec(word_tokenizer(words, "<unk>", "<eos>"), contract)


def permuted_gates(network: LanguageModel) -> LanguageModel:
    """The same weights with the gates in Keras' order, i f g o in that of i g f o."""
    arrays = network.arrays()
    for name, array in arrays.items():
        if name.startswith("layers."):
            first, second, third, fourth = np.split(array, 4)
            arrays[name] = np.concatenate([first, third, second, fourth])
    return network.rebuilt(arrays)


def test_model_that_is_read_as_it_was_trained_is_accepted(trained: Trained) -> None:
    for calibration, held_out in ((trained.calibration, None), (None, trained.held_out)):
        read_texts(trained.network, codec(WORDS), DataFiles(calibration, held_out), Recipe())


def test_wrong_vocabulary_or_gates_are_refused_by_their_perplexity(trained: Trained) -> None:
    turned = [*WORDS[:2], *WORDS[:1:-1]]
    for network, words in ((trained.network, turned), (permuted_gates(trained.network), WORDS)):
        for calibration, held_out in ((trained.calibration, None), (None, trained.held_out)):
            with pytest.raises(
                TextUnusable, match="worse than guessing among its 25 tokens"
            ) as refused:
                read_texts(network, codec(words), DataFiles(calibration, held_out), Recipe())
            assert "vocabulary" in refused.value.issues[0]


@pytest.mark.parametrize("field", ["calibration", "held_out"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"xyzzy plugh " * 200, "holds no token of the vocabulary: xyzzy, plugh"),
        (
            b"xyzzy plugh " * 200 + b"the cat",
            "over 90 % of the .* tokens are not in the vocabulary",
        ),
        (b"the cat sees the river", "has [0-9]+ tokens; at least 100 are needed"),
        (b"\xff\xfe\x00" * 99, "is not UTF-8"),
    ],
    ids=["strange", "nearly all strange", "short", "binary"],
)
def test_unusable_texts_are_refused(
    content: bytes, reason: str, field: str, trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "text").write_bytes(content)
    inputs = UploadedFiles(
        model=trained.model, vocabulary=trained.vocabulary, **{field: tmp_path / "text"}
    )
    with pytest.raises(TextUnusable, match=reason) as refused:
        read_task(inputs, Recipe())
    assert refused.value.problem().kind == "text-unusable"


@pytest.mark.parametrize("count", [5, 50, 99])
def test_training_text_of_few_tokens_is_refused(
    count: int, trained: Trained, tmp_path: Path
) -> None:
    train = tmp_path / "train"
    train.write_text(" ".join(WORDS[2] for _ in range(count)))
    with pytest.raises(TextUnusable, match=r"the training text has \d+ tokens; at least 100 are"):
        read_texts(
            trained.network,
            codec(WORDS),
            DataFiles(trained.calibration, trained.held_out, train),
            Recipe(),
        )


def test_text_that_the_model_writes_itself_does_not_refuse_it(trained: Trained) -> None:
    read_texts(
        permuted_gates(trained.network), codec(WORDS), DataFiles(), Recipe(calibration_tokens=300)
    )


def test_untrained_model_guesses_and_is_allowed(tmp_path: Path) -> None:
    network = LstmLanguageModel(LstmSpec(len(WORDS), 24, (40,)))
    network.initialise(0.1, torch.Generator().manual_seed(0))
    drawn = torch.randint(len(WORDS), (500,), generator=torch.Generator().manual_seed(1))
    (tmp_path / "text").write_text(" ".join(WORDS[index] for index in drawn))
    read_texts(
        network, codec(WORDS), DataFiles(held_out=tmp_path / "text"), Recipe(calibration_tokens=300)
    )


def test_models_without_evidence_have_a_caveat(trained: Trained, tmp_path: Path) -> None:
    network = LstmLanguageModel(LstmSpec(len(WORDS), 24, (40,)))
    network.initialise(0.1, torch.Generator().manual_seed(0))
    few = Recipe(calibration_tokens=300, held_out_tokens=300)
    for held_out, own in ((trained.held_out, ""), (None, ", on its own text")):
        told = read_texts(network, codec(WORDS), DataFiles(held_out=held_out), few).caveat
        assert "the original is barely better than guessing (perplexity" in told
        assert f"among 25 tokens{own})" in told
    assert (
        read_texts(trained.network, codec(WORDS), DataFiles(held_out=trained.held_out), few).caveat
        == ""
    )
    assert read_texts(trained.network, codec(WORDS), DataFiles(), few).caveat == NEVER_COMPARED


def test_share_of_unknown_tokens_stands_in_the_origin(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(
        b"\xef\xbb\xbf" + b"the cat sees xyzzy\n" * 100
    )  # 5 tokens a line, one unknown; no mark
    texts = read_texts(
        trained.network, codec(WORDS), DataFiles(tmp_path / "text", trained.held_out), Recipe()
    )
    assert texts.calibration_origin == "uploaded text (500 tokens, 20.0 % of them unknown)"
    assert ", 0.0 % of them unknown" in texts.held_out_origin
