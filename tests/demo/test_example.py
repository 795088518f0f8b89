"""The page's example: its texts are those of the grammar, and its model has learnt them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

import isslim
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.demo import example

FOLDER = Path(isslim.__file__).parent / "service/web/example"


def tokens(text: str) -> torch.Tensor:
    index = {word: place for place, word in enumerate(example.vocabulary())}
    return torch.tensor([index[word] for word in text.replace("\n", f" {example.END} ").split()])


def test_texts_and_words_are_those_of_the_grammar() -> None:
    assert (FOLDER / "words.txt").read_text().splitlines() == example.vocabulary()
    for part in ("calibration", "held-out"):
        assert (FOLDER / f"{part}.txt").read_text() == example.text(part)
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert files.keys() == {"model.safetensors", "words.txt", "calibration.txt", "held-out.txt"}
    assert sum(files.values()) < 900_000


def test_model_has_learnt_them() -> None:
    network = LstmLanguageModel(
        LstmSpec(len(example.vocabulary()), example.WIDTH, example.UNITS), dropout=0.0
    )
    weights = load_file(FOLDER / "model.safetensors")
    network.load_state_dict({name: each.float() for name, each in weights.items()})
    text = example.text("held-out")
    # What the grammar itself leaves open: as good as its own probabilities allow, or nearly.
    assert perplexity(network, tokens(text)) < 3.2
    wrong = text.replace("sailor mends", "sailor mend")
    assert perplexity(network, tokens(wrong)) > perplexity(network, tokens(text))
    untrained = LstmLanguageModel(network.spec, dropout=0.0)
    assert perplexity(untrained, tokens(text)) > 20.0
