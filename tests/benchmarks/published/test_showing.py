"""How the benchmark of published models shows what it found."""

from __future__ import annotations

import io

from rich.console import Console

from benchmarks.published.measuring import Row
from benchmarks.published.showing import remarks, table

VARIANT = {
    "variant": "compressed",
    "units": "34, 36",
    "parameters": 327_674,
    "megabytes": 1.31,
    "score": 94.87,
    "change": 0.096,
    "streamed_change": 0.139,
    "median_ms": 0.2,
    "speedup": 1.26,
    "speedup_low": 1.2,
    "speedup_high": 1.3,
    "over_int8": 1.15,
    "steady": True,
}
MEASURED: Row = {
    "model": "silero-vad: silero_vad.onnx",
    "version": "6.2.3",
    "nested": 4,
    "verdict": "Worth pruning.",
    "metric": "F1 of speech, points of 100",
    "better": "higher",
    "truth": "where the sound was made of speech",
    "left_out": ["compressed-int8: it breaks the budget"],
    "variants": [
        VARIANT | {"variant": "original", "streamed_change": None, "over_int8": None},
        VARIANT,
    ],
}
SKIPPED: Row = {"model": "other: model.onnx", "skipped": "the package other is not installed"}


def shown(rows: list[Row]) -> str:
    console = Console(file=io.StringIO(), width=240)
    console.print(table(rows, 0.1, "synthetic sound"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_table_has_a_row_per_variant_and_none_for_a_skipped_model() -> None:
    text = shown([MEASURED, SKIPPED])
    assert "a change of outputs of 10%" in text
    assert text.count("silero-vad: silero_vad.onnx") == 1  # the model is named once
    (line,) = [each for each in text.splitlines() if "compressed" in each]
    for cell in (
        "34, 36",
        "327,674",
        "1.31",
        "94.87",
        "9.60%",
        "13.90%",
        "1.26x (1.20-1.30)",
        "1.15x",
    ):
        assert cell in line
    assert str(SKIPPED["model"]) not in text


def test_times_that_cannot_be_relied_on_are_marked() -> None:
    text = shown([MEASURED | {"variants": [VARIANT | {"steady": False}]}])
    assert "not steady: (1.20-1.30)" in text
    assert "1.26x" not in text


def test_remarks_name_verdict_unused_variants_and_why_a_model_was_skipped() -> None:
    assert remarks(MEASURED) == [
        "silero-vad: silero_vad.onnx 6.2.3 [4 of its layers lie in If, Loop or Scan]: "
        "Worth pruning.",
        "  task: F1 of speech, points of 100 (higher is better), compared with where the sound was "
        "made of speech",
        "  without compressed-int8: it breaks the budget",
    ]
    assert remarks(SKIPPED) == ["skipped other: model.onnx: the package other is not installed"]
