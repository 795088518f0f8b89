"""The latency curves of a job: a resumed one chooses by those that it began with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from isslim.compress.kinds.language.kept_curves import FILE, latency_curves
from isslim.compress.kinds.language.latency_curve import LatencyCurve
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec


def network_of(units: int, words: int = 30) -> LanguageModel:
    torch.manual_seed(0)
    return LstmLanguageModel(LstmSpec(words, 6, (units,))).eval()


def measured(
    folder: Path, *, units: int = 8, words: int = 30, run: tuple[int, int] = (1, 1)
) -> tuple[list[LatencyCurve], int]:
    """Curves, and how many messages told of a measurement."""
    told: list[str] = []
    curves = latency_curves(
        network_of(units, words),
        folder,
        lambda _, message: told.append(message),
        run=run,
        int8=False,
        recurrences=("narrow",),
    )
    return curves, len(told)


def test_a_second_call_reads_what_the_first_measured(tmp_path: Path) -> None:
    first, told = measured(tmp_path)
    assert told > 0
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    again, told = measured(tmp_path)
    assert told == 0
    sizes = network_of(8).declaration()
    assert [each.milliseconds(sizes) for each in again] == [
        each.milliseconds(sizes) for each in first
    ]
    assert [each.error for each in again] == [each.error for each in first]


def test_another_network_or_run_is_measured_anew(tmp_path: Path) -> None:
    measured(tmp_path)
    assert measured(tmp_path, units=12)[1] > 0
    measured(tmp_path)
    assert measured(tmp_path, words=60)[1] > 0
    assert measured(tmp_path, run=(2, 1))[1] > 0


@pytest.mark.parametrize("content", ["", "{", '{"curves": []}', "[]", "null"])
def test_a_damaged_file_is_measured_anew(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    curves, told = measured(tmp_path)
    assert told > 0
    assert len(curves) == 1
