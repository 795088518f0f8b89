"""What the benchmark knows of a published model."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.published.model import NotInstalled, Published, file_of, version_of
from tests.benchmarks.published.packages import package


def model(**options: object) -> Published:
    given = {"streams": lambda speakers, numbers: [], "calibration": range(1), **options}
    return Published("made-up", "made_up/weights.bin", **given)  # type: ignore[arg-type]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package(tmp_path / "site", "made-up", {"made_up/weights.bin": b"weights"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path


def test_files_of_an_installed_package_are_found(installed: Path) -> None:
    assert version_of("made-up") == "1.2"
    assert file_of("made-up", "made_up/weights.bin").read_bytes() == b"weights"


def test_what_is_missing_is_named(installed: Path) -> None:
    with pytest.raises(NotInstalled, match="the package never-made is not installed"):
        file_of("never-made", "weights.bin")
    with pytest.raises(NotInstalled, match=r"the installed made-up ships no made_up/other\.bin"):
        file_of("made-up", "made_up/other.bin")
    with pytest.raises(NotInstalled, match="the package never-made is not installed"):
        model(companions=("never-made",)).graph(installed)


def test_the_graph_is_the_file_or_what_is_made_of_it(installed: Path) -> None:
    assert model().graph(installed) == file_of("made-up", "made_up/weights.bin")

    def written(weights: Path, graph: Path) -> None:
        graph.write_bytes(weights.read_bytes()[::-1])

    made = model(written=written).graph(installed)
    assert made == installed / "weights.onnx"
    assert made.read_bytes() == b"sthgiew"


def test_a_budget_is_that_of_the_targets_or_the_change_of_outputs() -> None:
    labelled = model(limit=("ctc_error_rate", 0.005), confident=False, blank=3).recipe(0.1, None)
    assert (labelled.metric, labelled.budget.loss) == ("ctc_error_rate", 0.005)
    assert labelled.budget.confident is False
    assert (labelled.blank, labelled.stream, labelled.minutes) == (3, None, None)
    plain = model().recipe(0.1, 2)
    assert (plain.metric, plain.budget.loss) == ("output_change", 0.1)
    assert plain.budget.confident is None
    assert (plain.stream, plain.outputs, plain.minutes) == (False, [], 2)
