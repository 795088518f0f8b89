"""Every bound of a verdict from both sides, and every sentence in full."""

from __future__ import annotations

import pytest

from isslim.compress.measurement.evidence import Evidence
from isslim.compress.measurement.pace import SURELY, WORTH
from isslim.compress.measurement.verdict import conclude
from isslim.types.manifest import LatencyRecord, VariantRecord
from isslim.types.quality import metric_format_of
from isslim.types.report import Conclusions
from tests.compress.measurement.test_verdict import Interval, variant

CHANGE = metric_format_of("output_change")


def sized(record: VariantRecord, size: int) -> VariantRecord:
    """The same with a file of so many bytes."""
    return record.model_copy(update={"size_bytes": size})


def concluded(
    interval: Interval,
    size: int,
    alone: Interval | None = None,
    alone_size: int = 11,
    *,
    steady: bool = True,
    breaks: bool | None = False,
) -> Conclusions:
    """Of a compressed model beside an original of 11 bytes, and int8 alone where there is one."""
    best = sized(variant("compressed", 1, interval, alone=alone, steady=steady), size)
    variants = [sized(variant("original", 1), 11), best]
    if alone is not None:
        variants.append(sized(variant("original-int8", 1), alone_size))
    if breaks is None:
        return conclude(best, Evidence(variants, CHANGE, one_run))
    return conclude(best, Evidence(variants, CHANGE, one_run, breaks=lambda _: bool(breaks)))


def one_run(_: LatencyRecord) -> str:
    return "one run"


SAME: Interval = (1.0, 1.0, 1.0)
FAST: Interval = (1.9, 2.0, 2.1)


def test_a_file_a_tenth_smaller_is_smaller() -> None:
    at, below = concluded(SAME, 10), concluded(SAME, 11)
    assert (at.smaller, at.worth, below.smaller, below.worth) == (True, True, False, False)
    assert at.size.endswith(": 1.1x smaller than the original.")
    assert below.size.endswith(": as large as the original.")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (1000, "11.0x smaller than int8 alone"),
        (10_000, "1.1x smaller than int8 alone"),
        (10_001, "9 % smaller than int8 alone"),
        (10_800, "2 % smaller than int8 alone"),
        (10_727, "2 % smaller than int8 alone"),  # 2.48
        (10_980, "as large as int8 alone"),
        (11_000, "as large as int8 alone"),
        (11_100, "1 % larger than int8 alone"),
        (12_099, "10 % larger than int8 alone"),
        (12_100, "1.1x larger than int8 alone"),
        (44_000, "4.0x larger than int8 alone"),
    ],
)
def test_sizes_are_compared_in_words(size: int, words: str) -> None:
    assert concluded(SAME, size, SAME, 11_000).size.endswith(f", {words}.")


@pytest.mark.parametrize(
    ("interval", "alone", "much"),
    [
        ((1.05, WORTH, 1.2), None, True),
        ((1.05, 1.0999, 1.2), None, False),
        ((1.05, 2.0, 2.2), (1.05, WORTH, 1.2), True),
        ((1.05, 2.0, 2.2), (1.05, 1.0999, 1.2), False),
        ((1 + SURELY, 2.0, 3.0), None, False),
        ((1.0051, 2.0, 3.0), None, True),
        ((1.5, 2.0, 3.0), (1 + SURELY, 1.2, 1.3), False),
        ((1.5, 2.0, 3.0), (1.0051, 1.2, 1.3), True),
    ],
)
def test_a_tenth_faster_for_sure_is_worth_it(
    interval: Interval, alone: Interval | None, much: bool
) -> None:
    found = concluded(interval, 11, alone)
    assert found.worth is much
    surely = interval[0] > 1.005 and (alone is None or alone[0] > 1.005)
    assert found.faster is surely


@pytest.mark.parametrize(
    ("interval", "alone", "slower"),
    [
        ((0.8, 0.9, 0.9949), None, True),
        ((0.8, 0.9, 1 - SURELY), None, False),
        ((0.8, 0.9, 1.0), None, False),
        ((1.5, 1.6, 1.7), (0.8, 0.9, 0.9949), True),
        ((1.5, 1.6, 1.7), (0.8, 0.9, 1 - SURELY), False),
    ],
)
def test_surely_slower_is_said_where_it_is(
    interval: Interval, alone: Interval | None, slower: bool
) -> None:
    words = "it is slower" if slower else "it is not much faster"
    small = concluded(interval, 5, alone)
    assert small.advice == f"Worth pruning for size, not for speed: {words}."
    assert ("because it is slower" in concluded(interval, 11, alone).advice) is slower


@pytest.mark.parametrize(
    ("interval", "size", "alone", "steady", "advice"),
    [
        (
            FAST,
            5,
            None,
            True,
            "Worth pruning, for speed and for size: it gains both over the original.",
        ),
        (
            FAST,
            11,
            None,
            True,
            "Worth pruning for speed, not for size: its file is no smaller "
            "than that of the original.",
        ),
        (
            FAST,
            12,
            SAME,
            True,
            "Not worth pruning beyond int8 alone, because it gains less than "
            "a tenth in speed and in size over the better of that and the "
            "original.",
        ),
        (
            (0.7, 0.8, 0.9),
            11,
            None,
            True,
            "Not worth pruning, because it is slower, and its file "
            "is no smaller than that of the original.",
        ),
        (
            SAME,
            11,
            None,
            True,
            "Not worth pruning, because it gains less than a tenth in speed and in size.",
        ),
        (
            FAST,
            5,
            None,
            False,
            "Worth pruning for size; whether it is faster could not be measured.",
        ),
        (
            FAST,
            11,
            None,
            False,
            "Not known to be worth pruning: its file is no smaller than that "
            "of the original, and its speed could not be measured.",
        ),
        (
            FAST,
            11,
            SAME,
            False,
            "Not known to be worth pruning beyond int8 alone: its file is no "
            "smaller than that of the original, and its speed could not be "
            "measured.",
        ),
    ],
)
def test_advice_in_full(
    interval: Interval, size: int, alone: Interval | None, steady: bool, advice: str
) -> None:
    assert concluded(interval, size, alone, steady=steady).advice == advice


def test_the_smallest_of_the_others_is_named() -> None:
    assert concluded(FAST, 11, FAST, 12).advice.endswith("no smaller than that of the original.")
    assert concluded(FAST, 11, FAST, 10).advice.endswith("no smaller than that of int8 alone.")
    assert concluded(FAST, 10, FAST, 10).advice.endswith("no smaller than that of int8 alone.")
    close = concluded(FAST, 1000, FAST, 1001)
    assert close.advice.endswith("no smaller than that of the original.")


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((1.006, 1.2, 1.3), "is 1.20x (1.01 to 1.30) as fast as the original"),
        (
            (1 + SURELY, 1.2, 1.3),
            "is not surely faster than the original (between 1.00 to 1.30 times as fast)",
        ),
        ((2.5, 2.999, 3.2), "is 3.00x (2.50 to 3.20) as fast as the original"),
        ((2.5, 3.0, 3.2), "is 3.0x (2.5 to 3.2) as fast as the original"),
        ((2.5, 3.5, 4.2), "is 3.5x (2.5 to 4.2) as fast as the original"),
        (
            (0.4, 0.5, 0.9949),
            "is slower than the original: it takes 2.00 times as long (1.01 to 2.50)",
        ),
        ((0.2, 0.25, 0.4), "is slower than the original: it takes 4.0 times as long (2.50 to 5.0)"),
        ((0.92, 0.95, 1 - SURELY), "is about as fast as the original (0.92 to 0.99 times)"),
        ((0.92, 0.95, 1.0), "is about as fast as the original (0.92 to 1.00 times)"),
        (
            (1 / WORTH, 0.95, 1.0),
            "is not surely faster than the original (between 0.91 to 1.00 times as fast)",
        ),
        (
            (0.92, 1.0, WORTH),
            "is not surely faster than the original (between 0.92 to 1.10 times as fast)",
        ),
        ((0.92, 1.0, 1.0999), "is about as fast as the original (0.92 to 1.10 times)"),
        (
            (0.5, 1.0, 1.05),
            "is not surely faster than the original (between 0.50 to 1.05 times as fast)",
        ),
        (
            (0.95, 1.5, 1.9),
            "is not surely faster than the original (between 0.95 to 1.90 times as fast)",
        ),
    ],
)
def test_pace_in_full(interval: Interval, words: str) -> None:
    assert concluded(interval, 5).speed == (
        f"compressed {words}, for one run on one thread. There is no int8 form of the original, so "
        "the original is the one to beat."
    )


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        ((1.6, 2.0, 2.5), "is 2.00x (1.60 to 2.50) as fast as int8 alone"),
        ((8.0, 10.0, 40.0), "is 10.0x (8.0 to 40.0) as fast as int8 alone"),
        ((1.006, 1.1, 1.2), "is 1.10x (1.01 to 1.20) as fast as int8 alone"),
        (
            (1 + SURELY, 1.2, 1.3),
            "is not surely faster than int8 alone (between 1.00 to 1.30 times as fast)",
        ),
        ((1.0, 1.02, 1.04), "is about as fast as int8 alone (1.00 to 1.04 times)"),
    ],
)
def test_pace_beside_int8_alone_comes_first(alone: Interval, words: str) -> None:
    found = concluded(FAST, 5, alone)
    assert found.speed == (
        f"compressed {words} and is 2.00x (1.90 to 2.10) as fast as the original, for one run on "
        "one thread."
    )


def test_int8_alone_is_a_rival_unless_it_is_said_to_break_the_budget() -> None:
    assert "as fast as int8 alone and" in concluded(FAST, 5, FAST, breaks=None).speed
    broken = concluded(FAST, 5, SAME, breaks=True)
    assert broken.speed.endswith(
        "on one thread. Int8 alone breaks the budget (+0.00%), so it is no alternative."
    )
    assert broken.worth


def test_threads_and_an_unsteady_clock_are_named() -> None:
    record = variant("compressed", 1, FAST)
    latency = record.latency[0].model_copy(update={"threads": 4})
    many = record.model_copy(update={"latency": [latency]})
    whole = variant("original", 2)
    evidence = Evidence([whole, many], CHANGE, lambda _: "a run")
    assert "for a run on 4 threads. There" in conclude(many, evidence).speed
    assert concluded(FAST, 5, SAME, steady=False).speed == (
        "The speed of compressed was not measured steadily (for one run on one thread): the host "
        "was busy with other work, so no figure is given. Measure it again on a quiet host."
    )


def test_reservations_are_sentences() -> None:
    small, whole = variant("compressed", 1, FAST), variant("original", 2)
    reservations = ["one clause", "another ended."]
    found = conclude(small, Evidence([whole, small], CHANGE, one_run, reservations=reservations))
    assert found.reservations == ["One clause.", "Another ended."]
    assert found.variant == "compressed"
    assert found.smaller is True
    none = conclude(None, Evidence([whole], CHANGE, one_run, reservations=["it was random"]))
    assert (none.worth, none.reservations, none.variant) == (False, ["It was random."], None)


def test_how_sizes_were_chosen_is_a_sentence_of_the_verdict() -> None:
    best = sized(variant("compressed", 1, FAST), 9)
    variants = [sized(variant("original", 1), 11), best]
    assert conclude(best, Evidence(variants, CHANGE, one_run)).sizes == ""
    found = conclude(best, Evidence(variants, CHANGE, one_run, sizes="sizes chosen by counting"))
    assert found.sizes == "Sizes chosen by counting."


def test_without_a_compressed_variant_int8_alone_is_what_to_take() -> None:
    alone = sized(variant("original-int8", 1, FAST), 5)
    variants = [sized(variant("original", 1), 11), alone]
    (found,) = conclude(None, Evidence(variants, CHANGE, one_run)).instead
    assert found.endswith(": take original-int8.")
    broken = conclude(None, Evidence(variants, CHANGE, one_run, breaks=lambda _: True))
    assert broken.instead == []


@pytest.mark.parametrize(
    ("high", "rival"),
    [(1 - SURELY - 1e-9, "original"), (1 - SURELY, "original-int8")],
)
def test_int8_alone_that_is_surely_slower_leaves_the_original_to_beat(
    high: float, rival: str
) -> None:
    best = sized(variant("compressed-int8", 1, FAST, alone=FAST), 9)
    alone = sized(variant("original-int8", 1, (0.8, 0.9, high), alone=SAME), 10)
    variants = [sized(variant("original", 1), 11), alone, best]
    assert conclude(best, Evidence(variants, CHANGE, one_run)).rival == rival
