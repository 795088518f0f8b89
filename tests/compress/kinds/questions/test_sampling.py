"""Samples: which questions are shown, and what of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.reader import random_reader
from isslim.compress.kinds.questions.examples import prepare
from isslim.compress.kinds.questions.export import export
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.sampling import MAX_CHARACTERS, SAMPLES, sample_answers
from isslim.compress.kinds.questions.squad import Answer, Paragraph, Question
from isslim.runtime.questions.session import QuestionSession
from isslim.types.manifest import VariantName
from tests.compress.kinds.questions.made import codec, paragraphs

CODEC = codec()
SPEC = BidafSpec(12, CODEC.character_ids, 4, 5, (3, 4), (2, 3), (3, 2), (4, 3))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[VariantName, QuestionSession]:
    folder = tmp_path_factory.mktemp("graphs")
    names: tuple[VariantName, VariantName] = ("original", "compressed")
    for seed, name in enumerate(names):
        export(random_reader(SPEC, seed, spread=1.0), folder / f"{name}.onnx")
    return {name: QuestionSession(folder / f"{name}.onnx") for name in names}


def test_samples_are_spread_and_each_answer_is_at_its_place(
    sessions: dict[VariantName, QuestionSession],
) -> None:
    questions = prepare(paragraphs(40, 0), CODEC)
    found = sample_answers(sessions, CODEC, questions)
    assert len(found) == SAMPLES
    first, last = questions.examples[0], questions.examples[-1]
    assert [(each.asked, each.context) for each in (found[0], found[-1])] == [
        (each.question, each.context) for each in (first, last)
    ]
    for sample in found:
        assert [each.variant for each in sample.answers] == ["original", "compressed"]
        assert all(sample.context[each.start : each.end] == each.text for each in sample.answers)
        assert sample.golden_span is not None
        assert sample.context[slice(*sample.golden_span)] == sample.golden[0]
    assert any(one.text != two.text for one, two in (sample.answers for sample in found))


def test_what_a_report_cannot_hold_is_passed_over(
    sessions: dict[VariantName, QuestionSession],
) -> None:
    def asked(context: str, text: str = "Where?", golden: tuple[str, ...] = ()) -> Paragraph:
        return Paragraph(
            context, (Question(context[:4], text, tuple(Answer(each, 0) for each in golden)),)
        )

    whole = asked("Ann is in Rome", golden=("Ann", "Rome", "Ann"))
    left_out = [
        asked("Bob is in Oslo " * (MAX_CHARACTERS // 15 + 1)),
        asked("Cyd is in \ud83d Bern"),  # half of a surrogate pair, as JSON may escape it
        asked("Dan is in Lima", text="Where \udc00?"),
        asked("Eve is in Cairo", golden=("\udfff",)),
        asked("Fay is in Paris", golden=("x" * MAX_CHARACTERS,)),
    ]
    (sample,) = sample_answers(sessions, CODEC, prepare([whole, *left_out], CODEC))
    assert (sample.context, sample.golden, sample.golden_span) == (
        "Ann is in Rome",
        ["Ann", "Rome"],
        (0, 3),
    )
    sample.model_dump_json()
    questions = prepare([whole], CODEC)
    unlabelled = replace(questions, examples=[replace(questions.examples[0], golden=(), span=None)])
    (sample,) = sample_answers(sessions, CODEC, unlabelled)
    assert (sample.golden, sample.golden_span) == ([], None)
