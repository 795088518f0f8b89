"""The checks that are sent with a model: a perplexity, and exports of torch in usual forms."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isslim.compress.errors import CheckFailed, CheckUnusable, CompressError, ModeUnavailable
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.language.checks import perplexity_of_all
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.registry import UploadedFiles
from isslim.types.inspection import Inspection
from isslim.types.recipe import Check, Recipe
from tests.conftest import WORDS, Trained

V, H = 30, 16


def slow_perplexity(network: LanguageModel, tokens: Tensor, start: int | None) -> float:
    """One token at a time."""
    state, total = network.zero_state(1), 0.0
    text = tokens.tolist() if start is None else [start, *tokens.tolist()]
    for given, label in itertools.pairwise(text):
        with torch.no_grad():
            logits, state = network(torch.tensor([[given]]), state)
        total -= float(logits[0, 0].double().log_softmax(dim=-1)[label])
    return math.exp(total / (len(text) - 1))


@pytest.mark.parametrize("start", [0, None])
@pytest.mark.parametrize(("count", "tolerance"), [(2, 1e-6), (499, 1e-6), (1777, 1e-3)])
def test_perplexity_in_streams_is_that_of_one_stream(
    count: int, tolerance: float, start: int | None, trained: Trained
) -> None:
    index = {word: position for position, word in enumerate(WORDS)}
    text = trained.calibration.read_text().replace("\n", " <eos> ").split()[:count]
    tokens = torch.tensor([index[word] for word in text])
    wanted = slow_perplexity(trained.network, tokens, start)
    assert perplexity_of_all(trained.network, tokens, start) == pytest.approx(wanted, rel=tolerance)


def inspected(inputs: UploadedFiles, check: Check | None = None) -> Inspection:
    told: list[Inspection] = []
    begin(inputs, Recipe(check=check), told.append)
    return told[0]


def test_measured_perplexity_is_compared(trained: Trained) -> None:
    index = {word: position for position, word in enumerate(WORDS)}
    tokens = torch.tensor(
        [index[word] for word in trained.held_out.read_text().replace("\n", " <eos> ").split()]
    )
    true = slow_perplexity(trained.network, tokens, 0)
    inputs = UploadedFiles(
        model=trained.model, vocabulary=trained.vocabulary, held_out=trained.held_out
    )
    (found,) = inspected(inputs, Check(perplexity=true * 1.005)).checks
    assert found.name == "perplexity of `held_out`"
    assert float(found.found) == pytest.approx(true, abs=0.02)
    with pytest.raises(CheckFailed, match=rf"{true:.2f} .* measured {true * 1.1:.2f}") as failed:
        inspected(inputs, Check(perplexity=true * 1.1))
    assert any("order in which the layers run" in issue for issue in failed.value.issues)
    other = inputs.model_copy(update={"held_out": None, "check": trained.held_out})
    assert inspected(other, Check(perplexity=true)).checks[0].name == "perplexity of `check`"
    with pytest.raises(CheckUnusable, match="without its perplexity"):
        inspected(other)
    with pytest.raises(CheckUnusable, match="was not sent"):
        inspected(inputs.model_copy(update={"held_out": None}), Check(perplexity=true))


class Words(nn.Module):
    """A language model as people write it, in several forms."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.embedding = nn.Embedding(V, H)
        self.rnn = nn.LSTM(H, H, 2, batch_first=form not in ("steps first", "flat", "step by step"))
        self.fc = nn.Linear(H, V)

    def forward(self, tokens: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Any:
        out, states = self.rnn(self.embedding(tokens), None if h is None or c is None else (h, c))
        if self.form == "relu":
            out = out.relu()
        scores = self.fc(out[:, -1] if self.form == "last" else out)
        if self.form == "flat":
            scores = scores.flatten(0, 1)
        if self.form == "probabilities":
            scores = scores.softmax(dim=-1)
        if self.form == "log-probabilities":
            scores = scores.log_softmax(dim=-1)
        if self.form == "turned":
            scores = scores.transpose(0, 1)
        return scores if h is None else (scores, *states)


def exported(form: str, folder: Path) -> UploadedFiles:
    """The files of a model: weights, words, and an export of the same weights in some form."""
    torch.manual_seed(0)
    model = Words(form).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "words.json").write_text(json.dumps([f"w{number}" for number in range(V)]))
    named = ["tokens", "h", "c"]
    given: tuple[Tensor, ...] = (torch.zeros(3, 2, dtype=torch.int64),)
    axes = {"tokens": {0: "a", 1: "b"}, "h": {1: "b"}, "c": {1: "b"}}
    if form == "with states":
        given += (torch.zeros(2, 3, H), torch.zeros(2, 3, H))
        axes = {"tokens": {0: "a", 1: "b"}, "h": {1: "a"}, "c": {1: "a"}}
    if form == "step by step":
        given, axes = (
            (torch.zeros(1, 1, dtype=torch.int64), torch.zeros(2, 1, H), torch.zeros(2, 1, H)),
            {},
        )
    if form == "fixed":
        given, axes = (torch.zeros(5, 5, dtype=torch.int64),), {}
    path = folder / "export.onnx"
    names = named[: len(given)]
    torch.onnx.export(
        model,
        given,
        path,
        dynamo=False,
        input_names=names,
        dynamic_axes={n: axes[n] for n in names if n in axes},
    )
    return UploadedFiles(
        model=folder / "model.pt", vocabulary=folder / "words.json", check_graph=path
    )


FORMS = (
    "steps first",
    "flat",
    "step by step",
    "batch first",
    "fixed",
    "last",
    "turned",
    "probabilities",
    "with states",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", [*FORMS, "log-probabilities"])
def test_export_of_the_same_model_agrees(form: str, tmp_path: Path) -> None:
    (found,) = inspected(exported(form, tmp_path)).checks
    assert found.name == "log-probabilities by `check_graph`"
    assert float(found.found.split()[-1]) < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_export_of_another_model_is_told_apart(tmp_path: Path) -> None:
    inputs = exported("relu", tmp_path)
    with pytest.raises(
        CheckFailed, match=r"log-probability of 'w\d+' after step \d+ of sequence"
    ) as failed:
        inspected(inputs)
    assert failed.value.kind == "check-failed"
    assert any("from step 1 on" in issue for issue in failed.value.issues)
    state = torch.load(tmp_path / "model.pt")
    state["rnn.weight_hh_l0"] = state["rnn.weight_hh_l0"].flip(
        1
    )  # seen from the second step on only
    (tmp_path / "other").mkdir()
    plain = exported("batch first", tmp_path / "other")
    torch.save(state, tmp_path / "other" / "model.pt")
    with pytest.raises(CheckFailed) as failed:
        inspected(plain)
    assert any("from step 2 on" in issue for issue in failed.value.issues)


@pytest.mark.filterwarnings("ignore")
def test_check_that_cannot_be_done_is_said(tmp_path: Path, trained: Trained) -> None:
    inputs = exported("batch first", tmp_path)
    broken = tmp_path / "no.onnx"
    broken.write_bytes(b"\x08\x07nothing")
    with pytest.raises(CompressError, match=r"no ONNX model|cannot open"):
        inspected(inputs.model_copy(update={"check_graph": broken}))
    with pytest.raises(CheckUnusable, match="a score of each of the"):
        inspected(
            UploadedFiles(
                model=trained.model, vocabulary=trained.vocabulary, check_graph=inputs.check_graph
            )
        )
    with pytest.raises(ModeUnavailable, match="`check_graph` do not apply to a graph model"):
        inspected(UploadedFiles(model=inputs.check_graph or broken, check=trained.held_out))
