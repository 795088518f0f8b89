"""The choice of outputs to evaluate: not random, dependent on what is removed; useless budgets."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import pytest

from isslim.compress.errors import NothingRemovable, OutputsUnusable, RunsUnusable
from isslim.compress.kinds.graphs.classes import class_axis
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.compress.pruning.ranking import prune, rank_components
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.graphs.models import (
    inputs,
    layer_graph,
    noisy_graph,
    stateful_graph,
    twin_graph,
)
from tests.compress.kinds.graphs.test_recorded import task_of
from tests.tagger import tagger_graph


def pruned_to(task: GraphTask, share: float, path: Path) -> float:
    """Writes a candidate; the error of its proof."""
    declaration = task.original.declaration()
    observed = task.collect_activations(lambda done, message: None)
    found = rank_components(
        task.original.arrays(), declaration, observed, prunable=task.prunable(declaration)
    )
    pruned = prune(found, share)
    task.export(task.original.rebuilt(pruned.arrays), path)
    return task.verify_removal(task.original, pruned).error


def test_random_output_is_named_and_the_others_are_evaluated_and_verified(tmp_path: Path) -> None:
    graph, runs = noisy_graph(tmp_path, shown=True), inputs(30)
    task = task_of(graph, runs)
    (warning,) = task.origin.warnings
    assert warning.startswith(
        "output drawn differs between two runs of the same inputs (RandomNormalLike '"
    )
    assert warning in task.notes()
    assert task.origin.evaluated_outputs == {"mean": None}
    assert pruned_to(task, 0.4, tmp_path / "small.onnx") < 1e-4
    assert 0 < task.measure(tmp_path / "small.onnx")["output_change"] < 1
    with pytest.raises(
        OutputsUnusable, match=r"drawn differs .* it cannot be evaluated; the recipe may name mean"
    ):
        task_of(graph, runs, recipe=Recipe(outputs=["drawn"], budget=Budget(size_ratio=0.9)))


def test_graph_with_random_outputs_alone_ends_the_job_with_that_answer(tmp_path: Path) -> None:
    with pytest.raises(
        OutputsUnusable,
        match=r"two runs of the same inputs .*RandomNormalLike.* Export the graph in evaluation",
    ):
        task_of(noisy_graph(tmp_path, shown=False), inputs(20))


def test_dropout_in_training_mode_is_random_although_the_optimiser_takes_it_away(
    tmp_path: Path,
) -> None:
    path = layer_graph(tmp_path)
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["whole" if name == "y" else name for name in node.output]
    for name, value in (("ratio", np.float32(0.5)), ("training", np.bool_(True))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    model.graph.node.append(
        onnx.helper.make_node("Dropout", ["whole", "ratio", "training"], ["y"], name="drop")
    )
    onnx.save(model, path)
    with pytest.raises(
        OutputsUnusable, match=r"two runs of the same inputs \(Dropout 'drop'\).*evaluation mode"
    ):
        task_of(path, inputs(20))


def test_noise_on_the_units_themselves_is_named(tmp_path: Path) -> None:
    with pytest.raises(NothingRemovable) as refused:
        task_of(stateful_graph(tmp_path, "noise before"), inputs(20, states=True))
    assert "it draws new random numbers at every run" in refused.value.issues[0]


def test_states_are_evaluated_where_nothing_else_depends_on_the_layer(tmp_path: Path) -> None:
    for said in ("noise", "nothing"):
        task = task_of(stateful_graph(tmp_path, said), inputs(20, states=True))
        assert {"hn", "cn"} <= task.origin.evaluated_outputs.keys()
        pruned_to(task, 0.8, tmp_path / "small.onnx")
        assert (
            task.measure(tmp_path / "small.onnx")["output_change"] > 0.3
        )  # units at zero are far from what they were
    with pytest.raises(
        OutputsUnusable, match=r"y does not change when the units .* name other `outputs`"
    ):
        task_of(
            stateful_graph(tmp_path, "nothing"),
            inputs(20, states=True),
            recipe=Recipe(outputs=["y"], budget=Budget(size_ratio=0.9)),
        )


def test_layer_that_no_output_depends_on_stays_as_it_is_and_is_reported(tmp_path: Path) -> None:
    task = task_of(twin_graph(tmp_path), inputs(20))
    assert task.prunable(task.original.declaration()) == ["units:/seen/LSTM.forward"]
    assert (
        "/unseen/LSTM.forward (8 units): y does not change when all its units are masked"
        in "\n".join(task.notes())
    )


def gated(folder: Path, taken: Collection[int]) -> GraphTask:
    """A layer whose output counts in a few runs of many alone."""
    path = layer_graph(folder)
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["whole" if name == "y" else name for name in node.output]
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("gate", onnx.TensorProto.FLOAT, [1])
    )
    model.graph.node.append(onnx.helper.make_node("Mul", ["whole", "gate"], ["y"], name="gated"))
    onnx.save(model, path)
    runs = [
        {**run, "gate": np.full(1, index in taken, np.float32)}
        for index, run in enumerate(inputs(220))
    ]
    return task_of(path, runs, recipe=Recipe(budget=Budget(size_ratio=0.8)))


def test_layer_that_matters_in_a_few_runs_alone_is_seen(tmp_path: Path) -> None:
    task = gated(tmp_path, {5, 215})
    assert task.prunable(task.original.declaration()) == list(task.original.declaration().axes)


@pytest.mark.parametrize(("taken", "part"), [(5, "held-out"), (215, "calibration")])
def test_layer_that_matters_in_one_part_of_the_runs_alone_stays(
    taken: int, part: str, tmp_path: Path
) -> None:
    """What is lost in runs of the other part would not be noticed, or could not be known."""
    with pytest.raises(OutputsUnusable, match="send inputs on which they matter") as refused:
        gated(tmp_path, {taken})
    assert f"does not change on the {part} runs when all its units" in refused.value.issues[0]


@pytest.mark.parametrize(
    ("metric", "bias", "words"),
    [
        (
            "argmax",
            50.0,
            "at a share of differing decisions of 0.00%, which the budget of 2.00% allows",
        ),
        ("mean_squared_error", 0.0, "at a mean squared error of 0.0"),
    ],
)
def test_budget_that_a_destroyed_graph_keeps_is_refused(
    metric: str, bias: float, words: str, tmp_path: Path
) -> None:
    graph, runs = layer_graph(tmp_path, bias=bias), inputs(20)
    limit = 0.02 if metric == "argmax" else 0.5
    with pytest.raises(OutputsUnusable, match="a destroyed model would pass") as refused:
        task_of(graph, runs, recipe=Recipe(metric=metric, budget=Budget(output_change=limit)))
    assert words in refused.value.detail
    size = Recipe(metric=metric, budget=Budget(size_ratio=0.9))
    assert "y" in task_of(graph, runs, recipe=size).origin.evaluated_outputs


def test_classes_are_found_where_they_lie(tmp_path: Path) -> None:
    runs = inputs(20)
    for turned, place in ((False, 2), (True, 1)):
        task = task_of(
            layer_graph(tmp_path, turned=turned),
            runs,
            recipe=Recipe(metric="argmax", budget=Budget(size_ratio=0.9)),
        )
        assert task.origin.evaluated_outputs == {"y": place}
        assert class_axis(task.original, GraphSession(task.path), "y") == place
        # A fifth of the runs, with 18 decisions each: as many as there are steps, not as many as
        # there are classes.
        task.export(task.original, tmp_path / "whole.onnx")
        task.measure(tmp_path / "whole.onnx")
        estimate = task.estimate(tmp_path / "whole.onnx", task.path)
        assert estimate is not None
        assert (estimate.count, estimate.unit, estimate.low) == (72, "decisions", 0.0)
        assert 0.03 < estimate.high < 0.07
    asked = Recipe(metric="argmax", decision_axis=-1, budget=Budget(size_ratio=0.9))
    assert task_of(
        layer_graph(tmp_path, turned=True), runs, recipe=asked
    ).origin.evaluated_outputs == {"y": 2}
    with pytest.raises(
        RunsUnusable,
        match="`decision_axis` is 3, and the output y has 3 dimensions: expected -3 to 2",
    ):
        task_of(layer_graph(tmp_path), runs, recipe=asked.model_copy(update={"decision_axis": 3}))


def test_returned_states_and_streams_are_measured(tmp_path: Path) -> None:
    graph, runs = stateful_graph(tmp_path), inputs(20, states=True)
    task = task_of(graph, runs)
    assert task.original.carried_states() == {"hn": "h0", "cn": "c0"}
    small = tmp_path / "small.onnx"
    pruned_to(task, 0.5, small)
    states = task.states(small)
    assert states is not None
    assert states.stream is not None
    sessions, held = [GraphSession(graph), GraphSession(small)], task.runs.held_out
    both = [[session.run(run) for run in held] for session in sessions]
    for name in ("hn", "cn"):
        whole, ours = (np.concatenate([found[name].ravel() for found in each]) for each in both)
        assert states.returned[name] == pytest.approx(
            float(np.sqrt(np.mean((ours - whole) ** 2)) / whole.std()), rel=1e-5
        )
        assert states.returned[name] > 0.1
    said: list[list[np.ndarray]] = [[], []]
    for session, found in zip(sessions, said, strict=True):
        carried = {name: runs[0][name] for name in ("h0", "c0")}
        for index in range(16):
            outputs = session.run({"x": held[index % len(held)]["x"], **carried})
            carried = {"h0": outputs["hn"], "c0": outputs["cn"]}
            found.append(outputs["y"].ravel())
    for first, loss in ((0, states.stream.loss), (12, states.stream.end_loss)):
        whole, ours = (np.concatenate(each[first:]) for each in said)
        assert loss == pytest.approx(
            float(np.sqrt(np.mean((ours - whole) ** 2)) / whole.std()), rel=1e-5
        )
    assert states.stream.runs == 16


def test_graph_that_gives_no_state_has_none(tmp_path: Path) -> None:
    task = task_of(layer_graph(tmp_path), inputs(20))
    task.export(task.original, tmp_path / "whole.onnx")
    assert task.states(tmp_path / "whole.onnx") is None
    task = GraphTask(
        PreparedGraph(tagger_graph(tmp_path)), Recipe(budget=Budget(size_ratio=0.9)), None, None
    )
    assert task.origin.random
