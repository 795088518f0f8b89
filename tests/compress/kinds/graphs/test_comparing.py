"""Every metric of a graph's outputs against plain numpy, one number at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.kinds.graphs.comparing import Outputs, compared, difference, loss_of
from isslim.types.manifest import Metric

METRICS: tuple[Metric, ...] = ("output_change", "argmax", "mean_squared_error", "cosine")


def runs(seed: int, spread: float) -> tuple[list[Outputs], list[Outputs]]:
    """Two outputs of several runs of unequal shapes, and what became of them."""
    generator = np.random.default_rng(seed)
    wanted: list[Outputs] = [
        {
            "scores": generator.normal(0, 3, (length, 2, 5)).astype(np.float32),
            "gate": generator.random((length, 1)).astype(np.float32),
        }
        for length in (3, 7, 1)
    ]
    found: list[Outputs] = [
        {
            name: array + generator.normal(0, spread, array.shape).astype(np.float32)
            for name, array in run.items()
        }
        for run in wanted
    ]
    return found, wanted


def slowly(metric: str, found: list[Outputs], wanted: list[Outputs], name: str) -> float:
    """The definitions of `isslim/types/quality.py`, number by number."""
    ours = [float(x) for run in found for x in run[name].ravel()]
    whole = [float(x) for run in wanted for x in run[name].ravel()]
    count = len(whole)
    if metric in ("output_change", "mean_squared_error"):
        error = sum((a - b) ** 2 for a, b in zip(ours, whole, strict=True)) / count
        if metric == "mean_squared_error":
            return error
        mean = sum(whole) / count
        return float((error / (sum((b - mean) ** 2 for b in whole) / count)) ** 0.5)
    rows = [
        (one, other)
        for mine, theirs in zip(found, wanted, strict=True)
        for one, other in zip(
            mine[name].reshape(-1, mine[name].shape[-1]),
            theirs[name].reshape(-1, theirs[name].shape[-1]),
            strict=True,
        )
    ]
    if metric == "argmax":
        same = [
            list(a).index(max(a)) == list(b).index(max(b))
            if len(b) > 1
            else (a[0] > 0.5) == (b[0] > 0.5)
            for a, b in rows
        ]
        return sum(same) / len(same)
    cosines = [
        float(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)))
        / float(np.sqrt(sum(float(x) ** 2 for x in a)) * np.sqrt(sum(float(y) ** 2 for y in b)))
        for a, b in rows
    ]
    return sum(cosines) / len(cosines)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spread", [0.01, 0.3, 3.0])
def test_metric_is_its_definition_and_the_worst_output_counts(
    metric: Metric, spread: float
) -> None:
    found, wanted = runs(int(100 * spread), spread)
    values = [slowly(metric, found, wanted, name) for name in ("scores", "gate")]
    worst = min(values) if metric in ("argmax", "cosine") else max(values)
    for name, value in zip(("scores", "gate"), values, strict=True):
        assert compared(metric, found, wanted, [name]).value == pytest.approx(value, rel=1e-6)
    assert compared(metric, found, wanted, ["scores", "gate"]).value == pytest.approx(
        worst, rel=1e-6
    )
    loss = loss_of(metric, worst)
    assert loss == pytest.approx(1 - worst if metric in ("argmax", "cosine") else worst)
    assert loss > 0 or metric == "argmax"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.0], [0.0, 0.0]], np.float32),
        np.array([[np.inf, -np.inf, np.nan, 1.0]], np.float32),
        np.full((3, 2), 7.0, np.float32),
        np.zeros((2, 0), np.float32),
        np.float32(0.3),
        np.array([[3, 1]], np.int64),
        np.array([True, False]),
    ],
    ids=[
        "zeros in it",
        "not finite",
        "never changing",
        "empty",
        "one number",
        "whole numbers",
        "yes and no",
    ],
)
def test_equal_outputs_lose_nothing(metric: Metric, array: NDArray[Any]) -> None:
    run = [{"y": np.asarray(array)}]
    assert loss_of(metric, compared(metric, run, run, ["y"]).value) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_output_that_is_no_longer_finite_is_infinitely_far(metric: Metric, broken: float) -> None:
    wanted = [{"y": np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)}]
    found = [{"y": np.array([[broken, 0.9], [0.8, 0.2]], np.float32)}]
    loss = loss_of(metric, compared(metric, found, wanted, ["y"]).value)
    if metric == "argmax":
        # A decision is all that counts; minus infinity leaves it as it was.
        assert loss == (0.0 if broken == -np.inf else 0.5)
    elif metric == "cosine":
        assert loss == pytest.approx(1.0)  # one of two rows has -1, the other 1
    else:
        assert loss == np.inf


def test_output_that_never_changes_has_no_spread_to_be_relative_to() -> None:
    wanted = [{"y": np.full((4,), 2.0, np.float32)}]
    found = [{"y": np.full((4,), 2.5, np.float32)}]
    assert compared("output_change", found, wanted, ["y"]).value == pytest.approx(0.5)


def test_decisions_are_taken_along_the_dimension_of_the_classes() -> None:
    wanted = [
        {"y": np.array([[[1.0, 5.0, 2.0], [4.0, 0.0, 3.0]]], np.float32)}
    ]  # (1, 2 classes, 3 steps)
    found = [{"y": np.array([[[1.0, 5.0, 9.0], [4.0, 0.0, 3.0]]], np.float32)}]
    assert compared("argmax", found, wanted, ["y"], {"y": 1}).value == pytest.approx(2 / 3)
    assert compared("argmax", found, wanted, ["y"]).value == pytest.approx(1 / 2)
    ids = [{"y": np.array([[3, 1, 7, 7]], np.int64)}]
    assert compared(
        "argmax", [{"y": np.array([[3, 1, 7, 8]], np.int64)}], ids, ["y"]
    ).value == pytest.approx(3 / 4)


@pytest.mark.parametrize("metric", METRICS)
def test_interval_holds_the_loss_and_the_loss_of_as_many_again(metric: Metric) -> None:
    def drawn(seed: int, count: int) -> tuple[list[Outputs], list[Outputs]]:
        generator = np.random.default_rng(seed)
        wanted = [{"y": generator.normal(0, 1, (9, 4))} for _ in range(count)]
        # Runs differ in how far they are off, as recorded ones do.
        return [
            {"y": run["y"] + generator.normal(0, 0.1 + 0.2 * (i % 3), (9, 4))}
            for i, run in enumerate(wanted)
        ], wanted

    truth = loss_of(metric, compared(metric, *drawn(0, 3000), ["y"]).value)
    inside = 0
    for seed in range(1, 41):
        found = compared(metric, *drawn(seed, 30), ["y"])
        assert found.estimate is not None
        assert (found.estimate.count, found.output) == (270, "y")
        assert found.estimate.unit == ("decisions" if metric == "argmax" else "rows")
        assert found.estimate.low <= loss_of(metric, found.value) <= found.estimate.high
        inside += found.estimate.low <= truth <= found.estimate.high
    assert inside >= 34  # 38 of 40 are to be expected


def test_too_few_rows_have_no_interval_and_decisions_always_have_one() -> None:
    wanted = [{"y": np.array([[0.1, 0.9], [0.8, 0.2]])}]
    found = [{"y": np.array([[0.2, 0.9], [0.8, 0.2]])}]
    assert compared("output_change", found, wanted, ["y"]).estimate is None
    estimate = compared("argmax", found, wanted, ["y"]).estimate
    assert estimate is not None
    assert (estimate.low, estimate.count) == (0.0, 2)
    assert estimate.high > 0.5


def test_infinities_on_both_sides_are_no_difference_and_on_one_side_an_infinite_one() -> None:
    def outputs(*values: float) -> list[Outputs]:
        return [{"y": np.array(values, np.float32)}]

    assert difference(outputs(np.inf, -np.inf, np.nan), outputs(np.inf, -np.inf, np.nan)) == 0
    assert difference(outputs(np.inf, 1), outputs(-np.inf, 1)) == np.inf
    assert difference(outputs(1, 2), outputs(1, np.nan)) == np.inf


@pytest.mark.parametrize("metric", METRICS)
def test_windows_of_a_stream_have_the_interval_of_one_run(metric: Metric) -> None:
    generator = np.random.default_rng(6)
    whole = [{"y": generator.standard_normal((400, 5))} for _ in range(3)]
    found = [{"y": run["y"] + 0.5 * np.roll(run["y"], 1, axis=0)} for run in whole]
    windows = [
        [{"y": part} for run in side for part in np.split(run["y"], 100)] for side in (found, whole)
    ]
    # Decisions are shares of windows, whatever stream these are of.
    expected = compared(metric, *((found, whole) if metric != "argmax" else windows), ["y"])
    together = compared(metric, *windows, ["y"], together=[100] * 3)
    assert together.value == pytest.approx(expected.value, rel=1e-12)
    assert (together.output, together.estimate) == (expected.output, expected.estimate)
