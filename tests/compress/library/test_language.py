"""Language models of a user's own class through `isslim.compress`, and back in that class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import isslim
import isslim.torch
from isslim.compress.library.compressed import Compressed
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.scoring import score_batch
from isslim.store.folders import open_folder
from tests.compress.library import models
from tests.conftest import WORDS, sentences

STEPS = 20
COUNTED: dict[str, Any] = {"optimize": "size"}
"""Two compressions are compared: their sizes may depend on nothing that a clock measures."""


def ids_of(text: str) -> Tensor:
    """Its tokens, in Penn Treebank's form."""
    return torch.tensor([WORDS.index(word) for word in text.replace("\n", " <eos> ").split()])


def batches(ids: Tensor, width: int = 10) -> list[tuple[Tensor, Tensor]]:
    """Pieces (T, B) and what follows each token."""
    count = len(ids) // width
    rows = ids[: count * width].view(width, count).t()
    starts = range(0, count - 1 - STEPS, STEPS)
    return [(rows[i : i + STEPS], rows[i + 1 : i + 1 + STEPS]) for i in starts]


def loss(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    tokens, wanted = batch
    scores, _ = model(tokens, model.zero_state(tokens.shape[1]))
    return cross_entropy(scores.reshape(-1, len(WORDS)), wanted.reshape(-1))


CASES: dict[str, Callable[[], nn.Module]] = {
    "word_language_model": lambda: models.WordLanguageModel(len(WORDS)),
    "word_language_model tied": lambda: models.WordLanguageModel(len(WORDS), 24, 24, tied=True),
    "AWD-LSTM": lambda: models.AwdLstm(len(WORDS)),
}


@dataclass(frozen=True)
class Done:
    """A language model and what was made of it."""

    original: Any
    small: Compressed


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name.endswith("tied") else [])
        for name in CASES
    ],
)
def done(request: pytest.FixtureRequest) -> Done:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = models.trained(
            CASES[request.param](), batches(ids_of(sentences(1500, 0))), loss, 6
        )
    options: dict[str, Any] = {
        "held_out": sentences(200, 2),
        "vocabulary": WORDS,
        "budget": 0.1,
    } | COUNTED
    return Done(original, isslim.compress(original, sentences(400, 1), **options))


def test_model_comes_back_in_its_own_class(done: Done) -> None:
    module = done.small.module
    assert type(module) is type(done.original)
    assert done.small.manifest.task == "language-model"
    whole, small = (sum(p.numel() for p in each.parameters()) for each in (done.original, module))
    assert small < 0.6 * whole
    assert done.small.report.same_form is not None
    tied = module.decoder.weight is module.encoder.weight
    assert tied is (done.original.decoder.weight is done.original.encoder.weight)


def test_module_scores_as_its_graph_does(done: Done, tmp_path: Path) -> None:
    served = LoadedLanguageModel(open_folder(done.small.save(tmp_path / "saved")))
    ids = ids_of(sentences(3, 9))
    (expected,) = score_batch(served.session("compressed"), [ids.tolist()], served.codec.start_id)
    start = torch.tensor([served.codec.start_id])
    tokens, state = torch.cat([start, ids[:-1]])[:, None], done.small.module.zero_state(1)
    with torch.no_grad():
        halves = []
        for part in tokens.split(7):  # the state is carried
            scores, state = done.small.module(part, state)
            halves.append(torch.log_softmax(scores.reshape(len(part), -1), 1))
    found = torch.cat(halves)[torch.arange(len(ids)), ids]
    np.testing.assert_allclose(found.numpy(), expected.log_probs, atol=1e-4)


def test_saved_weights_are_loaded_in_its_class(done: Done, tmp_path: Path) -> None:
    saved = done.small.save(tmp_path / "saved")
    found: Any = isslim.torch.load(saved, model=done.original)
    assert type(found) is type(done.original)
    weights = found.state_dict()
    for name, tensor in done.small.module.state_dict().items():
        assert torch.equal(weights[name], tensor)
    tied = done.original.decoder.weight is done.original.encoder.weight
    assert tied is (found.decoder.weight is found.encoder.weight)


def test_number_that_its_code_keeps_is_set(done: Done, tmp_path: Path) -> None:
    if not hasattr(done.original, "nhid"):
        assert done.small.size_notes == []
        return
    size = done.small.module.rnn.hidden_size
    assert done.small.size_notes == [f"WordLanguageModel.nhid is {size} now, and was 24"]
    found: Any = isslim.torch.load(done.small.save(tmp_path / "saved"), model=done.original)
    assert found.nhid == found.rnn.hidden_size == size < done.original.nhid == 24


def test_module_trains_further(done: Done) -> None:
    data = batches(ids_of(sentences(1500, 0)))
    before = models.epoch(done.small.module, data, loss)
    assert models.mean_loss(done.small.module, data, loss) < before


def test_saved_bundle_is_compressed_again_and_trains_in_our_class(
    done: Done, tmp_path: Path
) -> None:
    saved = done.small.save(tmp_path / "saved")
    size = {"limit": "size", "value": 0.8}
    with isslim.compress(saved, sentences(400, 1), budget=size) as again:
        assert again.variants["original"].sizes == done.small.variants["compressed"].sizes
        data = batches(ids_of(sentences(1500, 0)))
        before = models.epoch(again.module, data, loss)
        assert models.mean_loss(again.module, data, loss) < before


def test_ids_are_the_text_that_they_are_of(done: Done) -> None:
    options: dict[str, Any] = {"vocabulary": WORDS, "budget": 0.1, "form": "free"} | COUNTED
    texts = sentences(400, 1), sentences(200, 2)
    ids = [ids_of(text) for text in texts]
    weights = {name: value.numpy() for name, value in done.original.state_dict().items()}
    by_text = isslim.compress(done.original, texts[0], held_out=texts[1], **options)
    by_ids = isslim.compress(weights, ids[0].numpy(), held_out=ids[1], **options)
    assert [axis.kept_indices for axis in by_ids.manifest.axes] == [
        axis.kept_indices for axis in by_text.manifest.axes
    ]
    assert type(by_ids.module) is not type(done.original)


def test_files_are_read_where_they_are(done: Done, tmp_path: Path) -> None:
    torch.save(done.original.state_dict(), tmp_path / "model.pt")
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "calibration.txt").write_text(sentences(400, 1))
    (tmp_path / "held-out.txt").write_text(sentences(200, 2))
    found = isslim.compress(
        tmp_path / "model.pt",
        tmp_path / "calibration.txt",
        held_out=tmp_path / "held-out.txt",
        vocabulary=tmp_path / "words.txt",
        budget=0.1,
        form="same",
        **COUNTED,
    )
    assert found.variants["compressed"].sizes == done.small.variants["compressed"].sizes
