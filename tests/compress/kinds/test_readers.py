"""Each kind of model has a reader that recognises its uploads by their content."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from isslim.compress.errors import ModeUnavailable, UnreadableUpload, UnusedUpload, WrongBudget
from isslim.compress.ingest.findings import Findings
from isslim.compress.kinds.graphs.reader import GraphReader
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.reader import LanguageReader
from isslim.compress.kinds.questions.folder import save_reader
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.reader import QuestionReader
from isslim.compress.kinds.registry import read_task
from isslim.compress.kinds.upload import DataFiles, Upload, UploadedFiles
from isslim.types.kinds.language import LANGUAGE
from isslim.types.kinds.questions import QUESTIONS
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import layer_graph
from tests.compress.kinds.questions import made


def upload(model: Path, recipe: Recipe | None = None, **files: Path) -> Upload:
    return Upload(UploadedFiles(model=model, **files), recipe or Recipe(), {}, Findings())


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    codec = made.codec()
    spec = BidafSpec(codec.width, codec.character_ids, 4, 6, (3, 3), (2, 2), (2, 2), (2, 2))
    save_reader(tmp_path, Bidaf(spec), codec)
    language = LstmLanguageModel(LstmSpec(11, 4, (5,)))
    weights = {name: torch.from_numpy(each) for name, each in language.arrays().items()}
    save_file(weights, tmp_path / "language.safetensors")
    return {
        "graph": layer_graph(tmp_path),
        "questions": tmp_path / "model.safetensors",
        "language": tmp_path / "language.safetensors",
    }


def test_a_graph_is_recognised_before_it_is_read_as_weights(models: dict[str, Path]) -> None:
    found = {name: GraphReader().recognises(upload(path)) for name, path in models.items()}
    assert found == {"graph": True, "questions": False, "language": False}


def test_a_question_answering_model_is_recognised_by_its_names(models: dict[str, Path]) -> None:
    assert QuestionReader().recognises(upload(models["questions"]))
    assert not QuestionReader().recognises(upload(models["language"]))


def test_every_other_checkpoint_is_read_as_a_language_model(models: dict[str, Path]) -> None:
    assert LanguageReader().recognises(upload(models["language"]))
    assert upload(models["language"]).checkpoint.arrays.keys() >= {"embedding.weight"}


def test_what_only_graphs_have_is_refused_for_weights(models: dict[str, Path]) -> None:
    with pytest.raises(UnreadableUpload, match="the data file of an ONNX graph"):
        _ = upload(models["language"], model_data=models["graph"]).checkpoint
    with pytest.raises(ModeUnavailable, match="`command:wer` applies to ONNX graphs"):
        _ = upload(models["language"], Recipe(metric="command:wer")).checkpoint


def test_a_recipe_gets_the_budget_of_its_kind(models: dict[str, Path]) -> None:
    given = upload(models["language"])
    assert given.recipe_of(LANGUAGE).budget.perplexity_rise is not None
    assert given.recipe_of(QUESTIONS).budget.f1_fall is not None
    wrong = upload(models["language"], Recipe(budget=Budget(f1_fall=1.0)))
    with pytest.raises(WrongBudget):
        wrong.recipe_of(LANGUAGE)


def test_files_of_data_keep_their_roles(tmp_path: Path) -> None:
    files = UploadedFiles(model=tmp_path / "m", calibration=tmp_path / "c", train=tmp_path / "t")
    assert files.data == DataFiles(tmp_path / "c", None, tmp_path / "t")


def test_files_that_would_have_no_effect_are_refused_by_name(
    models: dict[str, Path], tmp_path: Path
) -> None:
    for kind, names in (
        ("graph", ("config", "vocabulary", "vectors", "characters", "train")),
        ("language", ("vectors", "characters", "check_graph_data")),
    ):
        for name in names:
            files = UploadedFiles(model=models[kind], **{name: tmp_path / "x"})
            with pytest.raises(UnusedUpload, match=f"`{name}` would have no effect") as refused:
                read_task(files, Recipe())
            assert refused.value.issues == [f"`{name}` is not used"]
            assert "`held_out`" in refused.value.detail
    both = UploadedFiles(model=models["graph"], config=tmp_path / "x", train=tmp_path / "x")
    with pytest.raises(UnusedUpload) as refused:
        read_task(both, Recipe())
    assert len(refused.value.issues) == 2
