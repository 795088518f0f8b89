"""How a loss is told: one below zero is a gain, and is said to be one."""

from __future__ import annotations

import math

import pytest

from store.manifest import Metric
from store.quality import SCALES, scale_of


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
    ],
)
def test_a_loss_is_told_by_its_direction(metric: Metric, loss: float, sentence: str, cell: str) -> None:
    scale = scale_of(metric)
    assert scale.at(loss) == sentence
    assert scale.change(loss) == cell
    assert scale.told(70.0, loss) == f"{scale.name} {scale.value(70.0)} ({cell})"


def test_the_head_of_a_column_fits_both_signs() -> None:
    assert SCALES["f1"].change_name == "change of F1"
    assert SCALES["perplexity"].change_name == "change of perplexity"
    assert scale_of("command:wer").change_name == "change of wer"
    assert SCALES["output_change"].change_name == "change of outputs"
    assert SCALES["cosine"].change_name == "cosine distance"


@pytest.mark.parametrize("metric", SCALES)
def test_what_is_no_number_is_never_a_gain(metric: Metric) -> None:
    assert scale_of(metric).at(math.nan) == f"at a {scale_of(metric).loss_name} of nan" + (
        "%" if "%" in SCALES[metric].loss(1.0) else ""
    )
