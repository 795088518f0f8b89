"""Recorded runs: calibration and held-out runs are never the same, and faulty ones are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isslim.compress.errors import NothingToEvaluate, OutputsUnusable, RunsUnusable
from isslim.compress.kinds.graphs.sequences import digest, part, sequences_of
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.graphs.values import faults_of, without_content
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays, write_runs
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import inputs, layer_graph, stateful_graph

SIZE = Recipe(budget=Budget(size_ratio=0.9))


def task_of(
    graph: Path,
    calibration: list[NamedArrays] | None,
    held_out: list[NamedArrays] | None = None,
    recipe: Recipe = SIZE,
) -> GraphTask:
    """A task on these runs."""
    paths: list[Path | None] = []
    for name, runs in (("calibration", calibration), ("held_out", held_out)):
        path = None if runs is None else graph.with_name(f"{name}.npz")
        if path is not None and runs is not None:
            write_runs(path, runs)
        paths.append(path)
    return GraphTask(PreparedGraph(graph), recipe, *paths)


def sequences(runs: list[NamedArrays]) -> set[bytes]:
    """Every sequence of some runs."""
    return {row.tobytes() for run in runs for row in run["x"]}


def steps(runs: list[NamedArrays]) -> set[bytes]:
    """Every step of every sequence of some runs."""
    return {step.tobytes() for run in runs for row in run["x"] for step in row}


@pytest.mark.parametrize(
    ("count", "batch", "observed", "judged", "words"),
    [
        (1, 10, 8, 2, "the last fifth of the sequences of the uploaded run"),
        (3, 5, 12, 3, "the last fifth of the sequences of every uploaded run"),
        (3, 1, 2, 1, "the last part of the uploaded inputs"),
        (20, 2, 32, 8, "the last fifth of the uploaded inputs"),
    ],
)
def test_no_sequence_is_calibration_and_held_out_data(
    count: int, batch: int, observed: int, judged: int, words: str, tmp_path: Path
) -> None:
    task = task_of(layer_graph(tmp_path), inputs(count, batch, steps=20))
    assert words in task.origin.held_out
    seen, held = sequences(task.runs.calibration), sequences(task.runs.held_out)
    assert (len(seen), len(held)) == (observed, judged)
    assert not seen & held
    assert task.origin.not_evaluated is None


def test_one_run_of_one_sequence_is_cut_by_steps(tmp_path: Path) -> None:
    task = task_of(layer_graph(tmp_path), inputs(1, 1, steps=20))
    assert "(10 of 20 steps)" in task.origin.held_out
    assert len(steps(task.runs.calibration)) == len(steps(task.runs.held_out)) == 10
    assert not steps(task.runs.calibration) & steps(task.runs.held_out)


def test_states_that_begin_a_run_go_with_its_sequences_and_stay_with_its_steps(
    tmp_path: Path,
) -> None:
    graph = stateful_graph(tmp_path)
    task = task_of(graph, inputs(1, 5, states=True))
    assert [run["h0"].shape for run in (*task.runs.calibration, *task.runs.held_out)] == [
        (1, 4, 12),
        (1, 1, 12),
    ]
    task = task_of(graph, inputs(1, 1, states=True))
    assert [run["x"].shape for run in (*task.runs.calibration, *task.runs.held_out)] == [
        (1, 4, 6),
        (1, 5, 6),
    ]


@pytest.mark.parametrize(
    "options", [{"fixed": True}, {"last": True}], ids=["fixed shape", "one answer a sequence"]
)
def test_run_that_cannot_be_divided_is_not_evaluated_and_a_budget_of_quality_is_refused(
    options: dict[str, bool], tmp_path: Path
) -> None:
    graph, runs = layer_graph(tmp_path, **options), inputs(1, 1, steps=20)
    task = task_of(graph, runs)
    assert task.origin.not_evaluated is not None
    assert "cannot be divided" in task.origin.not_evaluated
    assert task.origin.not_evaluated.startswith("one recorded run was sent, ")
    many = task_of(graph, [*runs, *runs, *runs]).origin
    assert many.not_evaluated is not None
    assert many.not_evaluated.startswith("of 3 recorded runs that were sent, one is left, ")
    assert many.left_out == ("run 1 and 1 more are run 0 once more",)
    for budget in (Budget(output_change=0.02), Budget(output_change=5.0)):
        with pytest.raises(NothingToEvaluate, match="Send other runs as `held_out`"):
            task_of(graph, runs, recipe=Recipe(budget=budget))
    assert task_of(graph, runs, inputs(1, 1, steps=20, seed=5)).origin.not_evaluated is None


def test_rows_that_are_too_few_for_an_interval_keep_no_budget_of_quality(tmp_path: Path) -> None:
    graph, runs = layer_graph(tmp_path), inputs(1, 1, steps=9)
    with pytest.raises(
        NothingToEvaluate, match="quality is evaluated on 5 rows of outputs, too few"
    ) as refused:
        task_of(graph, runs, recipe=Recipe(budget=Budget(output_change=0.02)))
    assert "set `confident` to false" in refused.value.detail
    asked = Recipe(budget=Budget(output_change=0.02, confident=False))
    for recipe in (asked, SIZE):
        assert (
            "quality is evaluated on 5 rows"
            in task_of(graph, runs, recipe=recipe).origin.warnings[0]
        )
    assert not task_of(graph, inputs(1, 1, steps=20)).origin.warnings


@pytest.mark.parametrize(
    ("confident", "limit", "wanted"),
    [(None, 0.02, 189), (True, 0.02, 189), (None, 0.001, 1000), (True, 0.001, 3838)],
)
def test_decisions_that_could_show_nothing_end_a_job_at_once_with_the_number_that_could(
    confident: bool | None, limit: float, wanted: int, tmp_path: Path
) -> None:
    def asked(count: int) -> GraphTask:
        recipe = Recipe(metric="argmax", budget=Budget(output_change=limit, confident=confident))
        return task_of(graph, inputs(20), inputs(1, 1, steps=count, seed=3), recipe=recipe)

    graph = layer_graph(tmp_path)
    with pytest.raises(NothingToEvaluate, match=f"at least {wanted:,} decisions") as refused:
        asked(wanted - 1)
    assert "even if none of them differed" in refused.value.detail
    assert asked(wanted).origin.evaluated_outputs == {"y": 2}


def test_sequences_are_known_by_what_the_graph_makes_of_them(tmp_path: Path) -> None:
    runs = inputs(2, 4)
    assert sequences_of(GraphSession(layer_graph(tmp_path)), runs, ["y"]) == {"x": 0}
    assert sequences_of(GraphSession(layer_graph(tmp_path, mixed=True)), runs, ["y"]) is None
    graph = GraphSession(stateful_graph(tmp_path))
    assert sequences_of(graph, inputs(1, 3, states=True), ["y", "hn", "cn"]) == {
        "x": 0, "h0": 1, "c0": 1,
    }  # fmt: skip


def test_runs_that_were_sent_before_are_not_evaluated(tmp_path: Path) -> None:
    graph, runs = layer_graph(tmp_path), inputs(8, 1)
    twice = task_of(graph, [*runs, *runs])
    assert len(twice.runs.calibration) + len(twice.runs.held_out) == 8
    assert "run 9 is run 1 once more" in twice.origin.left_out
    both = task_of(graph, runs[:5], runs[3:])
    assert (len(both.runs.calibration), len(both.runs.held_out)) == (5, 3)
    assert "held-out run 0 is run 3 of the calibration inputs" in both.origin.left_out
    many = task_of(graph, runs[:1] * 200, [*inputs(1, 1, seed=7), *runs[:1] * 200]).origin.left_out
    assert many[0] == "run 1 and 198 more are run 0 once more"
    assert len(many) == 3  # not a line for each
    same = task_of(graph, runs, runs)
    assert not sequences(same.runs.calibration) & sequences(same.runs.held_out)
    assert "the last" in same.origin.held_out
    tiled = task_of(graph, [{"x": np.repeat(inputs(1, 1, steps=20)[0]["x"], 6, 0)}])
    assert "steps" in tiled.origin.held_out  # six times the same sequence is one
    # A sequence of the calibration inputs in another batch.
    mixed = {"x": np.concatenate([runs[0]["x"], inputs(1, 1, seed=7)[0]["x"]])}
    held = task_of(graph, [{"x": np.concatenate([runs[0]["x"], runs[1]["x"]])}], [mixed])
    assert held.runs.held_out[0]["x"].shape == (1, 9, 6)


def test_held_out_inputs_alone_are_divided_too(tmp_path: Path) -> None:
    task = task_of(layer_graph(tmp_path), None, inputs(10))
    assert not sequences(task.runs.calibration) & sequences(task.runs.held_out)
    assert len(task.runs.calibration) == 8


def test_few_rows_of_outputs_hold_out_more_runs(tmp_path: Path) -> None:
    task = task_of(layer_graph(tmp_path, last=True), inputs(12, 1))
    assert (len(task.runs.calibration), len(task.runs.held_out)) == (6, 6)


def spoilt(value: float, place: tuple[int, ...] = (0, 0, 0), count: int = 1) -> list[NamedArrays]:
    """Twenty runs, from run 7 on some with a value that is no measurement."""
    runs = inputs(20)
    for run in runs[7 : 7 + count]:
        run["x"][place] = value
    return runs


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "1 value is NaN, at [1, 2, 3]"),
        (np.inf, "1 value is infinite, at [1, 2, 3]"),
        (-np.inf, "1 value is infinite"),
        (1e30, "1 value is over 1e+07, far above all others, at [1, 2, 3]"),
        (-3.4e38, "far above all others"),
    ],
)
def test_run_that_holds_no_measurement_is_left_out_by_number(
    value: float, words: str, tmp_path: Path
) -> None:
    task = task_of(layer_graph(tmp_path), spoilt(value, (1, 2, 3)))
    (line,) = task.origin.left_out
    assert line.startswith("run 7, input x: ")
    assert words in line
    assert len(task.runs.calibration) + len(task.runs.held_out) == 19
    with pytest.raises(RunsUnusable, match="at most 20% are left out") as refused:
        task_of(layer_graph(tmp_path), spoilt(value, count=6))
    assert [issue.split(",")[0] for issue in refused.value.issues] == [
        f"run {number}" for number in range(7, 13)
    ]


def test_what_belongs_to_an_input_is_no_fault() -> None:
    def found(*arrays: NDArray[np.float32]) -> dict[int, list[str]]:
        return faults_of([{"x": array} for array in arrays])

    plain, masked = np.zeros((2, 3), np.float32), np.array([[0, -np.inf, -np.inf]], np.float32)
    assert not found(plain, plain, masked)  # a mask, here and there
    assert not found(plain, plain, np.where(np.isinf(masked), np.float32(-1e9), masked))
    ones = np.ones((2, 3), np.float32)
    missing = np.array([[1, np.nan]], np.float32)
    assert list(found(missing, missing, ones)) == [0, 1]
    assert not faults_of(
        [{"x": array} for array in (missing, missing, ones)], {"IsNaN"}
    )  # the graph is meant to read it
    assert list(found(ones, missing, ones)) == [1]
    rows = [{"x": array} for array in (missing, ones, ones)]
    assert not faults_of(rows, {"IsNaN"})  # a third of the runs is more than a slip
    assert list(faults_of([*rows, *[{"x": ones}] * 3], {"IsNaN"})) == [0]
    biased = np.array([[-0.5, -np.inf, -1.0]], np.float32)
    assert not found(biased, biased, ones)  # a mask and a bias in one
    assert list(found(biased, ones, ones, ones)) == [0]
    assert not found(biased)
    assert list(found(-biased, -biased)) == [0, 1]
    assert not faults_of(
        [{"ids": np.array([10**9])}, {"ids": np.array([1])}, {"ids": np.array([2])}]
    )


def test_run_on_which_the_original_gives_no_numbers_is_left_out(tmp_path: Path) -> None:
    graph, runs = layer_graph(tmp_path, log=True), inputs(20)
    runs[3]["x"][1, 4, 0] = -20
    task = task_of(graph, runs)
    (line,) = task.origin.left_out
    assert (
        line
        == "run 3, output y of the original: 5 of 90 values are NaN or infinite, the first at [1, "
        "4, 0]"
    )
    for run in runs:
        run["x"][1, 4, 0] = -20
    with pytest.raises(
        OutputsUnusable, match="not finite on 20 of 20 runs, such as run 0: 5 of 90 values"
    ):
        task_of(graph, runs)


def test_nan_in_the_only_run_is_refused_though_its_outputs_are_finite(tmp_path: Path) -> None:
    graph, run = layer_graph(tmp_path), inputs(1, 1, steps=20)[0]
    run["x"][0, 3, 2] = np.nan
    assert np.isfinite(GraphSession(graph).run(run)["y"]).all()
    with pytest.raises(RunsUnusable, match=r"run 0, input x: 1 value is NaN, at \[0, 3, 2\]"):
        task_of(graph, [run])


def test_values_that_most_runs_hold_are_refused_where_a_layer_reads_them(tmp_path: Path) -> None:
    runs = inputs(20)
    for run in runs:
        run["x"][0, 0, 0] = 1e30
    task = task_of(layer_graph(tmp_path), runs)
    with pytest.raises(
        RunsUnusable,
        match=r"16 of 16 recorded runs .* /layer/LSTM.forward reads values up to 1e\+30",
    ):
        task.collect_activations(lambda done, message: None)


def test_runs_that_do_not_fit_are_named_and_all_of_them(tmp_path: Path) -> None:
    graph, runs = layer_graph(tmp_path), inputs(12)
    runs[3] = {"z": runs[3]["x"]}
    runs[7] = {"x": runs[7]["x"][..., :5]}
    with pytest.raises(RunsUnusable, match="those of the graph: run 3: input 'x' is missing") as it:
        task_of(graph, runs)
    assert it.value.issues[1] == "run 3: there is no input 'z'"
    assert it.value.issues[2].startswith("run 7: input 'x' has the shape")
    with pytest.raises(RunsUnusable, match=r"recorded held-out inputs .*: held-out run 0: "):
        task_of(graph, inputs(12), [{"z": np.zeros(2)}, *inputs(1)])


def test_runs_of_one_number_are_told(tmp_path: Path) -> None:
    graph, real = layer_graph(tmp_path), inputs(6)
    zeros = [{"x": np.zeros((2, 9 + each, 6), np.float32)} for each in range(6)]
    words = "all recorded runs hold one number everywhere (x: 0)"
    assert task_of(graph, zeros).origin.warnings[-1].startswith(words)
    for runs in (real, [*zeros, real[0]], [zeros[0], {"x": zeros[1]["x"] + 1}]):
        assert not any(words[:20] in line for line in task_of(graph, runs).origin.warnings)
    lengths = [run | {"n": np.arange(2) + at} for at, run in enumerate(zeros)]
    assert without_content(lengths) != ()
    assert without_content([run | {"ids": np.arange(4).reshape(2, 2)} for run in zeros]) == ()


def test_digest_knows_content_type_and_name() -> None:
    run = inputs(1)[0]
    assert digest(run) == digest({"x": run["x"].copy(order="F")})
    assert digest(run) != digest({"x": run["x"].astype(np.float64)})
    assert digest(run) != digest({"z": run["x"]})
    assert digest({"t": np.array(["a", "b"], object)}) != digest(
        {"t": np.array(["a", "c"], object)}
    )
    assert part(run, {"x": 1}, [0, 2])["x"].shape == (2, 2, 6)
