"""The verdict against what was measured: a gain is called a gain, a loss a loss, and no slower model fast."""

from __future__ import annotations

import pytest

from compress.measurement import verdict_of
from store.manifest import LatencyRecord, Metric, PartRecord, Task, VariantName, VariantRecord
from store.quality import scale_of
from store.wording import one_run

TASKS: list[tuple[Task, Metric]] = [
    ("language-model", "perplexity"), ("question-answering", "f1"), ("graph", "output_change"),
]  # fmt: skip
UNSURE = [
    (0.50, 0.60, 0.70),
    (0.93, 0.95, 0.97),
    (0.97, 0.99, 1.04),
    (0.98, 1.01, 1.03),
    (0.99, 1.60, 2.40),
    (1.0, 1.1, 1.2),
]
"""Intervals of speed-ups, with their median: all below 1, or 1 lies within or at the end."""


def variant(
    name: VariantName, size: int, interval: tuple[float, float, float] = (1.0, 1.0, 1.0), loss: float = 0.0
) -> VariantRecord:
    low, median, high = interval
    return VariantRecord(
        sizes={"units:lstm0": size},
        name=name,
        file=f"{name}.onnx",
        precision="int8" if name.endswith("int8") else "float32",
        size_bytes=size,
        parts=[PartRecord(name="LSTM layer 1", width=size, parameters=size, mult_adds=size)],
        metrics={},
        loss=loss,
        latency=[
            LatencyRecord(
                steps=30, batch=1, threads=1, median_ms=6 / median, p90_ms=7 / median,
                speedup_low=low, speedup=median, speedup_high=high,
            )
        ],
    )  # fmt: skip


def verdict(task: Task, metric: Metric, *others: VariantRecord) -> str:
    return verdict_of([variant("original", 1000), *others], scale_of(metric), one_run(task, 30, 1))


@pytest.mark.parametrize(("task", "metric"), TASKS)
@pytest.mark.parametrize("interval", UNSURE)
@pytest.mark.parametrize(
    "plain", [None, (0.90, 0.95, 0.99), (1.9, 2.0, 2.1)], ids=["alone", "int8 slower", "int8 faster"]
)
@pytest.mark.parametrize("small", [False, True], ids=["float32", "both"])
def test_a_model_that_is_not_surely_faster_is_never_called_fast(
    task: Task,
    metric: Metric,
    interval: tuple[float, float, float],
    plain: tuple[float, float, float] | None,
    small: bool,
) -> None:
    others = [variant("compressed", 500, interval)]
    others += [] if plain is None else [variant("original-int8", 250, plain)]
    others += [variant("compressed-int8", 125, interval)] if small else []
    told = verdict(task, metric, *others)
    named = "compressed-int8" if small else "compressed"
    run = one_run(task, 30, 1)
    assert told.startswith(
        f"not worth pruning for speed: {named} is no faster than the original ({interval[1]:.2f}x; {run}, one thread) and "
    )
    # What is said of int8 alone comes last, and is its own figure.
    assert "x as fast" not in told
    assert told.count("faster") == told.count("no faster") == 1


@pytest.mark.parametrize(("task", "metric"), TASKS)
def test_a_model_that_is_surely_faster_is_called_so(task: Task, metric: Metric) -> None:
    told = verdict(task, metric, variant("compressed", 500, (1.01, 1.05, 1.10)))
    assert told.startswith("compressed is 1.05x as fast as the original (")


@pytest.mark.parametrize(("task", "metric"), TASKS)
def test_of_two_the_one_that_is_surely_faster_is_spoken_of(task: Task, metric: Metric) -> None:
    # The smaller file straddles 1 and does not reach the other: size alone must not put it into the sentence.
    slow, fast = variant("compressed-int8", 125, (0.9, 1.0, 1.1)), variant("compressed", 500, (1.8, 2.0, 2.2))
    assert verdict(task, metric, fast, slow).startswith("compressed is 2.0x as fast as the original (")


@pytest.mark.parametrize(
    ("task", "metric", "loss", "plain", "words"),
    [
        ("question-answering", "f1", 0.58, 0.02, "2.0x smaller, at a fall of F1 of 0.58; int8 alone gives 1.20x and 4.0x "
         "smaller, at a fall of F1 of 0.02"),
        ("question-answering", "f1", -0.58, -0.02, "2.0x smaller, with F1 0.58 higher; int8 alone gives 1.20x and 4.0x "
         "smaller, with F1 0.02 higher"),
        ("language-model", "perplexity", 0.042, 0.0001, "2.0x smaller, at a rise of perplexity of 4.20%; int8 alone gives "
         "1.20x and 4.0x smaller, at a rise of perplexity of 0.01%"),
        ("language-model", "perplexity", -0.042, -0.0001, "2.0x smaller, with perplexity 4.20% lower; int8 alone gives "
         "1.20x and 4.0x smaller, with perplexity 0.01% lower"),
        ("graph", "command:wer", -0.1, 0.1, "2.0x smaller, with wer 10.00% better; int8 alone gives 1.20x and 4.0x smaller, at a "
         "worsening of wer of 10.00%"),
    ],
)  # fmt: skip
def test_a_gain_and_a_loss_are_told_as_what_they_are(
    task: Task, metric: Metric, loss: float, plain: float, words: str
) -> None:
    told = verdict(
        task,
        metric,
        variant("original-int8", 250, (1.1, 1.2, 1.3), plain),
        variant("compressed", 500, (2.9, 3.0, 3.1), loss),
    )
    assert words in told
