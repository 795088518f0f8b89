"""The benchmark of recurrent cells in int8, at sizes that take no time."""

from __future__ import annotations

import pytest

from benchmarks.int8_cells import STEPS, Cell, rows_of


@pytest.mark.parametrize("cell", [Cell("gru", 6, 8), Cell("rhn", 6, 8), Cell("lstm", 6, 8, 3)])
def test_a_cell_has_a_row_for_each_number_of_steps(cell: Cell) -> None:
    rows = list(rows_of(cell, rounds=1))
    assert [row["steps"] for row in rows] == list(STEPS)
    for row in rows:
        assert (row["cell"], row["input"], row["units"]) == (cell.cell, cell.input, cell.units)
        assert row["rank"] == (cell.rank or None)
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert min(row["float32_ms"], row["int8_ms"]) > 0
        assert (row["multiplied_out_ms"] is None) == (not cell.rank)
        # So small a Scan is slower than an operator; an RHN has none.
        assert row["chosen"] == (cell.cell == "rhn")
