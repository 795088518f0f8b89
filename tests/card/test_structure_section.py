"""What was removed: units that went, and directions that narrow layers pass on."""

from __future__ import annotations

from isslim.card.curve_section import curve_section
from isslim.card.structure_section import structure_section
from isslim.card.variants import cells_of
from isslim.types.manifest import CurvePoint
from isslim.types.report import AllocationRecord, AxisProbe, Report
from tests.card.made_up import SMALL, manifest


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each row by its first."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {each[0]: each[1:] for each in cells}


def test_a_narrow_layer_is_told_by_the_directions_that_it_passes_on() -> None:
    section = structure_section(manifest())
    found = rows(section)
    assert found["embedding"][:3] == ["200", "60", "70%"]
    assert found["LSTM layer 2"][:3] == ["256", "256", "0%"]
    # Layers that the original has not: all of what they read was read.
    assert found["input of LSTM layer 2"] == ["256", "70", "73%"]
    assert found["recurrence of LSTM layer 2"] == ["256", "40", "84%"]
    assert found["bottleneck"] == ["256", "90", "65%"]
    assert "| bottleneck |  |  |  | 0 | 90,000 | - |" in section  # its parameters, among the parts
    assert "directions, combinations of units, in place of all" in section


def test_narrow_layers_are_explained_only_where_there_is_one() -> None:
    whole = manifest()
    plain = [
        each.model_copy(update={"name": "compressed" if index else "original"})
        for index, each in enumerate((whole.variants[0], whole.variants[0]))
    ]
    section = structure_section(whole.model_copy(update={"variants": plain}))
    assert "directions" not in section


def test_ranks_stand_apart_from_units() -> None:
    assert [cells.sizes for cells in cells_of(manifest())] == [
        "200, 256, 256", "200, 256, 256", "60, 250, 256; ranks 70, 40, 90",
        "60, 250, 256; ranks 70, 40, 90",
    ]  # fmt: skip


def test_the_originals_row_of_the_curve_has_the_width_that_narrow_layers_read() -> None:
    point = CurvePoint(
        sizes=SMALL, removed_share=0.5, parameters=9, mult_adds=9, value=41.0, loss=0.02,
        within_budget=True, chosen=True,
    )  # fmt: skip
    report = Report(curve=[point], original_value=40.0, verdict="none")
    found = rows(curve_section(manifest(), report))
    assert found["0% (original)"][:6] == ["200", "256", "256", "256", "256", "256"]
    assert found["**50% (chosen)**"][:6] == [
        "**60**", "**250**", "**256**", "**70**", "**40**", "**90**",
    ]  # fmt: skip


def test_the_card_says_how_sizes_were_chosen_and_what_was_probed() -> None:
    report = Report(curve=[], original_value=40.0, verdict="none")
    assert "cut alone" not in curve_section(manifest(), report)
    assert "A unit saves what it costs" in curve_section(manifest(), report)
    learned = manifest().recipe.model_copy(update={"mode": "learn"})
    told = curve_section(manifest().model_copy(update={"recipe": learned}), report)
    assert "*Removed* is the mean of the shares of parameters and multiply-adds" in told
    allocation = AllocationRecord(
        optimize="stream",
        basis="multiply-adds",
        reason="sizes chosen by counting multiply-adds, because the clock was not steady",
        probes=[
            AxisProbe(axis="rank:lstm1.input", size=64, loss=0.012),
            AxisProbe(axis="units:lstm0", size=128, loss=0.2),
            AxisProbe(axis="rank:lstm1.input", size=32, loss=-0.0001),
        ],
    )
    text = curve_section(manifest(), report.model_copy(update={"allocation": allocation}))
    assert "Sizes chosen by counting multiply-adds, because the clock was not steady." in text
    found = rows(text)
    assert found["input of LSTM layer 2"] == ["64: +0.0120; 32: -0.0001"]
    assert found["LSTM layer 1"] == ["128: +0.2000"]
    assert "What is saved is multiply-adds and, at a tenth of the weight, parameters." in text
    by_time = report.model_copy(
        update={"allocation": allocation.model_copy(update={"basis": "time"})}
    )
    assert "What is saved is time by the latency curve" in curve_section(manifest(), by_time)
    counted = allocation.model_copy(update={"probes": []})
    assert "cut alone" not in curve_section(
        manifest(), report.model_copy(update={"allocation": counted})
    )
