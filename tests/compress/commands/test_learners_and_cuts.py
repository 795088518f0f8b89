"""`train --learner` and `cut --criterion`: networks that get smaller, from a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from isslim.compress.__main__ import main
from isslim.compress.commands.saving import training_length
from isslim.compress.kinds.language.ingest.layouts import read_model
from isslim.compress.kinds.language.networks.contract import LanguageModel
from tests.conftest import sentences

QUICK = ["--batch", "4", "--steps", "10", "--optimizer", "adamw", "--learning-rate", "0.01"]
WEAKEST = ["--learner", "examples.weakest_units:WeakestUnits", "--learner-option"]
Command = Callable[..., int]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for seed, part in enumerate(("train", "valid", "test")):
        (folder / f"{part}.txt").write_text(sentences(300 if part == "train" else 50, seed))
    return folder


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    assert train(corpus, out, "--units", "12", "10", "--epochs", "2") == 0
    return out


def train(corpus: Path, out: Path, *more: str) -> int:
    same = ["train", "lstm", "--corpus", str(corpus), "--out", str(out), "--device", "cpu"]
    return main([*same, "--threads", "1", *QUICK, *more])


def cut(corpus: Path, folder: Path, out: Path, *more: str) -> int:
    return main(["cut", str(folder), "--corpus", str(corpus), "--out", str(out), *more])


def record_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def network_in(folder: Path) -> LanguageModel:
    return read_model(folder / "model.safetensors", folder / "config.json").network


def test_a_learner_of_ones_own_shrinks_a_trained_network(
    corpus: Path, trained: Path, tmp_path: Path
) -> None:
    more = ["--start", str(trained), "--epochs", "2", *WEAKEST, "each_epoch=0.25"]
    assert train(corpus, tmp_path / "small", *more) == 0
    record = record_in(tmp_path / "small")
    assert record["learner"] == "WeakestUnits(each_epoch 0.25, min_kept 4)"
    assert [epoch["units"]["units:lstm0"] for epoch in record["epochs"]] == [12, 9]
    assert record["units"] == [7, 6]
    assert network_in(tmp_path / "small").declaration().axes["units:lstm0"] == 7
    assert (tmp_path / "small" / "words.txt").read_text() == (trained / "words.txt").read_text()
    assert record["plan"]["keep"] == "last"


def test_a_resumed_run_with_a_learner_equals_an_unbroken_one(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--start", str(trained), "--epochs", "3", *WEAKEST, "each_epoch=0.2"]
    assert train(corpus, tmp_path / "whole", *more) == 0

    class Stopped(Exception):
        """A kill after the second epoch."""

    def stopped(text: str) -> int:
        if text.startswith("epoch 2"):
            raise Stopped
        return len(text)

    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout.write", stopped)
        with pytest.raises(Stopped):
            train(corpus, tmp_path / "parts", *more)
    assert train(corpus, tmp_path / "parts", *more) == 0
    whole, parts = (load_file(tmp_path / each / "model.safetensors") for each in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    one, other = (record_in(tmp_path / each) for each in ("whole", "parts"))
    for key in ("units", "norms", "test_perplexity"):
        assert one[key] == other[key]
    for first, second in zip(one["epochs"], other["epochs"], strict=True):
        assert first | {"seconds": 0} == second | {"seconds": 0}


def test_a_run_is_resumed_only_with_the_learner_it_was_started_with(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--start", str(trained), "--epochs", "1", *WEAKEST]
    assert train(corpus, tmp_path, *more, "each_epoch=0.2") == 0
    assert train(corpus, tmp_path, *more, "each_epoch=0.3") == 1
    told = capsys.readouterr().err
    assert "learner: WeakestUnits(each_epoch 0.2" in told
    assert "WeakestUnits(each_epoch 0.3" in told


def test_records_have_the_sparsity_of_every_epoch(corpus: Path, tmp_path: Path) -> None:
    lasso = ["--learner", "group_lasso", "--learner-option", "strength=0.01"]
    more = ["--units", "8", "--epochs", "2", *lasso, "--learner-option", "threshold=100.0"]
    assert train(corpus, tmp_path / "dead", *more) == 0
    record = record_in(tmp_path / "dead")
    assert record["quantiles"] == [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]
    for epoch in record["epochs"]:
        assert epoch["removed"] == {"units:lstm0": 4, "units:lstm1": 4}  # four are always kept
        assert epoch["group_norms"]["units:lstm0"] == [0.0] * 7
    assert record["norms"] == {"units:lstm0": [0.0] * 8, "units:lstm1": [0.0] * 8}
    assert record["units"] == [4, 4]
    assert train(corpus, tmp_path / "dense", "--units", "8", "--epochs", "1") == 0
    epoch = record_in(tmp_path / "dense")["epochs"][0]
    assert epoch["removed"] == {"units:lstm0": 0, "units:lstm1": 0}
    quantiles = epoch["group_norms"]["units:lstm1"]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] > 0


def test_a_run_that_the_clock_ended_is_marked(corpus: Path, tmp_path: Path) -> None:
    assert train(corpus, tmp_path / "short", "--units", "8", "--minutes", "0.003") == 0
    length = record_in(tmp_path / "short")["length"]
    assert length["asked_epochs"] == 6
    assert (length["truncated"] is None) == (length["epochs"] >= 5.99)
    assert train(corpus, tmp_path / "whole", "--units", "8", "--epochs", "1.5") == 0
    assert record_in(tmp_path / "whole")["length"]["truncated"] is None


def test_a_length_says_why_it_is_short() -> None:
    def found(steps: int, minutes: float | None, asked: float | None = None) -> Any:
        return training_length({"epochs": 4.0, "minutes": minutes}, steps, 10, asked)["truncated"]

    assert found(40, None) is None
    assert found(40, 1.0) is None
    assert found(25, 1.0) == "ended by the clock: 2.5 of 4 epochs"
    assert found(40, None, 20.0) == "shortened: 4 of 20 epochs"


def test_the_first_tokens_of_a_corpus_are_trained_on(corpus: Path, tmp_path: Path) -> None:
    assert train(corpus, tmp_path, "--units", "8", "--epochs", "1", "--tokens", "500") == 0
    record = record_in(tmp_path)
    assert record["tokens"]["train"] == 500
    assert record["left_out"] > 0
    words = (tmp_path / "words.txt").read_text().splitlines()
    assert set(words) > set((corpus / "train.txt").read_text().split())  # of the whole text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--learner", "magic"], "there is no learner 'magic'"),
        (["--learner-option", "strength=1"], "--learner-option is given, and no --learner"),
        (["--learner", "l0", "--learner-option", "target=0.5", "--keep", "best"], "keep='best'"),
        (
            ["--start", "nowhere"],
            "nowhere lacks model.safetensors, config.json, words.txt; the folder",
        ),
        (["--start", "TRAINED", "--units", "7", "--tied"], "--units, --tied beside --start"),
    ],
)
def test_what_cannot_be_done_is_said(
    corpus: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    told: str,
) -> None:
    words = [str(trained) if each == "TRAINED" else each for each in more]
    assert train(corpus, tmp_path / "out", *words) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_start_of_another_architecture_is_refused(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "gru", "--corpus", str(corpus), "--start", str(trained)]
    assert main([*words, "--out", str(tmp_path)]) == 1
    assert "holds a model of 'lstm': `train lstm` continues it" in capsys.readouterr().err


@pytest.mark.parametrize("criterion", [None, "examples.weakest_units:reader_signal"])
@pytest.mark.parametrize("units_only", [False, True])
def test_a_cut_leaves_an_upload_of_the_size_that_was_asked_for(
    corpus: Path, trained: Path, tmp_path: Path, criterion: str | None, units_only: bool
) -> None:
    more = ["--share", "0.7", *(["--criterion", criterion] if criterion else [])]
    assert cut(corpus, trained, tmp_path, *more, *(["--units-only"] if units_only else [])) == 0
    before, record = record_in(trained), record_in(tmp_path)
    assert record["parameters"] <= 0.7 * before["parameters"]
    assert record["parameters"] > 0.5 * before["parameters"]
    assert record["test_perplexity_before"] == pytest.approx(before["test_perplexity"], rel=1e-5)
    assert dict(network_in(tmp_path).declaration().axes) == record["sizes"]
    assert (record["sizes"]["embedding"] == before["sizes"]["embedding"]) >= units_only
    assert train(corpus, tmp_path / "on", "--start", str(tmp_path), "--epochs", "1") == 0


def test_criteria_choose_different_units(corpus: Path, trained: Path, tmp_path: Path) -> None:
    sizes = []
    for name in ("optimal_brain_surgeon", "examples.weakest_units:reader_signal"):
        out = tmp_path / name.partition(":")[0]
        assert cut(corpus, trained, out, "--share", "0.6", "--criterion", name) == 0
        sizes.append(record_in(out)["test_perplexity"])
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--share", "1.5"], "--share 1.5: a share between 0 and 1"),
        (["--share", "0.01", "--units-only"], "with all that may go gone, "),
        (["--share", "0.5", "--criterion", "magic"], "there is no criterion 'magic'"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(
    corpus: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    told: str,
) -> None:
    assert cut(corpus, trained, tmp_path / "out", *more) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
