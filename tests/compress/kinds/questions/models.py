"""A small reader trained on a made-up world, and its files as its owner would upload them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from isslim.compress.kinds.questions.examples import prepare
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import QuestionPlan
from isslim.compress.kinds.questions.squad import read_squad
from isslim.compress.kinds.questions.training import train_reader
from isslim.runtime.questions.question_tokenizer import PassageCodec

NAMES = ("ann", "bob", "carl", "dora", "emil", "fay", "gus", "hana")
THINGS = (
    "a red hat",
    "the old map",
    "two keys",
    "a lamp",
    "the long rope",
    "her book",
    "seven coins",
    "a boat",
)
PLACES = ("the harbour", "a dark cave", "the market", "an inn", "the tower", "a garden")


@dataclass(frozen=True)
class Reader:
    """A trained reader and the folder of its files."""

    network: Bidaf
    codec: PassageCodec
    folder: Path


def world(count: int, seed: int, *, answers: bool = True) -> dict[str, object]:
    """Stories in the form of SQuAD: who has what, and where; two kinds of question to each."""
    generator = np.random.default_rng(seed)
    paragraphs = []
    for number in range(count):
        people = generator.choice(NAMES, int(generator.integers(2, 5)), replace=False)
        facts = [
            (name, THINGS[generator.integers(8)], PLACES[generator.integers(6)]) for name in people
        ]
        context = " ".join(f"{name} found {thing} in {place}." for name, thing, place in facts)
        name, thing, place = facts[generator.integers(len(facts))]
        begin = context.index(f"{name} found")
        asked = ((f"what did {name} find?", thing), (f"where was {name}?", place))
        questions = [
            {
                "id": f"{seed}-{number}-{kind}",
                "question": question,
                "answers": [{"text": answer, "answer_start": context.index(answer, begin)}]
                if answers
                else [],
            }
            for kind, (question, answer) in enumerate(asked)
        ]
        paragraphs.append({"context": context, "qas": questions})
    return {"version": "1.1", "data": [{"title": "a world", "paragraphs": paragraphs}]}


def trained_reader(folder: Path) -> Reader:
    """About ten seconds of training; over-sized for its world."""
    for name, count, seed in (("train", 250, 0), ("calibration", 60, 1), ("held-out", 60, 2)):
        (folder / f"{name}.json").write_text(json.dumps(world(count, seed)))
    words = sorted({word for phrase in (*NAMES, *THINGS, *PLACES) for word in phrase.split()})
    words += ["found", "in", "what", "did", "find", "where", "was", ".", "?"]
    vectors = np.random.default_rng(0).normal(0, 0.5, (len(words), 16))
    codec = PassageCodec(words, vectors, list("abcdefghijklmnopqrstuvwxyz"))
    codec.save(folder)
    torch.manual_seed(0)
    network = Bidaf(
        BidafSpec(16, codec.character_ids, 4, 8, (16, 16), (16, 16), (16, 16), (16, 16)),
        dropout=0.0,
    )
    training, valid = (
        prepare(read_squad([folder / f"{name}.json"]), codec) for name in ("train", "calibration")
    )
    plan = QuestionPlan(epochs=6, batch=20, rate=1e-2, final_rate=2e-3, average=0.99)
    trained = train_reader(network, training, valid, plan).network
    save_file(
        {name: torch.from_numpy(array) for name, array in trained.arrays().items()},
        folder / "model.safetensors",
    )
    return Reader(trained, codec, folder)
