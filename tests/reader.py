"""A small question-answering bundle of random weights, real graphs and real files."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reader import LETTERS, publish_reader, random_reader
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.store.settings import StoreSettings

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "mat",
    ".",
    "who",
    "?",
    "it",
    "purred",
    "a",
    "dog",
    "slept",
    "under",
    "tree",
]
SPEC = BidafSpec(
    vectors=6,
    characters=len(LETTERS) + 2,
    character_embedding=4,
    filters=7,
    contextual=(5, 4),
    modelling0=(6, 3),
    modelling1=(4, 5),
    output=(3, 6),
)
SMALL = BidafSpec(
    vectors=6,
    characters=len(LETTERS) + 2,
    character_embedding=4,
    filters=5,
    contextual=(3, 4),
    modelling0=(2, 3),
    modelling1=(1, 2),
    output=(3, 2),
)


def small_reader() -> Bidaf:
    """The network of the bundle's compressed graphs."""
    return random_reader(SMALL, 1, spread=0.5)


def publish(home: Path, name: str = "reader") -> str:
    """Publishes the bundle below `home` and returns its id."""
    settings = StoreSettings(home=home)
    home.mkdir(parents=True, exist_ok=True)
    return publish_reader(
        settings,
        WORDS,
        random_reader(SPEC, 0, spread=0.5),
        small_reader(),
        name=name,
    )
