"""What was not evaluated, left out or changed is reported wherever the figures are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from isslim.client.show import comparison_table, models_table, terminal
from isslim.compress.card.plots import plot_curve
from isslim.compress.measurement.reservations import describe_states
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.service.routes.models import _summary
from isslim.store.bundles import BundleStore, ListedBundle
from isslim.store.settings import StoreSettings
from isslim.types.manifest import CurvePoint
from isslim.types.quality import metric_format_of
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report
from isslim.types.states import StatesRecord, StreamRecord
from tests.compress.kinds.graphs.models import inputs, layer_graph, stateful_graph
from tests.tagger import compress


def test_nothing_evaluated_is_as_prominent_as_random_inputs(tmp_path: Path) -> None:
    write_runs(tmp_path / "one.npz", inputs(1, 1, steps=20))
    told: list[str] = []
    recipe = Recipe(name="one", budget=Budget(size_ratio=0.8))
    graph = layer_graph(tmp_path, fixed=True, units=32)
    made = compress(tmp_path, graph, recipe, calibration=tmp_path / "one.npz", told=told)
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(made)
    report = Report.model_validate_json(bundle.path("report.json").read_bytes())
    card, reason = bundle.path("README.md").read_text(), bundle.manifest.provenance.not_evaluated
    assert reason is not None
    assert f"Quality was not evaluated: {reason}" in report.verdict
    assert "No figure of quality is given" in report.verdict
    assert "outputs change by" not in report.verdict
    assert "> **Quality was not evaluated.** One recorded run was sent" in card[:1200]
    assert card.count("| not evaluated | not evaluated |") == len(bundle.manifest.variants) - 1
    assert any("Quality was not evaluated" in line for line in told)
    summary = _summary(ListedBundle(made, bundle.manifest, []), None)
    assert (summary.not_evaluated, summary.random_inputs) == (reason, False)
    console = terminal()
    with console.capture() as captured:
        console.print(comparison_table(bundle.manifest))
        console.print(models_table([summary]))
    shown = " ".join(captured.get().split())
    assert "Quality was not evaluated" in shown
    # In two columns of every compressed variant, and in the warning.
    assert shown.count("not evaluated") == 2 * (len(bundle.manifest.variants) - 1) + 1


def test_returned_states_and_left_out_runs_are_in_verdict_card_and_command_line(
    tmp_path: Path,
) -> None:
    runs = inputs(30, states=True)
    runs[7]["x"][0, 0, 0] = np.nan
    write_runs(tmp_path / "recorded.npz", runs)
    recipe = Recipe(name="states", budget=Budget(size_ratio=0.8))
    made = compress(
        tmp_path, stateful_graph(tmp_path), recipe, calibration=tmp_path / "recorded.npz"
    )
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(made)
    verdict = Report.model_validate_json(bundle.path("report.json").read_bytes()).verdict
    assert (
        "The states cn and hn are returned with the removed units at zero (off: cn by " in verdict
    )
    assert (
        "Over a stream of 16 runs that continue from their own states, the change of outputs is "
        in verdict
    )
    assert "Not used: run 7, input x: 1 value is NaN, at [0, 0, 0]." in verdict
    card = bundle.path("README.md").read_text()
    assert "- The states cn and hn are returned" in card
    assert "- not used: run 7, input x: 1 value is NaN, at [0, 0, 0]" in card
    assert (
        "Over a stream of 16 of these runs, each variant continuing from its own states: "
        "`original-int8`" in card
    )
    assert bundle.manifest.provenance.left_out == ["run 7, input x: 1 value is NaN, at [0, 0, 0]"]
    small = bundle.manifest.variant("compressed")
    assert small is not None
    assert small.states is not None
    assert small.states.returned["hn"] > 0.05
    assert small.estimate is not None
    assert small.estimate.low < small.loss < small.estimate.high
    console = terminal()
    with console.capture() as captured:
        console.print(comparison_table(bundle.manifest))
    assert "compressed returns states with the removed units at zero: cn (off by" in " ".join(
        captured.get().split()
    )
    # A candidate whose outputs overflowed cannot be plotted.
    report = Report.model_validate_json(bundle.path("report.json").read_bytes())
    strange = CurvePoint(
        sizes={},
        removed_share=0.9,
        parameters=10,
        mult_adds=10,
        value=math.inf,
        loss=math.inf,
        within_budget=False,
    )
    plot_curve(
        report.model_copy(update={"curve": [*report.curve, strange]}),
        bundle.manifest,
        tmp_path / "curve.svg",
    )
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")


def test_stream_that_breaks_the_budget_is_reported() -> None:
    states = StatesRecord(
        returned={"hn": 0.2}, stream=StreamRecord(runs=16, loss=0.019, end_loss=0.025)
    )
    scale = metric_format_of("output_change")
    for limit, told in ((0.02, True), (0.03, False), (None, False)):
        zeros, stream = describe_states(states, scale, limit)
        assert stream.endswith(
            "1.90%, and 2.50% over its last runs" + ", which is more than the budget allows" * told
        )
        assert "a caller that does more with it than pass it back gets" in zeros
