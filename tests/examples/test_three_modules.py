"""The program whose output `docs/library.md` shows: three modules, smaller and trained further."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples import three_modules

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
LOSSES = r"loss on fresh calls: ([\d.]+); at half the size ([\d.]+); one epoch later ([\d.]+)"
GAP = r"largest difference between module and ONNX Runtime on fresh calls: (\S+)"


@pytest.mark.slow
def test_all_three_are_half_as_large_as_good_and_trainable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    three_modules.main()
    printed = capsys.readouterr().out
    assert re.findall(r"== (\w+)", printed) == ["WordModel", "Tagger", "Crnn"]
    assert all(float(each) < 1e-4 for each in re.findall(GAP, printed))
    losses = [tuple(map(float, each)) for each in re.findall(LOSSES, printed)]
    assert len(losses) == 3
    for before, cut, trained in losses:
        assert cut < before + 0.02
        assert trained < cut + 0.005
    # The page shows lines of such a run; numbers differ a little between machines.
    shape = re.compile(r"[-+\d.,e]+")
    assert {shape.sub("N", line) for line in _shown()} <= {
        shape.sub("N", line) for line in printed.splitlines()
    }


def _shown() -> list[str]:
    return (
        PAGE.read_text()
        .partition("python -m examples.three_modules\n")[2]
        .partition("```")[0]
        .splitlines()
    )
