"""The repair of a cut by distillation: in stages, resumed by its own candidate, never a loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.finetuning import (
    ALONE,
    MOSTLY,
    TOGETHER,
    begun_at,
    distillation,
    teaching_of,
)
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.texts import sample
from isslim.compress.kinds.language.training import plan
from isslim.compress.kinds.language.training.evaluation import in_streams, perplexity
from isslim.compress.pruning.axes import select_components
from isslim.compress.statistics.pieces import Pieces, spread_pieces
from isslim.compress.training import stages
from isslim.compress.training.stages import TEACHER_ALONE, Tuned
from tests.conftest import Trained


class Killed(Exception):
    """Stands where the process would end."""


class KilledAfter:
    """Ends a distillation at the first word after a line that begins in some way."""

    def __init__(self, beginning: str, times: int = 1) -> None:
        self.beginning, self.left = beginning, times

    def __call__(self, done: float, message: str) -> None:
        if self.left == 0:
            raise Killed
        self.left -= message.startswith(self.beginning)


class Heard:
    """Keeps what it is called with."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.shares: list[float] = []

    def __call__(self, done: float, message: str) -> None:
        self.messages.append(message)
        self.shares.append(done)


def ignore(done: float, message: str) -> None:
    """Progress that nobody reads."""


def network_of(original: LanguageModel, every: int = 2, offset: int = 0) -> LanguageModel:
    """The original without some units of its last layer, and without repair."""
    declaration = original.declaration()
    units = np.arange(declaration.axes["units:lstm1"])
    keep = {"units:lstm1": units[(units + offset) % every > 0]}
    return original.rebuilt(select_components(original.arrays(), declaration, keep)[0])


@pytest.fixture(autouse=True)
def short_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end by their passes over the text, however busy the host is, and there are two."""
    monkeypatch.setattr(plan, "PASSES", 2)
    monkeypatch.setattr(stages, "MOST_STAGES", 2)


@pytest.fixture(scope="module")
def text(trained: Trained) -> torch.Tensor:
    return sample(trained.network, 0, 4000, seed=1)


def pieces_of(tokens: torch.Tensor) -> Pieces:
    return spread_pieces(tokens, len(tokens))


def distilled(
    trained: Trained, text: torch.Tensor, network: LanguageModel, minutes: float, folder: Path,
    progress: object = ignore, held_out: torch.Tensor | None = None,
) -> Tuned[LanguageModel]:  # fmt: skip
    repair = distillation(
        trained.network, text[:-400], pieces_of(text[-400:] if held_out is None else held_out)
    )
    return repair.run(network, minutes, folder, progress)  # type: ignore[arg-type]


def test_distillation_wins_perplexity_back_and_leaves_its_input_alone(
    tmp_path: Path, trained: Trained, text: torch.Tensor
) -> None:
    network, heard = network_of(trained.network), Heard()
    before = network.arrays()
    other = sample(trained.network, 0, 1000, seed=2)
    tuned = distilled(trained, text, network, 1.0, tmp_path, heard)
    whole, cut, won = (
        perplexity(each, other) for each in (trained.network, network, tuned.network)
    )
    assert won - whole < 0.7 * (cut - whole)
    assert tuned.is_better
    assert list(tuned.losses) == sorted(tuned.losses, reverse=True)
    assert 0 < tuned.minutes <= 1
    assert len(tuned.losses) == 3
    assert tuned.ended == "all stages were taken"
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])
    assert heard.shares == sorted(heard.shares)
    assert max(heard.shares) <= 1


def test_words_teach_more_where_the_teacher_does_not_know_them_by_heart(
    trained: Trained, text: torch.Tensor
) -> None:
    alike, strange = text[2000:], torch.randint(trained.network.vocabulary, (2000,))
    assert teaching_of(trained.network, text[:2000], alike) == TOGETHER
    assert teaching_of(trained.network, text[:2000], strange) == MOSTLY
    assert teaching_of(trained.network, strange, alike) == TOGETHER
    assert TOGETHER.soft < MOSTLY.soft < ALONE.soft == TEACHER_ALONE


def test_stages_are_compared_on_text_that_is_not_trained_on(
    tmp_path: Path, trained: Trained, text: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They are another language: the better the training, the worse it gets there.
    monkeypatch.setattr(stages, "MOST_STAGES", 3)
    strange = torch.randint(trained.network.vocabulary, (400,))
    network = network_of(trained.network)
    tuned = distilled(trained, text, network, 1.0, tmp_path, held_out=strange)
    assert tuned.network is network
    assert not tuned.is_better
    assert tuned.ended == "no more was won"


def test_each_candidate_is_taken_up_where_it_was_killed(
    tmp_path: Path, trained: Trained, text: torch.Tensor
) -> None:
    first, second = network_of(trained.network), network_of(trained.network, 3)
    done = distilled(trained, text, first, 1.0, tmp_path / "1")
    with pytest.raises(Killed):
        distilled(trained, text, second, 1.0, tmp_path / "2", KilledAfter("epoch 1:"))
    assert (tmp_path / "2" / "stage.checkpoint").exists()
    heard = Heard()
    again = distilled(trained, text, first, 1.0, tmp_path / "1", heard)
    assert heard.messages == []
    assert (again.losses, again.minutes) == (done.losses, done.minutes)
    for name, array in done.network.arrays().items():
        np.testing.assert_array_equal(again.network.arrays()[name], array)
    resumed = distilled(trained, text, second, 1.0, tmp_path / "2", heard)
    assert not heard.messages[0].startswith("epoch 1:")
    undisturbed = distilled(trained, text, second, 1.0, tmp_path / "3")
    assert resumed.losses[-1] == pytest.approx(undisturbed.losses[-1], rel=0.05)
    assert not (tmp_path / "2" / "stage.checkpoint").exists()


def test_more_minutes_continue_with_the_next_stage(
    tmp_path: Path, trained: Trained, text: torch.Tensor
) -> None:
    network, killed = network_of(trained.network), KilledAfter("epoch", times=3)
    with pytest.raises(Killed):
        distilled(trained, text, network, 1.0, tmp_path, killed)  # in the second stage
    short = distilled(trained, text, network, 1e-6, tmp_path)
    assert len(short.losses) == 2
    assert short.ended == ""
    longer = distilled(trained, text, network, 1.0, tmp_path)
    assert longer.losses[:2] == short.losses
    assert len(longer.losses) == 3
    assert longer.minutes > short.minutes


def test_diverged_distillation_keeps_the_untuned_model_and_says_so(
    tmp_path: Path, trained: Trained, text: torch.Tensor
) -> None:
    arrays = trained.network.arrays()
    arrays["decoder.weight"] = np.full_like(arrays["decoder.weight"], 3e38)  # infinite logits
    repair = distillation(trained.network.rebuilt(arrays), text[:-400], pieces_of(text[-400:]))
    network = network_of(trained.network)
    tuned = repair.run(network, 1.0, tmp_path, ignore)
    assert tuned.network is network
    assert tuned.ended.startswith("it diverged (")
    heard = Heard()
    assert repair.run(network, 1.0, tmp_path, heard).ended == tuned.ended
    assert heard.messages == []


def test_a_stage_reads_on_where_the_one_before_it_stopped() -> None:
    tokens = torch.arange(23)
    streams = in_streams(begun_at(tokens, 3, 9), 3)
    np.testing.assert_array_equal(streams[:, 1], [9, 10, 11, 12, 13, 7, 8])  # row 9 of 7 is row 2
    np.testing.assert_array_equal(begun_at(tokens, 3, 0), tokens[:21])
