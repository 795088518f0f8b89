"""The verdict against what was measured: no loss is called a gain, and no slower model fast."""

from __future__ import annotations

import re

import pytest

from isslim.compress.measurement.evidence import Evidence
from isslim.compress.measurement.verdict import conclude
from isslim.types.manifest import (
    Estimate,
    LatencyRecord,
    Metric,
    Ratio,
    Task,
    VariantName,
    VariantRecord,
)
from isslim.types.quality import metric_format_of
from isslim.types.recommendation import recommended
from isslim.types.report import Conclusions
from isslim.types.wording import describe_run

Interval = tuple[float, float, float]
TASKS: list[tuple[Task, Metric]] = [
    ("language-model", "perplexity"), ("question-answering", "f1"), ("graph", "output_change"),
]  # fmt: skip
UNSURE: list[Interval] = [
    (0.50, 0.60, 0.70),
    (0.93, 0.95, 0.97),
    (0.97, 0.99, 1.04),
    (0.98, 1.01, 1.03),
    (0.99, 1.60, 2.40),
    (1.0, 2.34, 3.0),
]
"""Intervals of speed-ups, with their median: all below 1, or 1 lies within or at the end."""


def variant(
    name: VariantName,
    size: int,
    interval: Interval = (1.0, 1.0, 1.0),
    loss: float = 0.0,
    alone: Interval | None = None,
    *,
    basis: str = "wall",
    steady: bool = True,
    estimate: Estimate | None = None,
) -> VariantRecord:
    low, median, high = interval
    latency = {
        "steps": 30,
        "batch": 1,
        "threads": 1,
        "median_ms": 6 / median,
        "p90_ms": 7 / median,
        "speedup_low": low,
        "speedup": median,
        "speedup_high": high,
        "basis": basis,
        "steady": steady,
        "against_int8": alone and Ratio(low=alone[0], median=alone[1], high=alone[2]),
    }
    return VariantRecord(
        sizes={"units:lstm0": size},
        name=name,
        file=f"{name}.onnx",
        precision="int8" if name.endswith("int8") else "float32",
        size_bytes=1000 * size,
        parts=[],
        metrics={},
        loss=loss,
        estimate=estimate,
        latency=[LatencyRecord.model_validate(latency)],
    )


def concluded(
    task: Task, metric: Metric, *others: VariantRecord, limit: float = 1.0
) -> Conclusions:
    variants = [variant("original", 1000), *others]
    evidence = Evidence(
        variants,
        metric_format_of(metric),
        label=lambda each: describe_run(task, each.steps, each.batch),
        breaks=lambda each: each.loss > limit,
    )
    return conclude(recommended(variants), evidence)


@pytest.mark.parametrize(("task", "metric"), TASKS)
@pytest.mark.parametrize("interval", UNSURE)
@pytest.mark.parametrize(
    "plain",
    [None, (0.90, 0.95, 0.99), (1.9, 2.0, 2.1)],
    ids=["alone", "int8 slower", "int8 faster"],
)
@pytest.mark.parametrize("small", [False, True], ids=["float32", "both"])
def test_a_model_that_is_not_surely_faster_is_never_called_fast(
    task: Task, metric: Metric, interval: Interval, plain: Interval | None, small: bool
) -> None:
    # However it compares with int8 alone: the original is a rival as well.
    alone = None if plain is None else (1.5, 1.6, 1.7)
    others = [variant("compressed", 500, interval, alone=alone)]
    others += [] if plain is None else [variant("original-int8", 250, plain, alone=(1.0, 1.0, 1.0))]
    others += [variant("compressed-int8", 125, interval, alone=alone)] if small else []
    found = concluded(task, metric, *others)
    assert found.variant == ("compressed-int8" if small else "compressed")
    assert found.faster is False
    assert "for speed" not in found.advice.replace("not for speed", "")
    beside = found.speed.split(" and ")[-1]
    assert "as fast as the original" not in beside or "about as fast" in beside
    assert not re.search(r"no faster.*[1-9]\.\d+x", found.speed)
    if not small and plain is not None:
        assert found.advice.startswith("Not worth pruning beyond int8 alone, because")
        assert found.worth is False


def test_figures_of_every_sentence_stand_with_their_intervals() -> None:
    tokens = Estimate(low=0.039, high=0.049, count=10_000, unit="tokens", method="block bootstrap")
    found = concluded(
        "language-model",
        "perplexity",
        variant("original-int8", 250, (3.3, 3.5, 3.7), 0.002, (1.0, 1.0, 1.0)),
        variant("compressed-int8", 80, (9.8, 10.2, 10.6), 0.044, (2.7, 2.86, 3.0), estimate=tokens),
    )
    assert found.worth
    assert found.advice == "Worth pruning, for speed and for size: it gains both over int8 alone."
    assert found.speed == (
        "compressed-int8 is 2.86x (2.70 to 3.00) as fast as int8 alone and is 10.2x (9.8 to 10.6) "
        "as fast as the original, for one text of 30 tokens on one thread."
    )
    assert (
        found.size
        == "Its file is 80.0 kB: 12.5x smaller than the original, 3.1x smaller than int8 alone."
    )
    assert found.quality == (
        "Perplexity rises by 4.40% (95 %: +3.90% to +4.90%, 10,000 tokens that nothing was "
        "fitted to); int8 alone: +0.20%."
    )
    assert found.text == f"{found.advice} {found.speed} {found.size} {found.quality}"


def test_a_busy_host_is_named_and_an_unsteady_clock_gives_no_figure() -> None:
    interval, alone = (2.8, 2.9, 3.0), (1.9, 2.0, 2.1)
    plain = variant("original-int8", 250, (1.4, 1.5, 1.6))
    busy = concluded(
        "graph",
        "argmax",
        plain,
        variant("compressed-int8", 200, interval, alone=alone, basis="cpu"),
    )
    assert busy.speed.endswith(", by CPU time, because the host was busy.")
    assert busy.faster
    for size, worth in ((200, True), (240, False)):
        few = variant("compressed-int8", size, (1.5, 8.0, 30.0), alone=alone, steady=False)
        found = concluded("graph", "argmax", plain, few)
        assert "was not measured steadily" in found.speed
        assert not re.search(r"\d\.\d", found.speed)
        assert (found.faster, found.worth) == (None, worth)
        assert "could not be measured" in found.advice


def test_int8_alone_that_breaks_the_budget_is_no_rival() -> None:
    plain = variant("original-int8", 100, (3.8, 4.0, 4.2), 0.068)
    small = variant("compressed", 400, (1.9, 2.0, 2.1), 0.01, (0.45, 0.5, 0.55))
    found = concluded("language-model", "perplexity", plain, small, limit=0.05)
    assert found.worth
    assert found.faster
    assert found.advice.endswith("it gains both over the original.")
    assert "Int8 alone breaks the budget (+6.80%), so it is no alternative." in found.speed
    assert "int8" not in found.size + found.quality
    rival = concluded("language-model", "perplexity", plain, small, limit=0.07)
    assert not rival.worth
    assert "is slower than int8 alone: it takes 2.00 times as long (1.82 to 2.22)" in rival.speed
    assert "4.0x larger than int8 alone" in rival.size


@pytest.mark.parametrize(
    ("alone", "size", "advice"),
    [
        (
            (1.9, 2.0, 2.1),
            250,
            "Worth pruning for speed, not for size: its file is no smaller than that of int8 "
            "alone.",
        ),
        ((0.97, 1.0, 1.02), 100, "Worth pruning for size, not for speed: it is not much faster."),
        ((0.7, 0.75, 0.8), 100, "Worth pruning for size, not for speed: it is slower."),
        (
            (1.9, 2.0, 2.1),
            245,
            "Worth pruning for speed, not for size: its file is barely smaller than that of int8 "
            "alone.",
        ),
        (
            (1.01, 1.03, 1.05),
            245,
            "Not worth pruning beyond int8 alone, because it gains less than a tenth in speed "
            "and in size over the better of "
            "that and the original.",
        ),
        (
            (0.7, 0.75, 0.8),
            250,
            "Not worth pruning beyond int8 alone, because it is slower, and its file is no "
            "smaller than that of int8 alone.",
        ),
    ],
)
def test_advice_agrees_with_the_figures(alone: Interval, size: int, advice: str) -> None:
    plain = variant("original-int8", 250, (1.9, 2.0, 2.1))
    small = variant("compressed-int8", size, (3.0, 3.1, 3.2), alone=alone)
    assert concluded("graph", "output_change", plain, small).advice.startswith(advice)


@pytest.mark.parametrize(("task", "metric"), TASKS)
def test_of_two_the_one_that_is_surely_faster_is_recommended(task: Task, metric: Metric) -> None:
    # The smaller file straddles 1 and does not reach the other: size alone must not put it into the
    # sentence.
    slow, fast = (
        variant("compressed-int8", 125, (0.9, 1.0, 1.1)),
        variant("compressed", 500, (1.8, 2.0, 2.2)),
    )
    found = concluded(task, metric, fast, slow)
    assert found.speed.startswith(
        "compressed is 2.00x (1.80 to 2.20) as fast as the original, for "
    )
    # Where the clock cannot tell, the smaller file is.
    assert (
        concluded(task, metric, fast, variant("compressed-int8", 125, (1.7, 1.9, 2.1))).variant
        == "compressed-int8"
    )


@pytest.mark.parametrize(
    ("metric", "loss", "plain", "words"),
    [
        ("f1", 0.58, 0.02, "F1 falls by 0.58 points; int8 alone: -0.02."),
        ("f1", -0.58, -0.02, "F1 rises by 0.58 points; int8 alone: +0.02."),
        ("perplexity", 0.042, 0.0001, "Perplexity rises by 4.20%; int8 alone: +0.01%."),
        ("perplexity", -0.042, -0.0001, "Perplexity falls by 4.20%; int8 alone: -0.01%."),
        ("command:wer", -0.1, 0.1, "Wer improves by 10.00%; int8 alone: 10.00% worse."),
        ("argmax", 0.012, 0.0, "1.20% of the decisions differ; int8 alone: +0.00%."),
        ("output_change", 0.0, 0.01, "The outputs change by 0.00%; int8 alone: +1.00%."),
    ],
)  # fmt: skip
def test_a_gain_and_a_loss_are_told_as_what_they_are(
    metric: Metric, loss: float, plain: float, words: str
) -> None:
    others = (
        variant("original-int8", 250, (1.1, 1.2, 1.3), plain),
        variant("compressed", 500, (2.9, 3.0, 3.1), loss),
    )
    assert concluded("graph", metric, *others).quality == words


def test_without_a_variant_or_a_judgement_that_is_said() -> None:
    whole = variant("original", 1000)
    scale = metric_format_of("argmax")
    nothing = Evidence([whole], scale, lambda _: "one run", reservations=["all of it was drawn"])
    none = conclude(None, nothing)
    assert (
        none.text
        == "Not worth pruning: no compressed variant keeps to the budget. All of it was drawn."
    )
    small = variant("compressed", 500, (1.9, 2.0, 2.1), 0.3)
    found = conclude(small, Evidence([whole, small], scale, lambda _: "one run", evaluated=False))
    assert "30" not in found.quality
    assert (
        found.quality
        == "No figure of quality is given, since calibration needed all the data that was sent."
    )
