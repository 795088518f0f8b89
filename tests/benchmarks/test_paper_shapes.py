"""Speed at the paper's shapes, with sizes that are measured in a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import paper_shapes
from isslim.compress.kinds.language.networks.lstm import LstmSpec, declare
from isslim.compress.pruning import axes


def test_every_row_names_the_sizes_of_its_compressed_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_shapes, "ORIGINAL", LstmSpec(60, 24, (24, 24)))
    small = {
        "paper": LstmSpec(60, 24, (8, 6)),
        "own": LstmSpec(60, 8, (8, 6), input_ranks=(0, 4), blocks=(10, 50), block_ranks=(0, 3)),
    }
    monkeypatch.setattr(paper_shapes, "COMPRESSED", small)
    paths = paper_shapes.build(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths.values()}
    rows = paper_shapes.measure(paths, 3, 2, 1, 2, "cpu")
    assert [row["sizes"] for row in rows] == ["paper", "own"]
    for row in rows:
        assert all(float(row[f"{name}_ms"]) > 0 for name in paper_shapes.NAMES)
    assert rows[0]["original_ms"] == rows[1]["original_ms"]  # timed once, beside both
    assert rows[0]["compressed_ms"] != rows[1]["compressed_ms"]


def test_sizes_of_our_own_are_less_work_than_the_papers() -> None:
    work = {name: axes.mult_adds(declare(spec)) for name, spec in paper_shapes.COMPRESSED.items()}
    assert work == {"paper": 6_811_396, "own": 3_053_256}
