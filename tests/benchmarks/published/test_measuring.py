"""A published model through the whole pipeline, and what is reported of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.published.exporting import export
from benchmarks.published.measuring import CHANGE, Row, compared, measured
from benchmarks.published.model import Published, Speakers, Streams, Task
from benchmarks.speech import Spoken, speech
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from tests.benchmarks.published.packages import package

WIDTH, UNITS, STEPS = 4, 24, 12


def never(number: int) -> Spoken:
    return speech(1.0, number)


class Sign(nn.Module):
    """Whether the sum so far is positive; most of the LSTM's units do nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(WIDTH, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, 2)
        with torch.no_grad():
            self.head.weight[:, 8:] = 0
            self.head.bias[:] = 0

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of every step, and the states after the last."""
        steps, (hidden, cell) = self.lstm(x, (hidden, cell))
        return self.head(steps), hidden, cell


def written(weights: Path, graph: Path) -> None:
    state = torch.zeros(1, 1, UNITS)
    free = {
        "x": ("batch", "steps", None), "hidden": (None, "batch", None),
        "cell": (None, "batch", None), "scores": ("batch", "steps", None),
        "hidden_next": (None, "batch", None), "cell_next": (None, "batch", None),
    }  # fmt: skip
    export(Sign(), (torch.zeros(1, 3, WIDTH), state, state), graph, free)


def windows(speakers: Speakers, numbers: range) -> Streams:
    """The targets are what the original itself decides."""
    streams, module = [], Sign().eval()
    for number in numbers:
        generator = np.random.default_rng(number)
        stream = list[NamedArrays]()
        states = (torch.zeros(1, 1, UNITS), torch.zeros(1, 1, UNITS))
        for _ in range(4):
            x = generator.normal(size=(1, STEPS, WIDTH)).astype(np.float32)
            with torch.no_grad():
                scores, *states = module(torch.from_numpy(x), *states)
            stream.append({"x": x, "target:scores": scores.argmax(-1).numpy()})
        streams.append(stream)
    return streams


STATES = {
    "hidden": ("hidden_next", (1, 1, UNITS)),
    "cell": ("cell_next", (1, 1, UNITS)),
}


def score(graph: GraphSession, speakers: Speakers) -> float:
    return float(graph.path.stat().st_size)


def model(task: Task | None = None, limit: tuple[str, float] | None = None) -> Published:
    return Published(
        "made-up", "made_up/weights.bin", windows, task, limit, written=written, states=STATES,
        calibration=range(6),
    )  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "made-up", {"made_up/weights.bin": b""})
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_a_model_is_compressed_and_reported_with_its_task() -> None:
    task = Task("bytes", "lower", "nothing", score)
    row = measured(model(task, ("accuracy", 0.05)), never, 0.1, 0)
    assert "skipped" not in row, row
    assert row["model"] == "made-up: weights.bin"
    assert row["budget"] == {"metric": "accuracy", "loss": 0.05}
    assert (row["metric"], row["version"], row["nested"]) == ("bytes", "1.2", 0)
    variants = {each["variant"]: each for each in rows(row)}
    assert row["original"] == variants["original"]["score"]
    assert row["compressed"] == variants[row["variant"]]["score"]
    assert row["compressed"] < row["original"]
    assert row["parameters_after"] < row["parameters_before"]
    assert row["over_original"] == variants[row["variant"]]["speedup"]
    assert variants["original"]["change"] == variants["original"]["streamed_change"] == 0


@pytest.mark.usefixtures("installed")
def test_without_a_task_the_change_of_outputs_is_the_score() -> None:
    row = measured(model(), never, 0.2, 0)
    assert "skipped" not in row, row
    assert row["budget"] == {"metric": "output_change", "loss": 0.2}
    assert (row["metric"], row["original"]) == (CHANGE, 0)
    for each in rows(row):
        assert each["score"] == 100 * each["change"]
        # The product judges single runs, as the benchmark does.
        assert each["change"] == pytest.approx(each["loss"], abs=1e-4)
        assert each["variant"] == "original" or each["streamed_change"] > 0


def test_a_package_that_is_not_installed_is_skipped() -> None:
    assert measured(model(), never, 0.1, 0) == {
        "model": "made-up: weights.bin",
        "skipped": "the package made-up is not installed",
    }


@pytest.mark.usefixtures("installed")
def test_what_the_product_refuses_is_skipped_with_its_reason() -> None:
    row = measured(model(limit=("ctc_error_rate", 0.1)), lambda number: never(0), 0.1, 0)
    assert row["version"] == "1.2"
    assert "target:scores" in str(row["skipped"])


def rows(row: Row) -> list[Row]:
    variants = row["variants"]
    assert isinstance(variants, list)
    return variants


def test_the_fastest_compressed_form_is_compared() -> None:
    def form(name: str, speedup: float, over: float | None, score: float) -> Row:
        return {
            "variant": name, "speedup": speedup, "over_int8": over, "score": score, "steady": True,
            "parameters": 10 if name.startswith("compressed") else 30,
        }  # fmt: skip

    forms = [
        form("original", 1.0, 0.5, 90.0), form("original-int8", 2.0, 1.0, 89.0),
        form("compressed", 2.5, 1.25, 88.5), form("compressed-int8", 4.0, 2.0, 88.0),
    ]  # fmt: skip
    found = compared(model(), forms)
    assert (found["variant"], found["compressed"], found["over_int8"]) == (
        "compressed-int8", 88.0, 2.0,
    )  # fmt: skip
    assert (found["original"], found["int8"], found["over_original"]) == (90.0, 89.0, 4.0)
    assert (found["parameters_before"], found["parameters_after"]) == (30, 10)
    assert found["steady"] is True
    without = compared(model(), [forms[0], forms[2] | {"over_int8": None}])
    assert (without["variant"], without["int8"], without["over_int8"]) == ("compressed", None, None)
