"""BiDAF through the whole pipeline: smaller, verified, published, answering; and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.errors import (
    TextUnusable,
    UnknownArchitecture,
    VerificationFailed,
    VocabularyMismatch,
    WrongBudget,
)
from isslim.compress.ingest.checkpoint import read_checkpoint
from isslim.compress.kinds.questions import trainer
from isslim.compress.kinds.questions.data import read_questions
from isslim.compress.kinds.questions.evaluation import evaluate
from isslim.compress.kinds.questions.examples import Questions, prepare
from isslim.compress.kinds.questions.export import export
from isslim.compress.kinds.questions.ingest import read_codec, recognise_bidaf
from isslim.compress.kinds.questions.networks.axes import LSTMS
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.plan import QuestionPlan, ReaderTrainingOutcome
from isslim.compress.kinds.questions.squad import read_squad
from isslim.compress.kinds.questions.task import QuestionTask
from isslim.compress.kinds.questions.training import train_reader
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.kinds.upload import DataFiles
from isslim.compress.pipeline import compress_files, publish
from isslim.compress.progress import Progress
from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import prune, rank_components
from isslim.compress.search.candidates import candidates
from isslim.compress.search.narrowing import narrowing_of
from isslim.compress.search.order import removal_plan_of
from isslim.compress.training.learners.proximal import ProximalGroupLasso
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.registry import load
from isslim.store.bundles import BundleStore
from isslim.store.folders import OpenBundle
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report
from tests.compress.kinds.questions.models import Reader, trained_reader, world


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return trained_reader(tmp_path_factory.mktemp("reader"))


def files(reader: Reader, **changed: Path | None) -> UploadedFiles:
    folder = reader.folder
    given: dict[str, Path | None] = {
        "model": folder / "model.safetensors",
        "vocabulary": folder / "words.txt",
        "vectors": folder / "vectors.npy",
        "characters": folder / "characters.txt",
        "calibration": folder / "calibration.json",
        "held_out": folder / "held-out.json",
    }
    return UploadedFiles(**(given | changed))  # type: ignore[arg-type]


def task_of(reader: Reader, recipe: Recipe | None = None) -> QuestionTask:
    task = read_task(files(reader), recipe or Recipe())
    assert isinstance(task, QuestionTask)
    return task


@pytest.fixture(scope="module")
def published(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> OpenBundle:
    """The reader through the whole pipeline, by the default mode."""
    folder = tmp_path_factory.mktemp("published")
    settings = StoreSettings(home=folder / "home")
    inputs, recipe = files(reader), Recipe(name="reader", budget=Budget(f1_fall=6.0), minutes=0)
    bundles = BundleStore(settings)
    progress = Progress()
    compressed = compress_files(inputs, recipe, folder, progress)
    return bundles.open(publish(compressed, bundles, progress))


@pytest.mark.slow
def test_narrow_layers_are_put_in_where_the_recipe_lets_them(
    reader: Reader, tmp_path: Path
) -> None:
    task = task_of(reader)
    observed = task.collect_activations(lambda done, message: None)
    plan, found = removal_plan_of(
        task, task.original, observed, tmp_path, lambda done, message: None
    )
    put_in = {axis for axis in plan.declaration.axes if axis.startswith("rank:")}
    assert put_in == {f"rank:{lstm}.input" for lstm in LSTMS}
    assert found is not None
    assert found.reason == "sizes chosen by counting multiply-adds"
    assert {probe.axis for probe in found.probes} == plan.declaration.axes.keys()
    pruned = prune(plan, 0.7)
    task.verify_removal(task.original, pruned)
    small = task.original.rebuilt(pruned.arrays)
    assert small.spec.ranks
    export(small, tmp_path / "small.onnx")
    task.verify_export(tmp_path / "small.onnx", small, "compressed")
    units = task_of(reader, Recipe(ranks=False))
    assert narrowing_of(units, units.original, observed) == ([], ())


def test_bundle_of_a_reader_is_smaller_within_its_budget_and_answers_as_measured(
    published: OpenBundle, reader: Reader
) -> None:
    manifest = published.manifest
    assert (manifest.task, manifest.metric, manifest.architecture) == (
        "question-answering",
        "f1",
        "bidaf",
    )
    original, compressed = manifest.variant("original"), manifest.variant("compressed")
    assert original is not None
    assert compressed is not None
    assert compressed.parameters < 0.8 * original.parameters
    assert original.parameters == sum(array.size for array in reader.network.arrays().values())
    assert original.mult_adds > compressed.mult_adds
    for variant in manifest.variants:
        assert variant.loss == pytest.approx(original.metrics["f1"] - variant.metrics["f1"])
        if variant.name.startswith("compressed"):
            assert variant.loss <= 6.0
    assert all(check.error <= check.tolerance for check in manifest.checks)
    assert len(manifest.checks) == 3
    # What the service answers is what was measured.
    model, right, asked = load(published), 0, 0
    session = model.session("compressed")
    for paragraph in json.loads((reader.folder / "held-out.json").read_text())["data"][0][
        "paragraphs"
    ]:
        for question in paragraph["qas"]:
            found = answer(
                session,
                encode_question(
                    model.codec, tokenize_question(question["question"], paragraph["context"])
                ),
            ).answers[0]
            asked, right = asked + 1, right + (found.text == question["answers"][0]["text"])
    assert 100 * right / asked == pytest.approx(
        compressed.metrics["exact_match"], abs=2.0
    )  # articles do not count there
    card = published.path("README.md").read_text()
    assert "a fall of F1 by at most 6 points" in card
    assert "| contextual LSTM | 32 (16 + 16) |" in card
    lstms = [
        sum(part.parameters for part in each.parts if "LSTM" in part.name)
        for each in (original, compressed)
    ]
    less = f"{1 - lstms[1] / lstms[0]:.0%}"
    assert f"| {lstms[0]:,} | {lstms[1]:,} | {less} |" in next(
        line for line in card.splitlines() if "all LSTMs" in line
    )
    for variant in manifest.variants:
        exact, overlap = (f"{variant.metrics[name]:.2f}" for name in ("exact_match", "f1"))
        assert f"| {exact} | {overlap} |" in next(
            line for line in card.splitlines() if f"| `{variant.name}` |" in line
        )
    assert '"$ISS_URL/qa"' in card


def test_samples_are_the_answers_of_the_variants_that_they_name(
    published: OpenBundle, reader: Reader
) -> None:
    report = Report.model_validate_json(published.path("report.json").read_bytes())
    named = next(
        word for word in report.verdict.split() if word in ("compressed", "compressed-int8")
    )
    asked = [
        (question["question"], paragraph["context"], question["answers"][0]["text"])
        for paragraph in json.loads((reader.folder / "held-out.json").read_text())["data"][0][
            "paragraphs"
        ]
        for question in paragraph["qas"]
    ]
    assert len(report.samples) == 10
    places = [asked.index((each.asked, each.context, each.golden[0])) for each in report.samples]
    assert (places[0], places[-1]) == (0, len(asked) - 1)
    assert all(9 <= later - earlier <= 18 for earlier, later in pairwise(places))  # of 120
    model = load(published)
    for sample in report.samples:
        assert [each.variant for each in sample.answers] == ["original", named]
        reading = encode_question(model.codec, tokenize_question(sample.asked, sample.context))
        for each in sample.answers:
            best = answer(model.session(each.variant), reading).answers[0]
            assert (each.text, each.start, each.end) == (best.text, best.start, best.end)
            assert each.score == pytest.approx(best.score, rel=1e-6)
        # Else the variants could be mistaken for one another, and no test would see it.
        scores = [each.score for each in sample.answers]
        assert scores[0] != pytest.approx(scores[1], rel=1e-5)
    card = published.path("README.md").read_text()
    for number, sample in enumerate(report.samples, 1):
        quoted = card.split(f"**{number}. {sample.asked}**")[1].split("\n\n**")[0]
        assert f"- golden: {sample.golden[0]}\n" in quoted
        for each in sample.answers:
            assert f"- `{each.variant}`: {each.text} ({each.score:.2f})" in quoted


def test_repair_keeps_more_of_a_reader_than_cutting_alone(reader: Reader) -> None:
    task = task_of(reader)
    observed = task.collect_activations(lambda done, message: None)
    original = reader.network
    removal_plan = rank_components(
        original.arrays(),
        original.declaration(),
        observed,
        prunable=list(original.declaration().axes),
    )
    pruned = prune(removal_plan, 0.7)
    cut, _ = axes.select_components(original.arrays(), original.declaration(), pruned.keep)
    whole, repaired, plain = (
        evaluate(original.rebuilt(arrays), task.data.held_out).loss
        for arrays in (original.arrays(), pruned.arrays, cut)
    )
    assert repaired - whole < 0.5 * (plain - whole)
    record = task.verify_removal(original, pruned)
    assert record.error <= 1e-4
    # The fault that the proof is for: another structure's reference.
    other = prune(removal_plan, 0.3)
    with pytest.raises(VerificationFailed, match="pruned = masked reference"):
        task.verify_removal(original, replace(pruned, reference=other.reference))


def test_a_changed_graph_does_not_pass_the_proof(reader: Reader, tmp_path: Path) -> None:
    task = task_of(reader)
    arrays = reader.network.arrays()
    arrays["end.bias"] += 0.0
    arrays["output.backwards.weight_hh_l0"][3, 4] += 1.0
    task.export(reader.network.rebuilt(arrays), tmp_path / "other.onnx")
    with pytest.raises(VerificationFailed, match="ONNX Runtime = torch"):
        task.verify_export(tmp_path / "other.onnx", reader.network, "original")


def test_moments_are_those_of_all_tokens_whatever_the_batches(reader: Reader) -> None:
    task = task_of(reader, Recipe(calibration_questions=10))
    found = task.collect_activations(lambda done, message: None)
    questions = task.data.calibration
    rows = [
        reader.network.site_inputs(*questions.inputs([index]))
        for index in range(len(questions.examples))
    ]
    for site, moments in found.moments.items():
        values = torch.cat([row[site] for row in rows]).double().detach().numpy()
        assert moments.count == len(values)
        np.testing.assert_allclose(
            moments.second, values.T @ values / len(values), rtol=0, atol=1e-4
        )


def test_unlabelled_held_out_questions_measure_agreement(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "asked.json").write_text(json.dumps(world(20, 9, answers=False)))
    inputs = files(reader, held_out=tmp_path / "asked.json")
    data = read_questions(reader.network, reader.codec, inputs.data, Recipe())
    assert "agreement with the original" in data.held_out_origin
    assert evaluate(reader.network, data.held_out).scores.em == 100.0
    assert not any(example.golden for example in data.as_sent.examples)


def test_last_fifth_is_held_out_where_nothing_else_is_sent(reader: Reader) -> None:
    inputs = files(reader)
    data = read_questions(reader.network, reader.codec, DataFiles(inputs.calibration), Recipe())
    assert (len(data.calibration.examples), len(data.held_out.examples)) == (96, 24)
    assert not {each.id for each in data.calibration.examples} & {
        each.id for each in data.held_out.examples
    }


def test_few_training_questions_are_refused(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "few.json").write_text(json.dumps(world(1, 9)))
    inputs = files(reader, train=tmp_path / "few.json")
    with pytest.raises(TextUnusable, match=r"there are \d training questions; at least 10 are"):
        read_questions(reader.network, reader.codec, inputs.data, Recipe())


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"calibration": None}, TextUnusable, "none were sent"),
        (
            {"vectors": None, "characters": None},
            VocabularyMismatch,
            r"send vectors \(vectors.npy\), characters",
        ),
    ],
)
def test_missing_files_are_named(
    changed: dict[str, Path | None], error: type[Exception], words: str, reader: Reader
) -> None:
    with pytest.raises(error, match=words):
        read_task(files(reader, **changed), Recipe())


def test_codec_of_another_network_is_refused(reader: Reader, tmp_path: Path) -> None:
    words, vectors, characters = (
        reader.folder / name for name in ("words.txt", "vectors.npy", "characters.txt")
    )
    np.save(tmp_path / "wide.npy", np.zeros((len(reader.codec.words), 17), np.float16))
    with pytest.raises(VocabularyMismatch, match="vectors are 17 wide, the network reads 16"):
        read_codec(words, tmp_path / "wide.npy", characters, reader.network.spec)
    (tmp_path / "few.txt").write_text("a\nb\n")
    with pytest.raises(VocabularyMismatch, match="4 character ids, the network has vectors for 28"):
        read_codec(words, vectors, tmp_path / "few.txt", reader.network.spec)
    (tmp_path / "no.npy").write_bytes(b"not an array")
    with pytest.raises(VocabularyMismatch, match="cannot be read"):
        read_codec(words, tmp_path / "no.npy", characters, reader.network.spec)


def test_parameters_that_are_not_bidafs_are_refused_by_name(reader: Reader) -> None:
    checkpoint = read_checkpoint(reader.folder / "model.safetensors", None)
    checkpoint.arrays["extra.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(UnknownArchitecture, match=r"'extra\.weight' is not declared"):
        recognise_bidaf(checkpoint)
    del checkpoint.arrays["extra.weight"]
    del checkpoint.arrays["start.weight"]
    with pytest.raises(UnknownArchitecture, match=r"'start\.weight' is declared but absent"):
        recognise_bidaf(checkpoint)


def test_budget_of_a_language_model_is_refused_for_a_reader(reader: Reader) -> None:
    with pytest.raises(
        WrongBudget, match="perplexity_rise` does not apply to a question-answering; name `f1_fall`"
    ):
        read_task(files(reader), Recipe(budget=Budget(perplexity_rise=0.1)))


@pytest.mark.parametrize(
    ("learner", "budget", "ranks"),
    [
        pytest.param("calibrated", {"f1_fall": 8.0}, False, marks=pytest.mark.slow),
        # Every round looks for the best widths of all narrow layers, which takes a minute.
        pytest.param("calibrated", {"f1_fall": 8.0}, True, marks=pytest.mark.slow),
        pytest.param("proximal", {"size_ratio": 0.7}, True, marks=pytest.mark.slow),
    ],
)
def test_learning_on_questions_ends_smaller_within_the_budget(
    learner: str, budget: dict[str, float], ranks: bool, reader: Reader, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(
        {
            "name": "learnt",
            "mode": "learn",
            "learner": learner,
            "learn_epochs": 1.0,
            "budget": budget,
            "ranks": ranks,
        }
    )
    task = read_task(files(reader), recipe)
    found = next(candidates(task, tmp_path, Progress()))
    whole, small = (axes.parameters(each.declaration()) for each in (task.original, found.network))
    assert small < 0.85 * whole
    if learner == "calibrated":
        assert task.evaluate(found.network).loss <= 0.97 * 8.0
    assert [len(index) for index in found.kept.values()] == list(
        found.network.declaration().axes.values()
    )
    assert found.checks[0].error <= found.checks[0].tolerance
    # A round that is rolled back has its epochs in the record, too.
    assert found.network.declaration().axes in [epoch.units for epoch in found.epochs]


def test_unlabelled_questions_distil_the_teacher(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "asked.json").write_text(json.dumps(world(120, 5, answers=False)))
    training, held_out = (
        prepare(read_squad([path]), reader.codec)
        for path in (tmp_path / "asked.json", reader.folder / "held-out.json")
    )
    generator = np.random.default_rng(0)
    noisy = {
        name: (array + generator.normal(0, 0.2, array.shape)).astype(np.float32)
        for name, array in reader.network.arrays().items()
    }
    student = reader.network.rebuilt(noisy)
    before = evaluate(student, held_out).loss
    with pytest.raises(TextUnusable, match="no training question has an answer"):
        train_reader(student, training, held_out, QuestionPlan(epochs=1))
    plan = QuestionPlan(epochs=1.5, batch=16, rate=3e-3, average=0.9)
    trained = train_reader(student, training, held_out, plan, teacher=reader.network)
    assert [each.steps for each in trained.epochs] == [15, 8]
    assert evaluate(trained.network, held_out).loss < 0.7 * before  # over seeds 0.15 to 0.5 of it


@pytest.mark.slow
def test_training_that_shrinks_continues_as_if_it_had_not_been_stopped(
    reader: Reader, tmp_path: Path
) -> None:
    training, held_out = (
        prepare(read_squad([reader.folder / name]), reader.codec)
        for name in ("calibration.json", "held-out.json")
    )
    plan = QuestionPlan(epochs=3, batch=16, rate=1e-3, keep="last", checkpoint_minutes=0.0)

    def go(checkpoint: Path, stop_at: int | None) -> ReaderTrainingOutcome:
        told = 0

        def progress(done: float, line: str) -> None:
            nonlocal told
            told += 1
            if told == stop_at:
                raise KeyboardInterrupt

        student = reader.network.rebuilt(reader.network.arrays())
        learner = ProximalGroupLasso(0.4, 24)
        return train_reader(
            student,
            training,
            held_out,
            plan,
            teacher=reader.network,
            learner=learner,
            checkpoint=checkpoint,
            progress=progress,
        )

    undisturbed = go(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "stopped", 39)
    continued = go(tmp_path / "stopped", None)
    assert sum(map(len, undisturbed.kept.values())) < sum(
        reader.network.declaration().axes[axis] for axis in undisturbed.kept
    )
    for name, array in undisturbed.network.arrays().items():
        np.testing.assert_array_equal(continued.network.arrays()[name], array)
    with pytest.raises(ValueError, match="keep='best'"):
        train_reader(
            reader.network, training, held_out, QuestionPlan(), learner=ProximalGroupLasso(0.4, 24)
        )


def test_stages_of_repair_have_a_share_of_answers_and_no_dropout_as_rounds_of_learning_have(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[float, float]]()

    def watched(
        student: Bidaf,
        training: Questions,
        held_out: Questions,
        plan: QuestionPlan,
        **named: object,
    ) -> ReaderTrainingOutcome:
        seen.append((student.dropout, plan.soft))
        return train_reader(student, training, held_out, plan, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "train_reader", watched)
    monkeypatch.setattr(trainer, "PASSES", 1)
    monkeypatch.setattr(trainer, "SOFT", 0.25)
    task = task_of(reader, Recipe())
    task.finetune(reader.network, 0.01, tmp_path / "repair", lambda done, message: None)
    assert set(seen) == {(0.0, 0.25)}
    seen.clear()
    checkpoint = tmp_path / "checkpoint"
    task.trainer().distil(reader.network, 0.1, 0, checkpoint, lambda done, message: None)
    assert seen == [(trainer.DROPOUT, QuestionPlan().soft)]


@pytest.mark.slow
def test_distilled_reader_is_kept_only_if_it_is_better(reader: Reader, tmp_path: Path) -> None:
    task = task_of(reader, Recipe())
    removal_plan = rank_components(
        reader.network.arrays(),
        reader.network.declaration(),
        task.collect_activations(lambda done, message: None),
        prunable=list(reader.network.declaration().axes),
    )
    small = reader.network.rebuilt(prune(removal_plan, 0.85).arrays)
    tuned = task.finetune(small, 0.05, tmp_path / "tuned", lambda done, message: None)
    assert (tuned.network is small) is not tuned.is_better
    assert all(first >= then for first, then in pairwise(tuned.losses))
    assert tuned.minutes <= 0.1
