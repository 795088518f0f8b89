"""Measurements of each axis alone, and that a killed compression does not make them again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from isslim.compress.search.allocation import probes as module
from isslim.compress.search.allocation.knobs import Knob, knobs_of
from isslim.compress.search.allocation.probes import MOST, SHARES, Probes, measured_losses
from tests.compress.search.allocation.toy_probes import ProbedTask, Sizes, gently, plan_of, task_of


def ready(task: ProbedTask, folder: Path) -> tuple[Probes, dict[str, Knob]]:  # type: ignore[type-arg]
    plan = plan_of(task)
    return Probes(plan, task, 0.0, folder / "probes.json"), {
        knob.axes[0]: knob for knob in knobs_of(plan)
    }


def measure(task: ProbedTask, folder: Path) -> dict[str, dict[int, float]]:
    probes, knobs = ready(task, folder)
    found = measured_losses(probes, list(knobs.values()), lambda done, message: None)
    return dict(zip(knobs, found, strict=True))


def test_each_axis_is_cut_alone_to_the_same_shares(tmp_path: Path) -> None:
    task = task_of()
    found = measure(task, tmp_path)
    whole = {"embedding": 10, "units": 10}
    for axis, losses in found.items():
        assert sorted(losses) == sorted({min(10 - round(share * 10), 6) for share in SHARES})
        for gone, loss in losses.items():
            assert loss == pytest.approx(gently(whole | {axis: 10 - gone}), abs=1e-12)
    # A bottleneck that is probed is there, though at these sizes it may not pay; else it is not.
    assert all(("bottleneck" in sizes) == (sizes["units"] == sizes["embedding"] == 10)
               for sizes in task.probed)  # fmt: skip


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    first = measure(task_of(), tmp_path)
    again = task_of()
    assert measure(again, tmp_path) == first
    assert again.probed == []
    assert [path.name for path in tmp_path.iterdir()] == ["probes.json"]


class Killed(BaseException):
    """The end of a process."""


def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    count = len(SHARES) * 3

    def dying(sizes: Sizes) -> float:
        if len(killed.probed) == 4:
            raise Killed
        return gently(sizes)

    killed = task_of(loses=dying)
    with pytest.raises(Killed):
        measure(killed, tmp_path)
    resumed = task_of()
    found = measure(resumed, tmp_path)
    distinct = {json.dumps(sizes) for sizes in (*killed.probed[:3], *resumed.probed)}
    assert len(resumed.probed) == len(distinct) - 3 < count
    assert found == measure(task_of(), tmp_path / ".." / tmp_path.name)


def test_a_killed_measurement_ends_after_as_many_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("isslim.compress.search.allocation.probes.time.process_time",
                        lambda: now[0])  # fmt: skip
    monkeypatch.setattr(module, "SECONDS", 25.0)  # one round over three axes takes 15

    def slowly(sizes: Sizes) -> float:
        now[0] += 5.0
        return gently(sizes)

    whole = measure(task_of(loses=slowly), tmp_path)
    assert {len(losses) for losses in whole.values()} == {1}
    again = task_of(loses=slowly)
    assert measure(again, tmp_path) == whole
    assert again.probed == []


@pytest.mark.parametrize("content", ["", "{", '{"plan": "another", "losses": {"units 6": 9.0}}'])
def test_a_file_of_another_network_or_of_none_is_ignored(content: str, tmp_path: Path) -> None:
    (tmp_path / "probes.json").write_text(content)
    task = task_of()
    assert measure(task, tmp_path)["units"][4] == pytest.approx(gently({"units": 6}))
    assert task.probed


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e9])
def test_a_network_that_computes_nonsense_loses_much(loss: float, tmp_path: Path) -> None:
    probes, knobs = ready(task_of(loses=lambda sizes: loss), tmp_path)
    assert probes.loss({knobs["units"]: 3}) == MOST


def test_losses_are_those_beyond_the_network_that_is_cut(tmp_path: Path) -> None:
    probes, knobs = ready(task_of(), tmp_path)
    other = replace(probes, base=0.01, file=tmp_path / "other.json", known={})
    assert other.loss({knobs["units"]: 3}) == probes.loss({knobs["units"]: 3}) - 0.01
    assert probes.loss({knobs["units"]: 0}) == 0.0


def test_slow_measurements_are_made_in_fewer_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)
    assert {len(losses) for losses in measure(task_of(), tmp_path).values()} == {1}
