"""How a loss is told: one below zero is a gain, and is said to be one."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from isslim.types.kinds.registry import kinds
from isslim.types.manifest import Estimate, Metric
from isslim.types.quality import compared_loss, metric_format_of, resolve_budget
from isslim.types.recipe import Budget


@pytest.mark.parametrize(
    ("metric", "loss", "sentence", "cell"),
    [
        ("f1", 0.58, "at a fall of F1 of 0.58", "-0.58"),
        ("f1", -0.58, "with F1 0.58 higher", "+0.58"),
        ("f1", 0.0, "at a fall of F1 of 0.00", "+0.00"),
        ("f1", -0.001, "at a fall of F1 of 0.00", "+0.00"),
        ("perplexity", 0.042, "at a rise of perplexity of 4.20%", "+4.20%"),
        ("perplexity", -0.042, "with perplexity 4.20% lower", "-4.20%"),
        ("perplexity", -1e-9, "at a rise of perplexity of 0.00%", "+0.00%"),
        ("command:wer", 0.042, "at a worsening of wer of 4.20%", "4.20% worse"),
        ("command:wer", -0.042, "with wer 4.20% better", "4.20% better"),
        ("command:wer", 0.0, "at a worsening of wer of 0.00%", "+0.00%"),
        ("output_change", 0.013, "at a change of outputs of 1.30%", "+1.30%"),
        ("argmax", 0.013, "at a share of differing decisions of 1.30%", "+1.30%"),
        ("cosine", 2e-5, "at a cosine distance of 2.00e-05", "2.00e-05"),
        ("mean_squared_error", 0.25, "at a mean squared error of 0.25", "0.25"),
        ("accuracy", 0.013, "at a fall of accuracy of 1.30", "-1.30"),
        ("accuracy", -0.013, "with accuracy 1.30 higher", "+1.30"),
        ("f1_macro", 0.0, "at a fall of macro F1 of 0.00", "+0.00"),
        ("auc", 0.0004, "at a fall of AUC of 0.04", "-0.04"),
        ("ctc_error_rate", 0.02, "at a rise of CTC error rate of 2.00", "+2.00"),
        ("ctc_error_rate", -0.02, "with CTC error rate 2.00 lower", "-2.00"),
        (
            "target_squared_error",
            0.05,
            "at a rise of the squared error on targets of 5.00%",
            "+5.00%",
        ),
    ],
)
def test_a_loss_is_told_by_its_direction(
    metric: Metric, loss: float, sentence: str, cell: str
) -> None:
    scale = metric_format_of(metric)
    assert scale.in_sentence(loss) == sentence
    assert scale.change(loss) == cell
    assert scale.describe(70.0, loss) == f"{scale.name} {scale.value(70.0)} ({cell})"


def test_the_head_of_a_column_fits_both_signs() -> None:
    assert metric_format_of("f1").change_name == "change of F1"
    assert metric_format_of("perplexity").change_name == "change of perplexity"
    assert metric_format_of("command:wer").change_name == "change of wer"
    assert metric_format_of("output_change").change_name == "change of outputs"
    assert metric_format_of("cosine").change_name == "cosine distance"


@pytest.mark.parametrize("metric", [name for kind in kinds() for name in kind.metrics])
def test_what_is_no_number_is_never_a_gain(metric: Metric) -> None:
    assert metric_format_of(metric).in_sentence(
        math.nan
    ) == f"at a {metric_format_of(metric).loss_name} of nan" + (
        "%" if "%" in metric_format_of(metric).loss(1.0) else ""
    )


def test_loss_stands_with_its_interval_and_sample() -> None:
    estimate = Estimate(low=0.042, high=0.053, count=82430, unit="tokens", method="block bootstrap")
    assert (
        metric_format_of("perplexity").with_interval(0.0473, estimate)
        == "+4.73% (95 %: +4.20% to +5.30%, 82,430 tokens)"
    )
    of_questions = Estimate(
        low=-0.2, high=1.3, count=1000, unit="questions", method="block bootstrap"
    )
    assert (
        metric_format_of("f1").with_interval(0.58, of_questions)
        == "-0.58 (95 %: -1.30 to +0.20, 1,000 questions)"
    )
    assert metric_format_of("cosine").with_interval(2e-3, None) == "2.00e-03"


@pytest.mark.parametrize(
    ("metric", "loss", "limit", "told"),
    [
        ("perplexity", 0.0200004, 0.02, ("2.00004%", "2.00000%")),
        ("perplexity", 0.031, 0.02, ("3.10%", "2.00%")),
        ("f1", 1.004, 1.0, ("1.004", "1.000")),
        ("mean_squared_error", 0.0200001, 0.02, ("0.0200001", "0.02")),
    ],
)
def test_loss_above_a_limit_never_reads_like_it(
    metric: Metric, loss: float, limit: float, told: tuple[str, str]
) -> None:
    assert metric_format_of(metric).against(loss, limit) == told


def test_upper_end_counts_where_it_is_asked_for_or_where_the_sample_is_small() -> None:
    few = Estimate(low=0.0, high=0.09, count=999, unit="decisions", method="wilson")
    many = few.model_copy(update={"count": 1000})
    for budget, estimate, expected in (
        (Budget(output_change=0.1), few, 0.09),
        (Budget(output_change=0.1), many, 0.02),
        (Budget(output_change=0.1, confident=True), many, 0.09),
        (Budget(output_change=0.1, confident=False), few, 0.02),
        (Budget(output_change=0.1, confident=True), None, 0.02),
    ):
        assert compared_loss(budget, 0.02, estimate) == expected


def test_confidence_alone_leaves_the_default_limit() -> None:
    assert resolve_budget("graph", Budget(confident=True)) == Budget(
        output_change=0.02, confident=True
    )


@pytest.mark.parametrize(
    ("task", "given", "budget"),
    [
        ("language-model", {"limit": "quality", "value": 0.1}, Budget(perplexity_rise=0.1)),
        ("question-answering", {"loss": 2.0}, Budget(f1_fall=2.0)),
        (
            "graph",
            {"limit": "quality", "value": 0.1, "confident": True},
            Budget(output_change=0.1, confident=True),
        ),
        ("graph", {"limit": "size", "value": 0.4}, Budget(size_ratio=0.4)),
        ("language-model", {"limit": "speed", "value": 3.0}, Budget(speedup=3.0)),
    ],
)
def test_budget_is_read_by_what_it_limits(
    task: str, given: dict[str, object], budget: Budget
) -> None:
    assert resolve_budget(task, Budget.model_validate(given)) == budget


@pytest.mark.parametrize(
    "given",
    [
        {"limit": "beauty", "value": 1.0},
        {"limit": "quality"},
        {"limit": "size", "value": 2.0},
        {"value": 1.0},
    ],
)
def test_budget_of_an_unknown_or_impossible_limit_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate(given)
