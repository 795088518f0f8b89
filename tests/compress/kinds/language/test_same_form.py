"""`form: same`: a state dict that the sender's own class, built with smaller numbers, loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from isslim.compress.errors import ModeUnavailable
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.pipeline import Compressed, compress_files
from isslim.compress.progress import Progress
from isslim.runtime.language.session import LanguageSession
from isslim.types.recipe import Budget, Recipe
from isslim.types.same_form import STATE_DICT, SameForm
from tests.conftest import WORDS, sentences

V = len(WORDS)


class RNNModel(nn.Module):
    """The PyTorch word-language-model example's class, as it is published."""

    def __init__(self, rnn_type: str, ninp: int, nhid: int, nlayers: int, tied: bool) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(V, ninp)
        self.rnn = getattr(nn, rnn_type)(ninp, nhid, nlayers, dropout=0.2 if nlayers > 1 else 0.0)
        self.decoder = nn.Linear(nhid, V)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor, hidden: Any) -> tuple[Tensor, Any]:
        output, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        return self.decoder(self.drop(output)), hidden


class AwdLstm(nn.Module):
    """AWD-LSTM's plain layout: LSTMs of one layer, emb -> h -> h -> emb, tied."""

    def __init__(self, emb: int, h: int, layers: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Embedding(V, emb)
        last = layers - 1
        self.rnns = nn.ModuleList(
            nn.LSTM(emb if i == 0 else h, emb if i == last else h) for i in range(layers)
        )
        self.decoder = nn.Linear(emb, V)
        self.decoder.weight = self.encoder.weight
        self.register_buffer("steps", torch.tensor(7))

    def forward(self, tokens: Tensor, hidden: Any) -> tuple[Tensor, Any]:
        output, after = self.encoder(tokens), []
        for index, rnn in enumerate(self.rnns):
            output, state = rnn(output, None if hidden is None else hidden[index])
            after.append(state)
        return self.decoder(output), after


class Cells(nn.Module):
    """Two cells of one size, by names that differ in a number."""

    def __init__(self, emb: int, h: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, emb)
        self.cell1, self.cell2 = nn.LSTMCell(emb, h), nn.LSTMCell(h, h)
        self.fc = nn.Linear(h, V)

    def forward(self, tokens: Tensor, hidden: Any) -> tuple[Tensor, Any]:
        first, second = (None, None) if hidden is None else hidden
        outputs = []
        for step in self.embedding(tokens):
            first = self.cell1(step, first)
            second = self.cell2(first[0], second)
            outputs.append(self.fc(second[0]))
        return torch.stack(outputs), (first, second)


def state_of(model: nn.Module) -> dict[str, Any]:
    """The weights of a model that knows how frequent each word is, and no more."""
    generator = torch.Generator().manual_seed(0)
    words = sentences(120, 1).replace("\n", " <eos> ").split()
    frequent = torch.tensor([float(words.count(word) + 1) for word in WORDS])
    with torch.no_grad():
        for parameter in model.parameters():
            random = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(frequent.log() if parameter.shape == (V,) else 0.2 * random)
    return model.state_dict()


def compressed(folder: Path, model: nn.Module, **options: Any) -> Compressed[Any]:
    """The model through the whole pipeline."""
    return compress_files(files(folder, state_of(model)), recipe(**options), folder, Progress())


def files(folder: Path, state: dict[str, Any]) -> UploadedFiles:
    torch.save(state, folder / "model.pt")
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n")
    for name, seed in (("calibration", 1), ("held-out", 2)):
        (folder / f"{name}.txt").write_text(sentences(120, seed))
    return UploadedFiles(
        model=folder / "model.pt",
        vocabulary=folder / "words.txt",
        calibration=folder / "calibration.txt",
        held_out=folder / "held-out.txt",
    )


def recipe(**options: Any) -> Recipe:
    return Recipe(name="same", form="same", budget=Budget(size_ratio=0.6), **options)


def same_form(found: Compressed[Any]) -> SameForm:
    form = found.report.same_form
    assert form is not None
    assert form.file in {record.path for record in found.manifest.files}
    return form


def numbers(form: SameForm, module: str) -> list[int]:
    (found,) = (each.after for each in form.modules if each.name == module)
    return found


def check(found: Compressed[Any], theirs: nn.Module) -> None:
    """Their class, strictly loaded, gives the logits of the graph, with carried state."""
    state = load_file(found.folder / STATE_DICT)
    theirs.load_state_dict(state, strict=True)
    theirs.eval()
    session = LanguageSession(found.folder / "compressed.onnx")
    tokens = torch.randint(V, (40, 2), generator=torch.Generator().manual_seed(3))
    hidden, fed = None, session.zero_state(2)
    for chunk in (tokens[:20], tokens[20:]):
        with torch.no_grad():
            logits, hidden = theirs(chunk, hidden)
        positions = np.stack(np.meshgrid(range(20), range(2), indexing="ij"), -1).reshape(-1, 2)
        _, expected, fed = session.run(
            chunk.numpy(), chunk.numpy(), np.full(2, 20, np.int32), fed, positions
        )
        ours = logits.log_softmax(-1).reshape(-1, V).numpy()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rnn_type", ["LSTM", pytest.param("GRU", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_word_language_model_is_loaded_by_its_own_class(
    rnn_type: str, tied: bool, tmp_path: Path
) -> None:
    found = compressed(tmp_path, RNNModel(rnn_type, 16, 16, 2, tied))
    form = same_form(found)
    ninp, nhid, nlayers = numbers(form, "rnn")
    assert (nlayers, form.tied) == (2, tied)
    assert nhid < 16
    check(found, RNNModel(rnn_type, ninp, nhid, nlayers, tied))
    assert [each.code_after for each in form.modules] == [
        f"nn.Embedding({V}, {ninp})",
        f"nn.{rnn_type}({ninp}, {nhid}, 2)",
        f"nn.Linear({nhid}, {V})",
    ]
    assert form.modules[1].code_before == f"nn.{rnn_type}(16, 16, 2)"


def test_awd_lstm_is_loaded_by_its_own_class(tmp_path: Path) -> None:
    found = compressed(tmp_path, AwdLstm(12, 20))
    form = same_form(found)
    emb, h = numbers(form, "rnns.0")
    assert (emb < 12) or (h < 20)
    assert numbers(form, "rnns.1") == [h, h]
    assert numbers(form, "rnns.2") == [h, emb]
    assert form.unchanged == ["steps"]
    check(found, AwdLstm(emb, h))


def test_cells_whose_names_differ_in_a_number_keep_one_size(tmp_path: Path) -> None:
    found = compressed(tmp_path, Cells(10, 14))
    form = same_form(found)
    emb, h = numbers(form, "cell1")
    assert [each.code_after for each in form.modules[1:3]] == [
        f"nn.LSTMCell({emb}, {h})",
        f"nn.LSTMCell({h}, {h})",
    ]
    check(found, Cells(emb, h))


def test_prefixes_and_copies_with_dropout_are_written_back(tmp_path: Path) -> None:
    state = state_of(AwdLstm(12, 20))
    for name in [each for each in state if "weight_hh" in each]:
        raw = name.replace("weight_hh_l0", "weight_hh_l0_raw")
        state[raw] = state[name]
        # What a weight drop leaves: a copy with dropout.
        copy = nn.functional.dropout(state.pop(name), 0.5)
        state[name.replace(".weight", ".module.weight")] = copy
    state = {f"module.{name}": value for name, value in state.items()}
    found = compress_files(files(tmp_path, state), recipe(), tmp_path, Progress())
    written = load_file(found.folder / STATE_DICT)
    assert written.keys() == state.keys()
    for index in range(3):
        raw = written[f"module.rnns.{index}.weight_hh_l0_raw"]
        assert torch.equal(raw, written[f"module.rnns.{index}.module.weight_hh_l0"])
        assert raw.shape[0] == 4 * raw.shape[1]
    assert numbers(same_form(found), "module.rnns.0")


def test_learning_in_rounds_keeps_the_form(tmp_path: Path) -> None:
    found = compressed(tmp_path, RNNModel("LSTM", 16, 16, 2, False), mode="learn", learn_epochs=0.5)
    ninp, nhid, nlayers = numbers(same_form(found), "rnn")
    check(found, RNNModel("LSTM", ninp, nhid, nlayers, False))


def without_biases(state: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in state.items() if "rnn.bias" not in name}


def without_decoder_bias(state: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in state.items() if name != "decoder.bias"}


def weight_normed(state: dict[str, Any]) -> dict[str, Any]:
    weight = state.pop("decoder.weight")
    scale = weight.norm(dim=1, keepdim=True)
    return state | {"decoder.weight_g": scale, "decoder.weight_v": weight}


def projected(state: dict[str, Any]) -> dict[str, Any]:
    lstm = nn.LSTM(16, 20, proj_size=16)
    named = {f"rnn.{name}": each for name, each in lstm.state_dict().items()}
    return {name: each for name, each in state.items() if "rnn" not in name} | named


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_biases, "its layers have no biases"),
        (without_decoder_bias, "its decoder has no bias"),
        (weight_normed, "weight norm folded into decoder.weight"),
        (projected, "its LSTM has a projection"),
    ],
)
def test_what_has_no_way_back_is_refused_when_it_is_inspected(
    change: Callable[[dict[str, Any]], dict[str, Any]], reason: str, tmp_path: Path
) -> None:
    inputs = files(tmp_path, change(RNNModel("LSTM", 16, 16, 1, False).state_dict()))
    seen = []
    with pytest.raises(ModeUnavailable, match=f"in its own form: .*{reason}.*form `free`"):
        begin(inputs, recipe(), seen.append)
    assert seen[0].problem is not None
    begin(inputs, Recipe(), seen.append)  # the form `free` is there for it


def test_one_hot_input_is_refused(tmp_path: Path) -> None:
    lstm = {f"rnn.{n}": each for n, each in nn.LSTM(V, 16).state_dict().items()}
    decoder = {f"decoder.{n}": each for n, each in nn.Linear(16, V).state_dict().items()}
    inputs = files(tmp_path, lstm | decoder)
    (tmp_path / "config.json").write_text(json.dumps({"one_hot": True}))
    with pytest.raises(ModeUnavailable, match="its input is one-hot"):
        begin(
            inputs.model_copy(update={"config": tmp_path / "config.json"}),
            recipe(),
            lambda found: None,
        )
