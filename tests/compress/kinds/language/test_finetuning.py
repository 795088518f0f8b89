"""The fine-tune between search and export: resumed by its own candidate, and never a loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.finetuning import finetune
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.texts import Texts, sample
from isslim.types.recipe import Recipe
from tests.conftest import Trained


class Killed(Exception):
    """Stands where the process would end."""


class KilledAfterAnEpoch:
    """Ends a fine-tune at the first word after an epoch, whose checkpoint is on disk by then."""

    def __init__(self) -> None:
        self.ended = False

    def __call__(self, done: float, message: str) -> None:
        if self.ended:
            raise Killed
        self.ended = message.startswith("epoch")


class Heard:
    """Keeps the messages that it is called with."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, done: float, message: str) -> None:
        self.messages.append(message)


def ignore(done: float, message: str) -> None:
    """Progress that nobody reads."""


def network_of(original: LanguageModel, *units: int) -> LanguageModel:
    network = LstmLanguageModel(LstmSpec(original.vocabulary, 16, units))
    network.initialise(0.1, torch.Generator().manual_seed(0))
    return network.eval()


@pytest.fixture(scope="module")
def texts(trained: Trained) -> Texts:
    tokens = sample(trained.network, 0, 3000, seed=1)
    return Texts(tokens[:500], tokens[:2000], tokens[2000:], "sampled", "sampled")


def test_each_pass_is_taken_up_where_it_was_killed(
    tmp_path: Path, trained: Trained, texts: Texts
) -> None:
    recipe = Recipe(finetune_minutes=0.05)
    first, second = network_of(trained.network, 12, 10), network_of(trained.network, 14, 11)
    finetune(first, trained.network, texts, recipe, tmp_path / "1.5", ignore)
    with pytest.raises(Killed):
        finetune(second, trained.network, texts, recipe, tmp_path / "0.97", KilledAfterAnEpoch())
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.checkpoint"))
    assert left == ["0.97/16-14-11.checkpoint", "1.5/16-12-10.checkpoint"]

    # The job is taken up: its first pass finds its own checkpoint, and so does the second.
    for network, name in ((first, "1.5"), (second, "0.97")):
        heard = Heard()
        finetune(network, trained.network, texts, recipe, tmp_path / name, heard)
        assert not any(message.startswith("epoch 1:") for message in heard.messages)


def test_checkpoint_of_another_candidate_of_the_same_pass_is_removed(
    tmp_path: Path, trained: Trained, texts: Texts
) -> None:
    recipe = Recipe(finetune_minutes=0.02)
    for units in ((12, 10), (14, 11)):
        network = network_of(trained.network, *units)
        tuned, told = finetune(network, trained.network, texts, recipe, tmp_path, ignore)
        assert tuned.declaration().axes == network.declaration().axes
        assert "minutes of distillation: perplexity" in told
    assert [path.name for path in tmp_path.iterdir()] == ["16-14-11.checkpoint"]


def test_damaged_checkpoint_costs_time_and_not_the_job(
    tmp_path: Path, trained: Trained, texts: Texts
) -> None:
    network, recipe = network_of(trained.network, 12, 10), Recipe(finetune_minutes=0.02)
    finetune(network, trained.network, texts, recipe, tmp_path, ignore)
    checkpoint = tmp_path / "16-12-10.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    _, told = finetune(network, trained.network, texts, recipe, tmp_path, ignore)
    assert "minutes of distillation: perplexity" in told


def test_diverged_finetune_keeps_the_untuned_model_and_reports_it(
    tmp_path: Path, trained: Trained, texts: Texts
) -> None:
    arrays = trained.network.arrays()
    arrays["decoder.weight"] = np.full_like(
        arrays["decoder.weight"], 3e38
    )  # its logits are infinite
    teacher, network = trained.network.rebuilt(arrays), network_of(trained.network, 12, 10)
    kept, told = finetune(network, teacher, texts, Recipe(finetune_minutes=1), tmp_path, ignore)
    assert kept is network
    assert "diverged, so the untuned model was kept" in told
