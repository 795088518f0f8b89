"""The page's example: a small model that is trained on made-up sentences, with its texts.

    python -m isslim.demo.example isslim/service/web/example

takes a minute and writes what a browser sends when somebody without a model of their own tries the
page: trained weights in half precision, the words, texts to calibrate on and to be held out. The
sentences are of a little grammar, in which verbs agree with their subjects, and places with verbs,
so that there is something to learn; the layers are larger than that needs, as they usually are.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch

from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.saved_network import save_tensors

WIDTH, UNITS = 64, (128, 128)
SENTENCES = {"train": 40_000, "calibration": 2000, "held-out": 1500}
EPOCHS = 3.0
UNKNOWN, END = "<unk>", "<eos>"
PEOPLE = {
    "sailor": ("sea", "mend"),
    "gardener": ("land", "grow"),
    "baker": ("town", "bake"),
    "teacher": ("town", "read"),
    "farmer": ("land", "feed"),
    "painter": ("town", "paint"),
    "fisher": ("sea", "mend"),
    "child": ("land", "paint"),
}
"""Who there is: where they are, and what they do most."""
WORK = {
    "mend": ("the old net", "a small boat", "the white sail", "a broken oar"),
    "grow": ("red roses", "green beans", "a tall tree", "sweet pears"),
    "bake": ("fresh bread", "a round cake", "warm rolls", "sweet pears"),
    "read": ("a long letter", "the old book", "a short story", "the news"),
    "feed": ("the grey horse", "two goats", "the young hens", "a small dog"),
    "paint": ("the blue door", "a tall tree", "the open window", "a small boat"),
}
PLACES = {
    "sea": ("on the quay", "near the harbour", "behind the lighthouse", "by the water"),
    "land": ("in the garden", "behind the barn", "near the river", "under the oak"),
    "town": ("in the kitchen", "at the market", "near the station", "in the square"),
}
TIMES = ("every morning", "at noon", "before the rain", "in the evening", "when the bell rings")
QUALITIES = ("old", "young", "quiet", "tired", "happy", "careful")
CHILDREN = {"child": "children"}


def sentence(chance: random.Random) -> str:
    """A sentence of the grammar.

    Args:
        chance: what it is drawn with.
    """
    person = chance.choice(list(PEOPLE))
    home, usual = PEOPLE[person]
    many = chance.random() < 0.4
    verb = usual if chance.random() < 0.7 else chance.choice(list(WORK))
    quality = f"{chance.choice(QUALITIES)} " if chance.random() < 0.5 else ""
    who = CHILDREN.get(person, f"{person}s") if many else person
    words = [
        f"{chance.choice(['the', 'some'] if many else ['the', 'a'])} {quality}{who}",
        verb if many else f"{verb}s",
        chance.choice(WORK[verb]),
    ]
    if chance.random() < 0.7:
        words.append(chance.choice(PLACES[home]))
    if chance.random() < 0.4:
        words.append(chance.choice(TIMES))
    return f"{' '.join(words)} ."


def text(part: str) -> str:
    """One part of the texts, a sentence a line.

    Args:
        part: `train`, `calibration` or `held-out`.
    """
    chance = random.Random(part)
    return "".join(f"{sentence(chance)}\n" for _ in range(SENTENCES[part]))


def vocabulary() -> list[str]:
    """All words of the grammar."""
    return [END, UNKNOWN, *sorted(set(text("train").split()))]


def write(folder: Path) -> float:
    """Trains the model and writes its files.

    Args:
        folder: takes `model.safetensors`, `words.txt`, `calibration.txt` and `held-out.txt`.

    Returns:
        The held-out perplexity.
    """
    words = vocabulary()
    index = {word: place for place, word in enumerate(words)}
    tokens, held_out = (
        torch.tensor([index[word] for word in text(part).replace("\n", f" {END} ").split()])
        for part in ("train", "held-out")
    )
    network = LstmLanguageModel(LstmSpec(len(words), WIDTH, UNITS), dropout=0.1)
    network.initialise(0.1, torch.Generator().manual_seed(1))
    plan = TrainingPlan(
        epochs=EPOCHS, batch=32, steps=25, optimizer="adamw", learning_rate=5e-3, clip=0.5
    )
    trained = train(network, tokens, plan).network
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: each.half().contiguous() for name, each in trained.state_dict().items()}
    save_tensors(folder / "model.safetensors", weights, {"format": "pt"})
    (folder / "words.txt").write_text("\n".join(words) + "\n")
    for part in ("calibration", "held-out"):
        (folder / f"{part}.txt").write_text(text(part))
    return perplexity(trained, held_out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    print(f"held-out perplexity {write(parser.parse_args().folder):.2f}")  # noqa: T201
