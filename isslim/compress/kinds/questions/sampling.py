"""Sample answers of question graphs for report and card, computed as the service computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from isslim.compress.kinds.questions.examples import Example, Questions
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession
from isslim.types.manifest import VariantName
from isslim.types.report import Sample, SampleAnswer

SAMPLES = 10
MAX_CHARACTERS = 20_000
"""Limit on the characters of a question, its context and golden answers together, so that a report
stays small."""


def sample_answers(
    sessions: Mapping[VariantName, QuestionSession], codec: PassageCodec, questions: Questions
) -> list[Sample]:
    """At most `SAMPLES` questions with every session's best answer.

    Args:
        sessions: by variant, in the order of the answers.
        codec: of their words and characters.
        questions: as they were sent; too long ones are skipped.
    """
    shown = replace(questions, examples=_showable(questions.examples)).spread(SAMPLES)
    return [_sample(sessions, codec, example) for example in shown.examples]


def _sample(
    sessions: Mapping[VariantName, QuestionSession], codec: PassageCodec, example: Example
) -> Sample:
    reading = encode_question(codec, tokenize_question(example.question, example.context))
    best = {name: answer(session, reading).answers[0] for name, session in sessions.items()}
    return Sample(
        asked=example.question,
        context=example.context,
        golden=list(dict.fromkeys(example.golden)),
        golden_span=_characters(example),
        answers=[
            SampleAnswer(
                variant=name, text=each.text, score=each.score, start=each.start, end=each.end
            )
            for name, each in best.items()
        ],
    )


def _showable(examples: Sequence[Example]) -> list[Example]:
    """Examples that are short enough and valid UTF-8: JSON may escape half a surrogate pair."""
    texts = ("".join((each.question, each.context, *each.golden)) for each in examples)
    return [
        each
        for each, text in zip(examples, texts, strict=True)
        if len(text) <= MAX_CHARACTERS and _is_utf8(text)
    ]


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _characters(example: Example) -> tuple[int, int] | None:
    """The characters of the example's span in its context: first, and one past the last."""
    if example.span is None:
        return None
    first, last = example.span
    return example.tokens[first].start, example.tokens[last].end
