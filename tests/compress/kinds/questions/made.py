"""A synthetic question answering task that a small network learns in seconds: who is where."""

from __future__ import annotations

import random

import numpy as np

from isslim.compress.kinds.questions.examples import Questions, prepare
from isslim.compress.kinds.questions.squad import Answer, Paragraph, Question
from isslim.runtime.questions.question_tokenizer import PassageCodec

PEOPLE = ("Ann", "Bob", "Cyd", "Dan", "Eve", "Fay")
PLACES = ("Paris", "Rome", "New York", "Oslo", "Los Angeles", "Bern", "Cairo", "Lima")
OTHER = ("is", "in", "Where", "?", ".", "now", "New", "York", "Los", "Angeles")


def paragraphs(count: int, seed: int) -> list[Paragraph]:
    """Contexts of one to three sentences, with a question about each person in them."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        people = draw.sample(PEOPLE, draw.randint(1, 3))
        context, questions = "", []
        for person in people:
            place = draw.choice(PLACES)
            start = len(context) + len(f"{person} is in ")
            questions.append(
                Question(f"{number}-{person}", f"Where is {person}?", (Answer(place, start),))
            )
            context += f"{person} is in {place}. "
        found.append(Paragraph(context, tuple(questions)))
    return found


def codec() -> PassageCodec:
    """Random vectors of width 12 for all words but one person's."""
    words = [
        word.lower()
        for word in (*PEOPLE[:-1], *(place for place in PLACES if " " not in place), *OTHER)
    ]
    vectors = np.random.default_rng(0).normal(size=(len(words), 12))
    return PassageCodec(words, vectors, sorted(set("".join((*PEOPLE, *PLACES, *OTHER)))))


def questions(count: int, seed: int) -> Questions:
    """The same as examples."""
    return prepare(paragraphs(count, seed), codec())
