"""`python -m isslim.compress train`: an upload, a record, and clear refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from isslim.compress.__main__ import main
from isslim.compress.commands.corpus_loading import read_corpus
from isslim.compress.errors import TextUnusable, VocabularyMismatch
from isslim.compress.kinds.language.ingest.layouts import read_model
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel
from isslim.compress.kinds.language.training.evaluation import perplexity
from tests.conftest import sentences

SMALL = [
    "--units",
    "12",
    "10",
    "--batch",
    "4",
    "--steps",
    "10",
    "--optimizer",
    "adamw",
    "--learning-rate",
    "0.01",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.txt").write_text(sentences(300, 0))
    (folder / "valid.txt").write_text(sentences(50, 1))
    (folder / "test.txt").write_text(sentences(50, 2) + "the cat sees an armadillo\n")
    return folder


def options(corpus: Path, out: Path, *more: str) -> list[str]:
    return [
        "train",
        "lstm",
        "--corpus",
        str(corpus),
        "--out",
        str(out),
        "--device",
        "cpu",
        *SMALL,
        *more,
    ]


@pytest.mark.parametrize("tied", [False, True])
def test_trained_folder_is_an_upload_with_its_record(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tied: bool
) -> None:
    out = tmp_path / "out"
    assert main(options(corpus, out, "--epochs", "3", *(["--tied"] if tied else []))) == 0
    told = capsys.readouterr().out
    assert "words outside the vocabulary: train 0.00%, valid 0.00%, test 0." in told
    assert [line[:8] for line in told.splitlines() if line.startswith("epoch")] == [
        "epoch 1:",
        "epoch 2:",
        "epoch 3:",
    ]
    ingested = read_model(out / "model.safetensors", out / "config.json")
    assert isinstance(ingested.network, LstmLanguageModel)
    assert ingested.network.spec.units == (12, 10)
    assert ingested.network.spec.tied == tied
    read = read_corpus(str(corpus), 10_000)
    assert (out / "words.txt").read_text().split("\n") == [*read.words, ""]
    record = json.loads((out / "record.json").read_text())
    assert record["valid_perplexity"] == pytest.approx(
        perplexity(ingested.network, read.valid), rel=1e-6
    )
    assert record["valid_perplexity"] == min(
        epoch["valid_perplexity"] for epoch in record["epochs"]
    )
    assert record["test_perplexity"] == pytest.approx(
        perplexity(ingested.network, read.test, streams=1), rel=1e-6
    )
    assert record["epochs"][0]["units"]["units:lstm0"] == 12
    assert record["plan"]["optimizer"] == "adamw"
    assert record["seed"] == 1
    assert record["unknown_share"]["test"] == pytest.approx(2 / len(read.test))  # "an armadillo"
    assert {"torch", "python"} <= record["versions"].keys()
    assert record["machine"]["cores"] > 0
    assert not list(out.glob("*.partial"))


def test_stopped_command_continues_and_a_finished_one_changes_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(options(corpus, tmp_path / "whole")) == 0
    real = sys.stdout.write

    def interrupted(text: str) -> int:
        if text.startswith("epoch 4"):
            raise KeyboardInterrupt
        return real(text)

    with monkeypatch.context() as patched:
        patched.setattr(sys.stdout, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            main(options(corpus, tmp_path / "parts"))
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    for _ in range(2):
        assert main(options(corpus, tmp_path / "parts")) == 0
        whole, parts = (
            load_file(tmp_path / each / "model.safetensors") for each in ("whole", "parts")
        )
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert len(json.loads((tmp_path / "parts" / "record.json").read_text())["epochs"]) == 6


def test_checkpoint_of_other_settings_is_refused_with_what_differs(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(corpus, tmp_path / "out", "--epochs", "1")) == 0
    assert main(options(corpus, tmp_path / "out", "--epochs", "1", "--clip", "3")) == 1
    assert "plan.clip: 0.25 in the checkpoint, 3.0 now" in capsys.readouterr().err


def test_diverging_command_leaves_its_best_model_and_its_story(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = [
        "--weight-decay",
        "1",
        "--clip",
        "1e30",
        "--schedule",
        "constant",
        "--learning-rate",
        "1e30",
    ]
    assert main(options(corpus, tmp_path / "out", *wild)) == 1
    assert "lower the learning rate" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert len(record["setbacks"]) == 4
    assert read_model(tmp_path / "out" / "model.safetensors", None).network


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--batch", "2000"], "needs at least 22000"),
        (["--layers", "3"], "--layers 3, but units are given for 2 layers"),
        (["--corpus", "nowhere"], "the corpus nowhere does not exist"),
        (["--epochs", "0"], "epochs = 0"),
    ],
)
def test_what_cannot_be_done_is_said(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main(options(corpus, tmp_path / "out", *more)) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_given_vocabulary_is_checked_against_the_corpus(corpus: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("<unk>\n<eos>\nthe\ncat\n")
    shares = read_corpus(str(corpus), 10, words).unknown_share
    tokens = (corpus / "valid.txt").read_text().replace("\n", " <eos> ").split()
    assert shares["valid"] == sum(
        token not in ("<unk>", "<eos>", "the", "cat") for token in tokens
    ) / len(tokens)
    words.write_text("<unk>\n<eos>\nle\n")
    (corpus / "valid.txt").write_text(
        "un deux trois quatre cinq six sept huit neuf dix onze douze\n" * 3
    )
    with pytest.raises(TextUnusable, match=r"92% of the valid text's 39 words"):
        read_corpus(
            str(corpus),
            10,
            tmp_path / "french.txt" if words.rename(tmp_path / "french.txt") else None,
        )
    (tmp_path / "bad.txt").write_text("<unk>\nthe\nthe\n")
    with pytest.raises(VocabularyMismatch, match="lacks <eos> and has 1 words twice"):
        read_corpus(str(corpus), 10, tmp_path / "bad.txt")


@pytest.mark.slow  # three processes that import torch
def test_command_under_torchrun_trains_the_model_of_one_process(
    corpus: Path, tmp_path: Path
) -> None:
    same = ["--epochs", "2", "--dropout", "0", "--threads", "1"]
    assert main(options(corpus, tmp_path / "one", *same)) == 0
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    subprocess.run(
        [*launcher, "-m", "isslim.compress", *options(corpus, tmp_path / "two", *same)],
        check=True,
        timeout=300,
    )
    one, two = (load_file(tmp_path / each / "model.safetensors") for each in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "two" / "record.json").read_text())["processes"] == 2
