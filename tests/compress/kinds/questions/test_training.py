"""Training learns a synthetic task, resumes exactly, and its folder is read back."""

from __future__ import annotations

import json
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.__main__ import main
from isslim.compress.errors import CheckpointRefused, TextUnusable, TrainingDiverged
from isslim.compress.ingest.checkpoint import read_checkpoint
from isslim.compress.kinds.questions import training
from isslim.compress.kinds.questions.evaluation import evaluate
from isslim.compress.kinds.questions.folder import save_reader
from isslim.compress.kinds.questions.ingest import recognise_bidaf
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import QuestionPlan, ReaderTrainingOutcome
from isslim.compress.kinds.questions.squad import Paragraph
from isslim.compress.kinds.questions.training import train_reader
from isslim.runtime.questions.question_tokenizer import PassageCodec
from tests.compress.kinds.questions import made

PLAN = QuestionPlan(
    epochs=3, batch=8, rate=1e-2, final_rate=5e-3, average=0.9, validation=40, checkpoint_minutes=0
)


def network_of(dropout: float = 0.1, units: int = 8) -> Bidaf:
    torch.manual_seed(1)
    codec = made.codec()
    both = (units, units)
    return Bidaf(BidafSpec(codec.width, codec.character_ids, 4, 6, both, both, both, both), dropout)


def arrays_equal(left: Bidaf, right: Bidaf) -> bool:
    others = right.arrays()
    return all(np.array_equal(array, others[name]) for name, array in left.arrays().items())


def trained(
    plan: QuestionPlan = PLAN,
    checkpoint: Path | None = None,
    dropout: float = 0.1,
    count: int = 20,
    units: int = 8,
) -> ReaderTrainingOutcome:
    return train_reader(
        network_of(dropout, units),
        made.questions(count, seed=1),
        made.questions(20, seed=2),
        plan,
        checkpoint=checkpoint,
    )


def test_a_word_that_is_not_shown_has_no_vector_in_either_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[torch.Tensor] = []
    given: list[torch.Tensor] = []
    real, questions = Bidaf.distinct, made.questions(20, seed=1)

    def watched(network: Bidaf, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (shown if network.training else given).append(inputs[0])
        return real(network, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(Bidaf, "distinct", watched)
    plan = replace(PLAN, epochs=1, word_dropout=0.3)
    train_reader(
        network_of(), questions, made.questions(20, seed=2), plan, teacher=network_of().eval()
    )
    hidden = 0
    for student, teacher in zip(
        shown, given, strict=False
    ):  # the teacher is asked right behind the student
        gone = ~student.any(dim=1) & teacher.any(dim=1)
        np.testing.assert_array_equal(student[~gone], teacher[~gone])  # all others as they are
        hidden += int(gone.sum())
    rows = sum(int(each.any(dim=1).sum()) for each in given[: len(shown)])
    assert 0.15 * rows < hidden < 0.45 * rows


@pytest.mark.slow
def test_a_small_network_learns_who_is_where() -> None:
    # Every processor rounds otherwise, which a training makes much of: from eight seeds this one
    # ended at 0.014 at most, and at 91 at least, where half the units at twice the rate sometimes
    # learned little.
    plan = replace(PLAN, epochs=20, word_dropout=0.0, rate=5e-3, final_rate=2e-3)
    found = trained(plan, dropout=0.0, count=100, units=16)
    assert found.epochs[-1].training_loss < 0.1 * found.epochs[0].training_loss
    scores = evaluate(found.network, made.questions(40, seed=3)).scores
    assert scores.f1 > 85  # guessing one of the places scores about 50
    assert found.epochs[found.best - 1].f1 == max(each.f1 for each in found.epochs)
    assert not found.network.training


class _Stopped(Exception):
    """Stands for a kill."""


def test_a_stopped_run_continues_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained()
    checkpoint = tmp_path / "training.checkpoint"
    write, left = training.save_training_checkpoint, 9  # in the middle of the second epoch

    def stopping(*arguments: object) -> None:
        nonlocal left
        write(*arguments)  # type: ignore[arg-type]
        left -= 1
        if left == 0:
            raise _Stopped

    monkeypatch.setattr(training, "save_training_checkpoint", stopping)
    with pytest.raises(_Stopped):
        trained(checkpoint=checkpoint)
    monkeypatch.undo()
    continued = trained(checkpoint=checkpoint)
    assert arrays_equal(continued.network, whole.network)
    assert [replace(each, seconds=0) for each in continued.epochs] == [
        replace(each, seconds=0) for each in whole.epochs
    ]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.checkpoint"
    trained(replace(PLAN, epochs=1), checkpoint)
    with pytest.raises(CheckpointRefused, match=r"plan\.batch: 8 in the checkpoint, 4 now"):
        trained(replace(PLAN, epochs=1, batch=4), checkpoint)
    with pytest.raises(CheckpointRefused, match=r"dropout"):
        trained(replace(PLAN, epochs=1), checkpoint, dropout=0.5)


def test_a_run_whose_loss_is_no_number_ends_with_an_answer() -> None:
    network = network_of()
    with torch.no_grad():
        network.start.weight.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="not finite"):
        train_reader(network, made.questions(9, seed=1), made.questions(9, seed=2), PLAN)


def test_too_long_contexts_are_not_learnt_from() -> None:
    with pytest.raises(TextUnusable, match="short enough"):
        trained(replace(PLAN, longest_context=4))


def test_answers_are_cut_from_the_context_and_do_not_depend_on_their_batch() -> None:
    network, asked = network_of().eval(), made.questions(12, seed=5)
    together = evaluate(network, asked, batch=7)
    alone = [evaluate(network, asked, [index]).answers[0] for index in range(len(asked.examples))]
    assert together.answers == alone
    assert all(
        answer in each.context
        for answer, each in zip(together.answers, asked.examples, strict=True)
    )


def test_a_folder_is_read_as_it_was_saved(tmp_path: Path) -> None:
    network, codec = network_of().eval(), made.codec()
    save_reader(tmp_path, network, codec)
    read = recognise_bidaf(read_checkpoint(tmp_path / "model.safetensors", None)).network
    assert arrays_equal(read, network)
    assert read.spec == network.spec
    assert PassageCodec.from_folder(tmp_path).words == codec.words


def test_the_command_trains_continues_and_leaves_a_model_and_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "train-a.json").write_bytes(_document(made.paragraphs(20, seed=1)))
    (data / "train-b.json.xz").write_bytes(lzma.compress(_document(made.paragraphs(20, seed=4))))
    (data / "dev.json").write_bytes(_document(made.paragraphs(10, seed=2)))
    codec = made.codec()
    np.savez(
        tmp_path / "vectors.npz", words=np.array("\n".join(codec.words)), vectors=codec.vectors
    )
    options = [
        "train",
        "bidaf",
        "--data",
        str(data),
        "--vectors",
        str(tmp_path / "vectors.npz"),
        "--out",
        str(out),
        "--units",
        "5",
        "6",
        "7",
        "4",
        "--filters",
        "6",
        "--character-count",
        "1",
        "--batch",
        "16",
        "--threads",
        "1",
    ]
    assert main([*options, "--epochs", "1"]) == 0
    assert main([*options, "--epochs", "2"]) == 0
    assert "epoch 2: " in capsys.readouterr().out
    record = json.loads((out / "record.json").read_text())
    assert record["length"]["truncated"] is None
    assert record["seconds"] == pytest.approx(
        sum(each["seconds"] for each in record["epochs"]), abs=0.1
    )
    for epoch in record["epochs"]:
        assert epoch["removed"].keys() == epoch["group_norms"].keys() != set()
        assert all(norms == sorted(norms) for norms in epoch["group_norms"].values())
    network = recognise_bidaf(read_checkpoint(out / "model.safetensors", None)).network
    assert (network.spec.contextual, network.spec.output) == ((5, 5), (4, 4))
    assert [each["epoch"] for each in record["epochs"]] == [1, 2]
    sizes = {
        name: len(made.questions(count, seed).examples)
        for name, count, seed in (("a", 20, 1), ("b", 20, 4))
    }
    assert record["questions"]["training"] == sum(sizes.values())
    predictions = json.loads((out / "predictions.json").read_text())
    assert len(predictions) == record["questions"]["validation"]
    assert main([*options[:-2], "--units", "5", "6"]) == 1
    assert "one for each of" in capsys.readouterr().err


def _document(paragraphs: list[Paragraph]) -> bytes:
    records = [
        {
            "context": paragraph.context,
            "qas": [
                {
                    "id": question.id,
                    "question": question.text,
                    "answers": [
                        {"text": each.text, "answer_start": each.start} for each in question.answers
                    ],
                }
                for question in paragraph.questions
            ],
        }
        for paragraph in paragraphs
    ]
    return json.dumps(
        {"version": "1.1", "data": [{"title": "made up", "paragraphs": records}]}
    ).encode()
