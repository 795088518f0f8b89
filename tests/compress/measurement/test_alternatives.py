"""Where pruning is not worth it, the verdict says what would be, by measured figures alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pytest

from isslim.compress.measurement.evidence import Evidence
from isslim.compress.measurement.verdict import conclude
from isslim.types.manifest import (
    CurvePoint,
    Estimate,
    LatencyRecord,
    PartRecord,
    Ratio,
    VariantName,
    VariantRecord,
)
from isslim.types.quality import metric_format_of
from isslim.types.recommendation import recommended
from isslim.types.report import Conclusions
from isslim.types.wording import describe_run
from tests.compress.measurement.test_verdict import Interval, variant

PERPLEXITY = metric_format_of("perplexity")
SAME: Interval = (0.99, 1.0, 1.01)
Timed = tuple[int, int, Interval, Interval | None]
"""Steps, batch, over the original, over int8 alone."""


def latency(timed: Timed, *, primary: bool, steady: bool = True) -> LatencyRecord:
    steps, batch, whole, alone = timed
    return LatencyRecord(
        steps=steps,
        batch=batch,
        threads=1,
        median_ms=0.06 / whole[1],
        p90_ms=0.07 / whole[1],
        speedup_low=whole[0],
        speedup=whole[1],
        speedup_high=whole[2],
        against_int8=alone and Ratio(low=alone[0], median=alone[1], high=alone[2]),
        steady=steady,
        primary=primary,
    )


def made(
    name: VariantName,
    size: int,
    work: int,
    runs: Sequence[Timed],
    *,
    loss: float = 0.0,
    steady: bool = True,
) -> VariantRecord:
    """A variant with so many multiply-adds, timed in these runs, of which the first is primary."""
    records = [latency(each, primary=index == 0, steady=steady) for index, each in enumerate(runs)]
    part = PartRecord(name="all", width=0, parameters=work, mult_adds=work)
    return variant(name, size).model_copy(
        update={"latency": records, "parts": [part], "loss": loss}
    )


def point(work: int, loss: float, *, chosen: bool = False) -> CurvePoint:
    return CurvePoint(
        sizes={},
        removed_share=0.5,
        parameters=work,
        mult_adds=work,
        value=30.0,
        loss=loss,
        estimate=Estimate(
            low=loss - 0.01, high=loss + 0.01, count=5000, unit="tokens", method="block bootstrap"
        ),
        within_budget=chosen,
        chosen=chosen,
    )


def concluded(
    *others: VariantRecord,
    curve: Sequence[CurvePoint] = (),
    limit: float = 1.0,
    evaluated: bool = True,
) -> Conclusions:
    runs = [(each.steps, each.batch, SAME, SAME) for each in others[0].latency]
    variants = [made("original", 1000, 1000, runs), *others]
    evidence = Evidence(
        variants,
        PERPLEXITY,
        label=lambda each: describe_run("language-model", each.steps, each.batch),
        breaks=lambda each: each.loss > limit,
        evaluated=evaluated,
        curve=curve,
    )
    return conclude(recommended(variants), evidence)


ALONE = made(
    "original-int8",
    250,
    1000,
    [(30, 1, (2.65, 2.7, 2.75), SAME), (1, 1, (2.0, 2.1, 2.2), SAME)],
    loss=0.0005,
)
NO_BETTER = made(
    "compressed-int8",
    245,
    900,
    [(30, 1, (2.7, 2.75, 2.8), SAME), (1, 1, (3.6, 3.8, 4.0), (1.7, 1.8, 1.9))],
)


def test_int8_alone_is_offered_with_its_figures() -> None:
    found = concluded(ALONE, NO_BETTER)
    assert not found.worth
    assert found.advice.startswith("Not worth pruning beyond int8 alone")
    assert found.rival == "original-int8"
    assert found.instead[0] == (
        "Int8 alone is 2.70x (2.65 to 2.75) as fast as the original, for one text of 30 tokens, "
        "and has a file 4.0x smaller, with nothing removed (change of perplexity: +0.05%): take "
        "original-int8."
    )
    assert found.text.endswith(" ".join(found.instead))


def test_int8_alone_that_gains_nothing_or_breaks_the_budget_is_not_offered() -> None:
    slow = made("original-int8", 950, 1000, [(30, 1, (0.9, 0.95, 1.04), SAME)])
    small = made("compressed", 950, 900, [(30, 1, SAME, SAME)])
    assert concluded(slow, small).instead == [
        "Nothing that was measured here gains a tenth in speed or in size."
    ]
    runs: list[Timed] = [(30, 1, (1.0, 1.02, 1.05), SAME), (1, 1, (0.9, 1.0, 1.1), SAME)]
    broken = concluded(ALONE, made("compressed", 950, 900, runs), limit=0.0001)
    assert broken.rival == "original"
    assert "original-int8" not in " ".join(broken.instead)


def test_a_run_that_is_faster_by_enough_is_named() -> None:
    found = concluded(ALONE, NO_BETTER)
    assert found.instead[1] == (
        "For one text of 1 token it is worth it: compressed-int8 is 1.80x (1.70 to 1.90) as fast "
        "as int8 alone and is 3.8x (3.6 to 4.0) as fast as the original."
    )
    for unsure in ((0.99, 1.8, 2.4), (1.01, 1.05, 1.09)):
        runs: list[Timed] = [(30, 1, (2.7, 2.75, 2.8), SAME), (1, 1, (3.6, 3.8, 4.0), unsure)]
        hardly = concluded(ALONE, made("compressed-int8", 245, 900, runs))
        assert not any("1 token" in each for each in hardly.instead)


def test_another_variant_is_named_where_it_is_the_faster_one() -> None:
    runs: list[Timed] = [
        (30, 1, (2.0, 2.1, 2.2), (0.7, 0.75, 0.8)),
        (1, 1, FASTER, (1.9, 2.0, 2.1)),
    ]
    slow: list[Timed] = [(30, 1, (2.7, 2.75, 2.8), SAME), (1, 1, (1.9, 2.0, 2.1), SAME)]
    found = concluded(
        ALONE, made("compressed", 900, 900, runs), made("compressed-int8", 245, 900, slow)
    )
    assert found.variant == "compressed-int8"
    assert any(
        each.startswith("For one text of 1 token it is worth it: compressed is")
        for each in found.instead
    )


FASTER: Interval = (3.9, 4.0, 4.1)


def test_the_mildest_candidate_with_much_less_work_is_named() -> None:
    curve = [
        point(900, 0.01, chosen=True),
        point(800, 0.02),  # hardly less work
        point(600, 0.08),
        point(400, 0.31),
        point(100, math.nan),
    ]
    assert concluded(ALONE, NO_BETTER, curve=curve).instead[-1] == (
        "The search also tried 0.60 of the original's multiply-adds, where compressed-int8 has "
        "0.90, at a rise of perplexity of 8.00% (95 %: +7.00% to +9.00%, 5,000 tokens) by its "
        "quick estimate: a budget that allows it may be worth it."
    )
    # Of data that candidates were fitted to, no figure of quality is given.
    unknown = concluded(ALONE, NO_BETTER, curve=curve, evaluated=False)
    assert not re.search("perplexity", " ".join([*unknown.instead, unknown.quality]))


def test_a_model_too_small_to_gain_is_not_worth_it_and_its_figures_say_why() -> None:
    runs: list[Timed] = [(30, 1, (0.98, 1.02, 1.05), (1.0, 1.03, 1.06))]
    small = made("compressed", 980, 450, runs)
    alone = made("original-int8", 950, 1000, [(30, 1, (0.95, 0.99, 1.03), SAME)])
    found = concluded(alone, small)
    assert not found.worth
    assert found.instead == [
        "compressed has 0.45 of the original's multiply-adds (450 of 1,000), which saves no tenth "
        "of the time: one text of 30 tokens takes 0.059 ms, the original 0.060 ms.",
        "Nothing that was measured here gains a tenth in speed or in size.",
    ]


def test_nothing_is_offered_instead_of_a_model_that_is_worth_it() -> None:
    good = made("compressed-int8", 80, 300, [(30, 1, (9.8, 10.0, 10.2), (3.0, 3.1, 3.2))])
    assert concluded(ALONE, good, curve=[point(100, 0.4)]).instead == []


def test_no_time_is_told_that_was_not_measured_steadily() -> None:
    unsteady = [
        made(each.name, size, work, [(30, 1, (2.0, 5.0, 9.0), SAME)], steady=False)
        for each, size, work in ((ALONE, 250, 1000), (NO_BETTER, 245, 300))
    ]
    found = concluded(*unsteady, curve=[point(100, 0.4)])
    assert found.faster is None
    assert not re.search(r"\d ms|\dx \(", found.text)
    assert "has a file 4.0x smaller" in found.instead[0]


@pytest.mark.parametrize(
    ("over", "rival", "words"),
    [
        (
            (0.38, 0.4, 0.42),
            "original",
            " Int8 alone is slower than the original: it takes 2.50 times as long (2.38 to 2.63), "
            "so the original is the one to beat.",
        ),
        ((0.9, 0.95, 0.997), "original-int8", ""),
        ((2.0, 2.1, 2.2), "original-int8", ""),
    ],
)
def test_the_rival_is_the_faster_of_the_two(over: Interval, rival: str, words: str) -> None:
    plain = made("original-int8", 250, 1000, [(30, 1, over, SAME)])
    good = made("compressed", 80, 300, [(30, 1, (9.8, 10.0, 10.2), (3.0, 3.1, 3.2))])
    found = concluded(plain, good)
    assert found.rival == rival
    assert found.speed == (
        "compressed is 3.1x (3.0 to 3.2) as fast as int8 alone and is 10.0x (9.8 to 10.2) as fast "
        f"as the original, for one text of 30 tokens on one thread.{words}"
    )


def test_every_timed_run_stands_beside_both_rivals() -> None:
    runs: list[Timed] = [
        (30, 1, (9.8, 10.0, 10.2), (3.0, 3.1, 3.2)),
        (30, 10, (4.9, 5.0, 5.1), (2.0, 2.1, 2.2)),
        (1, 1, (0.8, 0.9, 0.95), (0.97, 1.0, 1.03)),
    ]
    assert concluded(ALONE, made("compressed-int8", 80, 300, runs)).further == [
        "For 10 texts of 30 tokens each it is 2.10x (2.00 to 2.20) as fast as int8 alone and is "
        "5.0x (4.9 to 5.1) as fast as the original.",
        "For one text of 1 token it is about as fast as int8 alone (0.97 to 1.03 times) and is "
        "slower than the original: it takes 1.11 times as long (1.05 to 1.25).",
    ]
    unsteady = made("compressed-int8", 80, 300, runs, steady=False)
    assert concluded(ALONE, unsteady).further[0] == (
        "For 10 texts of 30 tokens each its speed was not measured steadily."
    )
