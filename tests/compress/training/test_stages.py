"""The stages of a distillation: how long, from where, when they end, and what is resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from isslim.compress.errors import CheckpointRefused, TrainingDiverged
from isslim.compress.training.stages import (
    MOST_STAGES,
    PEAKS,
    TEACHER_ALONE,
    Distillation,
    Stage,
    Trained,
    Tuned,
)
from tests.compress.search.toy import Toy, drawn


def lossy(network: Toy) -> float:
    """The loss is a number that lies in the bias."""
    return float(network.given["bias"][0])


def with_loss(network: Toy, loss: float) -> Toy:
    return Toy({**network.given, "bias": np.full_like(network.given["bias"], loss)})


@dataclass
class School:
    """Trains to the losses that it is given, one a stage, in the time of the stage."""

    losses: list[float]
    pace: float = 1.0
    taken: list[Stage] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)

    def __call__(self, network: Toy, stage: Stage) -> Trained[Toy]:
        self.taken.append(stage)
        self.begun.append(lossy(network))
        stage.progress(0.5, "training")
        loss = self.losses[len(self.taken) - 1]
        return Trained(with_loss(network, loss), 10, 60 * self.pace * stage.minutes)

    def run(
        self,
        folder: Path,
        minutes: float,
        network: Toy | None = None,
        told: list[float] | None = None,
        *,
        soft: float = TEACHER_ALONE,
        most_minutes: float | None = None,
    ) -> Tuned[Toy]:
        return Distillation(self, lossy, soft=soft).run(
            with_loss(drawn(), 4.0) if network is None else network,
            minutes,
            folder,
            lambda done, _: None if told is None else told.append(done),
            most_minutes,
        )


def test_stages_grow_longer_and_gentler_while_they_gain(tmp_path: Path) -> None:
    school, told = School([3.0, 2.5, 2.2, 2.0, 1.9]), list[float]()
    tuned = school.run(tmp_path, 5.0, told=told)
    assert [stage.minutes for stage in school.taken] == [0.5, 1.0, 1.5, 2.0]
    assert [stage.share for stage in school.taken] == list(PEAKS)
    assert [stage.steps for stage in school.taken] == [0, 10, 20, 30]
    assert school.begun == pytest.approx([4.0, 3.0, 2.5, 2.2])
    assert tuned.losses == (4.0, 3.0, 2.5, pytest.approx(2.2), 2.0)
    assert (lossy(tuned.network), tuned.minutes, tuned.ended) == (2.0, 5.0, "")
    assert told == pytest.approx([0.05, 0.2, 0.45, 0.8])


@pytest.mark.parametrize(
    ("minutes", "lengths"),
    [
        (0.02, [0.02]),
        (0.5, [0.5]),
        (0.9, [0.9]),  # what is left for less than half of the next stage belongs to this one
        (1.1, [0.5, 0.6]),
        (10.0, [0.5, 1.0, 1.5, 2.0, 5.0]),
        (12.0, [0.5, 1.0, 1.5, 2.0, 7.0]),
        (14.0, [0.5, 1.0, 1.5, 2.0, 4.0, 5.0]),
    ],
)
def test_stages_share_the_minutes(minutes: float, lengths: list[float], tmp_path: Path) -> None:
    school = School([3.0 - k / 10 for k in range(9)])
    school.run(tmp_path, minutes)
    assert [stage.minutes for stage in school.taken] == pytest.approx(lengths)


@pytest.mark.parametrize(
    ("losses", "best"),
    [([2.9981, 2.997], 2.997), ([3.2, 3.1], 3.0), ([float("nan"), float("inf")], 3.0)],
)
def test_behind_a_stage_that_gains_too_little_the_peak_is_lowered_twice(
    losses: list[float], best: float, tmp_path: Path
) -> None:
    school = School([3.0, *losses, best, 0.0])
    tuned = school.run(tmp_path, 20.0)
    assert [stage.share for stage in school.taken] == [1.0, 0.7, 0.5 / 4, 0.35 / 16]
    assert lossy(tuned.network) == pytest.approx(best)
    assert tuned.losses[-1] == pytest.approx(best)
    assert tuned.ended == "no more was won"
    again = School([])
    assert again.run(tmp_path, 60.0).losses == tuned.losses  # and stays so
    assert again.taken == []


def test_peak_that_was_too_high_is_lowered_and_the_best_state_goes_on(tmp_path: Path) -> None:
    school = School([4.2, 3.9, 3.8])  # as measured after a mild cut
    tuned = school.run(tmp_path, 3.0)
    assert [stage.share for stage in school.taken] == [1.0, 0.7 / 4, 0.5 / 4]
    assert school.begun == pytest.approx([4.0, 4.0, 3.9])
    assert tuned.losses == (4.0, 4.0, pytest.approx(3.9), pytest.approx(3.8))
    assert tuned.ended == ""


def test_process_that_ends_behind_each_stage_lowers_the_peak_as_often(tmp_path: Path) -> None:
    losses, taken = [4.2, 4.1, 4.2, 4.1], list[Stage]()
    whole = School(losses)
    whole.run(tmp_path / "whole", 60.0)
    for loss in losses:
        school = School([loss])
        with contextlib.suppress(IndexError):  # there are no more losses
            school.run(tmp_path / "parts", 60.0)
        taken += school.taken[:1]
    shares = [1.0, 0.7 / 4, 0.5 / 16]
    assert [stage.share for stage in whole.taken] == shares
    assert [stage.share for stage in taken[:3]] == shares


def test_given_network_is_the_best_where_nothing_is_won(tmp_path: Path) -> None:
    network = with_loss(drawn(), 4.0)
    tuned = School([4.5, 4.5, 4.5]).run(tmp_path, 5.0, network)
    assert tuned.network is network
    assert not tuned.is_better
    assert tuned.ended == "no more was won"


def test_every_stage_has_the_share_of_the_teacher_that_was_asked_for(tmp_path: Path) -> None:
    for number, soft in enumerate((TEACHER_ALONE, 0.75)):
        school = School([3.5, 3.4, 3.6, 3.2])
        school.run(tmp_path / str(number), 5.0, soft=soft)
        assert {stage.soft for stage in school.taken} == {soft}


def test_state_of_another_loss_is_not_taken_up(tmp_path: Path) -> None:
    School([3.0]).run(tmp_path, 0.5)
    school = School([2.5])
    assert school.run(tmp_path, 0.5, soft=0.75).losses == (4.0, 2.5)


def test_stage_of_few_steps_may_go_on_to_the_end_of_the_job(tmp_path: Path) -> None:
    school = School([3.5, 3.4])
    tuned = school.run(tmp_path, 1.5, most_minutes=4.0)
    assert [stage.most_minutes for stage in school.taken] == pytest.approx([4.0, 3.5])
    assert tuned.steps == 20
    alone = School([3.5])
    alone.run(tmp_path / "alone", 0.3)
    assert alone.taken[0].most_minutes == pytest.approx(0.3)


def test_stages_that_end_early_are_counted(tmp_path: Path) -> None:
    school = School([3.9 - k / 10 for k in range(20)], pace=0.01)
    tuned = school.run(tmp_path, 5.0)
    assert len(school.taken) == MOST_STAGES
    assert tuned.ended == "all stages were taken"
    assert tuned.minutes < 1


def test_stage_that_diverges_is_the_last_and_the_best_is_kept(tmp_path: Path) -> None:
    class Diverging(School):
        def __call__(self, network: Toy, stage: Stage) -> Trained[Toy]:
            if stage.number == 1:
                raise TrainingDiverged("the loss is nan", best=None)
            return super().__call__(network, stage)

    tuned = Diverging([3.0]).run(tmp_path, 5.0)
    assert lossy(tuned.network) == 3.0
    assert tuned.ended == "it diverged (the loss is nan)"


def test_later_call_with_more_minutes_continues(tmp_path: Path) -> None:
    first = School([3.0]).run(tmp_path, 0.5)
    school = School([2.0, 1.0])
    tuned = school.run(tmp_path, 3.0)
    assert [stage.number for stage in school.taken] == [1, 2]
    assert school.begun[0] == lossy(first.network) == 3.0
    assert tuned.losses == (4.0, 3.0, 2.0, 1.0)
    assert tuned.minutes == pytest.approx(3.0)


def test_job_that_was_killed_in_a_stage_keeps_the_stages_before_it(tmp_path: Path) -> None:
    class Killed(School):
        def __call__(self, network: Toy, stage: Stage) -> Trained[Toy]:
            stage.checkpoint.write_text("half a stage")
            if stage.number == 1:
                raise KeyboardInterrupt
            return super().__call__(network, stage)

    with pytest.raises(KeyboardInterrupt):
        Killed([3.0]).run(tmp_path, 5.0)
    assert (tmp_path / "stage.checkpoint").exists()
    school = School([2.5, 2.5, 2.5])
    tuned = school.run(tmp_path, 5.0)
    assert [stage.number for stage in school.taken] == [1, 2, 3]
    assert school.begun == [3.0, 2.5, 2.5]
    assert tuned.losses == (4.0, 3.0, 2.5, 2.5, 2.5)
    assert not (tmp_path / "stage.checkpoint").exists()


def test_checkpoint_that_is_refused_is_deleted_and_its_stage_begun_anew(tmp_path: Path) -> None:
    class Refusing(School):
        def __call__(self, network: Toy, stage: Stage) -> Trained[Toy]:
            if stage.checkpoint.exists():
                raise CheckpointRefused("damaged")
            return super().__call__(network, stage)

    School([3.0]).run(tmp_path, 0.5)
    (tmp_path / "stage.checkpoint").write_text("damaged")
    assert Refusing([2.0]).run(tmp_path, 1.0).losses == (4.0, 3.0, 2.0)


def test_state_of_another_network_or_a_damaged_one_is_not_taken_up(tmp_path: Path) -> None:
    School([3.0]).run(tmp_path, 0.5)
    (tmp_path / "stage.checkpoint").write_text("of the other network")

    class Watching(School):
        def __call__(self, network: Toy, stage: Stage) -> Trained[Toy]:
            assert not stage.checkpoint.exists()
            return super().__call__(network, stage)

    other = with_loss(drawn(seed=1), 4.0)
    assert Watching([2.0]).run(tmp_path, 0.5, other).losses == (4.0, 2.0)
    state = tmp_path / "stages.state"
    state.write_bytes(state.read_bytes()[:-50])
    assert Watching([2.5]).run(tmp_path, 0.5, other).losses == (4.0, 2.5)


def test_weights_beside_the_arrays_are_kept_and_read_again(tmp_path: Path) -> None:
    beside = {"constant": np.ones(3, np.float32)}

    def weights(network: Toy) -> dict[str, np.ndarray]:
        return {**network.arrays(), **beside}

    read = list[set[str]]()

    def filled(network: Toy, given: Mapping[str, np.ndarray]) -> Toy:
        read.append(set(given))
        np.testing.assert_array_equal(given["constant"], beside["constant"])
        return network.rebuilt({name: given[name] for name in network.arrays()})

    start = with_loss(drawn(), 3.0)
    for losses in ([2.0], []):
        school = School(losses)
        tuned = Distillation(school, lossy, weights=weights, filled=filled).run(
            start, 0.5, tmp_path / "stages", lambda done, message: None
        )
        assert lossy(tuned.network) == 2.0
    assert read == [{*start.arrays(), "constant"}]  # by the second call only
