"""Int8 alone stands beside the original wherever a speed is told: card, terminal and JSON."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from isslim.card.latency_section import latency_section
from isslim.card.variants import variants_section
from isslim.client import show, show_models
from isslim.types.report import Report
from isslim.types.schemas.figures import manifest_view, variant_views
from isslim.types.schemas.models import LatencyResponse, ModelSummary
from isslim.types.schemas.scores import ScoreResponse, TextScore, Timing, VariantScore
from tests.card.made_up import OVER, RUNS, manifest

REPORT = Report(curve=[], original_value=40.0, verdict="none")
INT8, WHOLE = "2.00x (1.96 to 2.04)", "5.40x (5.35 to 5.45)"
"""Of the recommended variant, in the primary run."""


def shown(what: RenderableType) -> str:
    terminal = Console(width=160, record=True, file=io.StringIO())
    terminal.print(what)
    return terminal.export_text()


def summary(*, steady: bool = True) -> ModelSummary:
    listed = {"id": "1", "name": "made", "task": "language-model", "metric": "perplexity"}
    return ModelSummary.model_validate(
        {**listed, "created_at": None, "variants": variant_views(manifest(steady=steady))}
    )


def scores() -> ScoreResponse:
    text = TextScore(log_prob=-3.0, counted=3, perplexity=2.7, unknown=0)
    variants = [
        VariantScore(
            variant=name,  # type: ignore[arg-type]
            texts=[text],
            perplexity=2.7,
            timing=Timing(queue_ms=0.1, tokenize_ms=0.1, run_ms=0.5),
        )
        for name in ("original", "compressed-int8")
    ]
    return ScoreResponse(model_id="1", model="made", device="cpu", variants=variants)


def test_every_run_on_the_card_has_both_columns() -> None:
    section = latency_section(manifest())
    head = next(line for line in section.splitlines() if line.startswith("| run"))
    assert head.endswith("| as fast as int8 alone (95 %) | as fast as the original (95 %) |")
    for index, run in enumerate(
        ("10 texts of 30 tokens each", "one text of 30 tokens", "one text of 1 token")
    ):
        (row,) = [x for x in section.splitlines() if x.startswith(f"| {run} | `compressed-int8`")]
        over = OVER["compressed-int8"][index]
        beside = over / OVER["original-int8"][index]
        assert f"| {beside:.2f}x (" in row
        assert row.index(f"{beside:.2f}x") < row.index(f"| {over:.2f}x (")


def test_the_variants_on_the_card_have_both_columns() -> None:
    section = variants_section(manifest(), REPORT)
    (row,) = [x for x in section.splitlines() if x.startswith("| `compressed-int8`")]
    assert row.endswith(f"| {INT8} | {WHOLE} |")
    # Without an int8 form there is nothing to stand beside, and no empty column.
    alone = variants_section(manifest(int8=False), REPORT)
    assert "int8 alone" not in alone
    assert "as fast as the original (95 %)" in alone


def test_terminal_tables_name_both_rivals() -> None:
    compared = shown(show.comparison_table(manifest()))
    listed = shown(show.models_table([summary()]))
    for text in (compared, listed):
        assert f"{INT8} int8 alone" in text
        assert f"{WHOLE} original" in text
    for index in range(len(RUNS)):
        over = OVER["compressed-int8"][index]
        assert f"{over / OVER['original-int8'][index]:.2f}x (" in compared


def test_scores_stand_with_the_measured_speed() -> None:
    text = shown(show.score_table(scores(), ["a text"], manifest()))
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if "│" in line}
    assert INT8 in lines["measured, as fast as int8 alone"]
    assert WHOLE in lines["measured, as fast as the original"]
    assert "measured with one text of 30 tokens" in text
    # A ratio measured on the CPU is not told of a run on a GPU.
    gpu = scores().model_copy(update={"device": "cuda"})
    assert "measured" not in shown(show.score_table(gpu, ["a text"], manifest()))
    assert "int8 alone" not in shown(show.score_table(scores(), ["a"], manifest(int8=False)))


def test_a_latency_table_has_a_column_for_each_rival() -> None:
    variants = manifest().variants
    response = LatencyResponse.model_validate(
        {
            "model_id": "1",
            "measured_at": "2026-11-24T12:00:00Z",
            "cached": False,
            "baseline": "original",
            "results": {each.name: [each.primary_latency] for each in variants},
        }
    )
    text = shown(show_models.latency_table(response, "language-model"))
    assert "as fast as int8 alone" in text
    row = next(line for line in text.splitlines() if "compressed-int8" in line)
    assert row.index(INT8) < row.index(WHOLE)


def test_json_has_a_ratio_to_both_for_every_run() -> None:
    view = {each.name: each for each in manifest_view(manifest()).variants}
    small = view["compressed-int8"]
    assert [each.recommended for each in view.values()] == [False, False, False, True]
    assert [(each.steps, each.batch) for each in small.speeds] == list(RUNS)
    assert [each.primary for each in small.speeds] == [False, True, False]
    for index, figure in enumerate(small.speeds):
        over = OVER["compressed-int8"][index]
        assert figure.over_original is not None
        assert figure.over_int8 is not None
        assert figure.over_original.median == over
        assert figure.over_int8.median == over / OVER["original-int8"][index]
    assert small.over_int8 == small.speeds[1].over_int8
    assert small.speedup == 5.4
    assert "10 texts of 30 tokens each" in {each.run for each in small.speeds}
    written = small.model_dump_json()
    assert type(small).model_validate_json(written) == small


def test_what_was_not_measured_steadily_has_no_figure_anywhere() -> None:
    unsteady = manifest(steady=False)
    texts = [
        latency_section(unsteady),
        variants_section(unsteady, REPORT),
        shown(show.comparison_table(unsteady)),
        shown(show.models_table([summary(steady=False)])),
        shown(show.score_table(scores(), ["a text"], unsteady)),
    ]
    for text in texts:
        assert "5.40x" not in text
        assert "2.00x" not in text
        assert "not steady" in text
    for variant in manifest_view(unsteady).variants:
        assert variant.over_int8 is variant.speedup is None
        assert all(each.over_int8 is each.over_original is None for each in variant.speeds)
