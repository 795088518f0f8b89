"""Graphs with recorded targets through the whole pipeline, and what is refused on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isslim.client.show import comparison_table, terminal
from isslim.compress.errors import (
    CompressError,
    ModeUnavailable,
    NothingToEvaluate,
    OutputsUnusable,
    RunsUnusable,
)
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.onnx.normalise.preparing import PreparedGraph
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays, write_runs
from isslim.store.bundles import BundleStore
from isslim.store.folders import OpenBundle
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from isslim.types.report import Report
from isslim.types.schemas.figures import variant_views
from tests.compress.kinds.graphs.models import inputs, layer_graph, stateful_graph
from tests.compress.kinds.graphs.targets import slow
from tests.tagger import TAGS, compress, export, recorded, tagger_graph

SIZE = Recipe(metric="accuracy", budget=Budget(size_ratio=0.9))


def tagged(count: int, seed: int = 0) -> list[NamedArrays]:
    """Runs of the tagger with the tags that it was trained for."""
    return [
        run | {"target:scores": np.cumsum(run["ids"] < 8, 0) % TAGS}
        for run in recorded(count, seed)
    ]


def task_of(
    graph: Path,
    runs: list[NamedArrays] | None,
    recipe: Recipe = SIZE,
    held_out: list[NamedArrays] | None = None,
) -> GraphTask:
    """A task on these runs, which hold targets."""
    paths: list[Path | None] = []
    for name, each in (("calibration", runs), ("held_out", held_out)):
        path = None if each is None else graph.with_name(f"{name}.npz")
        if path is not None and each is not None:
            write_runs(path, each)
        paths.append(path)
    return GraphTask(PreparedGraph(graph), recipe, *paths)


def opened(home: Path, bundle_id: str) -> OpenBundle:
    return BundleStore(StoreSettings(home=home)).open(bundle_id)


def test_a_tagger_keeps_a_budget_of_accuracy_on_the_users_tags(tmp_path: Path) -> None:
    graph, runs = tagger_graph(tmp_path), tagged(120)
    write_runs(tmp_path / "recorded.npz", runs)
    recipe = Recipe(name="tagger", metric="accuracy", budget=Budget(output_change=0.05))
    bundle = opened(
        tmp_path, compress(tmp_path, graph, recipe, calibration=tmp_path / "recorded.npz")
    )
    manifest = bundle.manifest
    assert manifest.metric == "accuracy"
    held = runs[96:]
    shares = {}
    for variant in manifest.variants:
        session = GraphSession(bundle.path(variant.file))
        decisions, wanted = list[int](), list[int]()
        for run in held:
            decisions += session.run({"ids": run["ids"]})["scores"].argmax(-1).ravel().tolist()
            wanted += run["target:scores"].ravel().tolist()
        shares[variant.name] = slow.accuracy(decisions, wanted)
        assert variant.metrics["accuracy"] == pytest.approx(shares[variant.name], abs=1e-9)
        fall = shares["original"] - shares[variant.name]
        assert variant.loss == pytest.approx(fall, abs=1e-9)
    assert shares["original"] > 0.6
    compressed, view = manifest.variant("compressed"), variant_views(manifest)[-1].quality
    assert compressed is not None
    assert compressed.estimate is not None
    assert compressed.loss <= 0.05
    assert compressed.estimate.low < compressed.loss < compressed.estimate.high
    assert (compressed.estimate.count, compressed.estimate.unit) == (len(wanted), "decisions")
    assert compressed.parameters < 0.9 * manifest.variants[0].parameters
    assert view is not None
    assert (view.metric, view.unit) == ("accuracy", "decisions")

    card = bundle.path("README.md").read_text()
    assert "requested: a fall of accuracy of at most 5.00 points" in card
    assert "(24 runs), all with targets, over `scores` (along dimension 2" in card
    assert "the worst output counts" not in card
    assert "(along dimension 2, counted from 0): the share of decisions" in card
    assert f"{100 * shares['original']:.2f}" in card
    verdict = Report.model_validate_json(bundle.path("report.json").read_bytes()).verdict
    assert "ccuracy" in verdict
    assert "points" in verdict
    console = terminal()
    with console.capture() as captured:
        console.print(comparison_table(manifest))
    assert "accuracy" in captured.get()


class Detector(nn.Module):
    """Says of every window whether the sum of all before is high; states in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.said = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        found, after = self.layer(x, before)
        return torch.sigmoid(self.said(found)[..., 0]), after


def detector(folder: Path) -> Path:
    """A `Detector` that was trained for a second, as a file."""
    torch.manual_seed(0)
    model = Detector()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(150):
        x = torch.randn(16, 40, 3, generator=generator)
        wanted = (smoothed(x.numpy()) > 0).astype(np.float32)
        loss = nn.functional.binary_cross_entropy(
            model(x, torch.zeros(1, 16, 16))[0], torch.from_numpy(wanted)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    free = {"x": {0: "batch", 1: "steps"}, "heard": {0: "batch", 1: "steps"}}
    free |= {"before": {1: "batch"}, "after": {1: "batch"}}
    example = (torch.zeros(1, 4, 3), torch.zeros(1, 1, 16))
    return export(
        model.eval(), example, folder / "detector.onnx", ["x", "before"], ["heard", "after"], free
    )


def smoothed(x: NDArray[Any]) -> NDArray[np.float64]:
    """(N, T) a running mean of the first number."""
    found = np.zeros(x.shape[:2])
    level = np.zeros(len(x))
    for step in range(x.shape[1]):
        level = 0.8 * level + x[:, step, 0]
        found[:, step] = level
    return found


def windows(session: GraphSession, count: int, streams: int, *, known: bool) -> list[NamedArrays]:
    """Streams of windows of four steps with targets; their states as recorded, or all zero."""
    runs: list[NamedArrays] = []
    for stream in range(streams):
        x = np.random.default_rng(stream).standard_normal((1, 4 * count, 3)).astype(np.float32)
        wanted = (smoothed(x) > 0).astype(np.int64)
        state = np.zeros((1, 1, 16), np.float32)
        for at in range(0, 4 * count, 4):
            run = {"x": x[:, at : at + 4], "before": state}
            if known:
                state = session.run(run)["after"]
            runs.append(run | {"target:heard": wanted[:, at : at + 4]})
    return runs


def f1_as_streams(session: GraphSession, runs: list[NamedArrays], length: int) -> float:
    """F1 of a graph that is fed its own states, beginning anew every `length` windows."""
    decisions, wanted = list[int](), list[int]()
    for place, run in enumerate(runs):
        if place % length == 0:
            state = run["before"]
        outputs = session.run({"x": run["x"], "before": state})
        state = outputs["after"]
        decisions += (outputs["heard"] > 0.5).astype(int).ravel().tolist()
        wanted += run["target:heard"].ravel().tolist()
    return slow.f1_of(decisions, wanted, 1)


@pytest.mark.slow
def test_a_detector_is_evaluated_as_its_caller_uses_it_with_its_own_states(tmp_path: Path) -> None:
    graph = detector(tmp_path)
    held = windows(GraphSession(graph), 100, 3, known=True)
    write_runs(tmp_path / "recorded.npz", windows(GraphSession(graph), 100, 5, known=True)[300:])
    write_runs(tmp_path / "held.npz", held)
    recipe = Recipe(name="heard", metric="f1_binary", budget=Budget(output_change=0.08))
    bundle = opened(
        tmp_path,
        compress(
            tmp_path,
            graph,
            recipe,
            calibration=tmp_path / "recorded.npz",
            held_out=tmp_path / "held.npz",
        ),
    )
    manifest = bundle.manifest
    values = {}
    for variant in manifest.variants:
        session = GraphSession(bundle.path(variant.file))
        values[variant.name] = f1_as_streams(session, held, 100)
        assert variant.metrics["f1_binary"] == pytest.approx(values[variant.name], abs=1e-9)
        fall = values["original"] - values[variant.name]
        assert variant.loss == pytest.approx(fall, abs=1e-9)
        assert variant.states is None or variant.states.stream is None
    assert values["original"] > 0.8
    compressed = manifest.variant("compressed")
    assert compressed is not None
    assert compressed.loss <= 0.08
    assert compressed.estimate is not None
    assert compressed.estimate.count == 1200
    card = " ".join(bundle.path("README.md").read_text().split())
    assert (
        "all with targets, as 3 streams in which each variant continues from its own states" in card
    )
    assert "Every run starts from its recorded inputs" not in card


def test_windows_are_a_stream_where_states_show_it_or_it_is_asked_for(tmp_path: Path) -> None:
    graph = detector(tmp_path)
    session = GraphSession(graph)
    base = {"metric": "f1_binary", "budget": Budget(size_ratio=0.9)}
    known, zeros = (windows(session, 25, 2, known=each) for each in (True, False))
    for runs, stream, length, words in (
        (known, None, 25, "as 2 streams"),
        (known, False, 1, None),
        (known, True, 25, "as 2 streams"),
        (zeros, None, 1, None),
        (zeros, True, 50, "as one stream"),
    ):
        recipe = Recipe.model_validate({**base, "stream": stream})
        task = task_of(graph, windows(session, 9, 7, known=True)[54:], recipe, runs)
        # Where single runs count, they begin from what was recorded.
        expected = f1_as_streams(session, runs, length)
        assert task.measure(graph)["f1_binary"] == pytest.approx(expected, abs=1e-9)
        assert (words or "(50 runs), all with targets, each from") in task.origin.held_out
        alone = "each from its recorded states (the option `stream` takes them as one stream)"
        assert (alone in task.origin.held_out) == (words is None)


def test_windows_of_silence_stay_in_a_stream(tmp_path: Path) -> None:
    graph = detector(tmp_path)
    quiet = [
        {
            "x": np.zeros((1, 4, 3), np.float32),
            "before": np.zeros((1, 1, 16), np.float32),
            "target:heard": np.array([[0, 0, 0, 1]]),
        }
    ] * 12
    runs = windows(GraphSession(graph), 60, 1, known=False)
    held = [*windows(GraphSession(graph), 60, 2, known=False)[60:], *quiet]
    for stream, count in ((True, 72), (None, 61)):
        recipe = Recipe(metric="f1_binary", budget=Budget(size_ratio=0.9), stream=stream)
        task = task_of(graph, runs, recipe, held)
        assert f"({count} runs), all with targets" in task.origin.held_out
    asked = Recipe(metric="f1_binary", budget=Budget(size_ratio=0.9), stream=True)
    with pytest.raises(RunsUnusable, match="72 recorded runs are calibration runs as well"):
        task_of(graph, held, asked, held)


def test_unlabelled_metrics_are_of_streams_too_where_states_show_them(tmp_path: Path) -> None:
    graph = detector(tmp_path)
    session = GraphSession(graph)
    runs = [
        {name: array for name, array in run.items() if not name.startswith("target:")}
        for run in windows(session, 40, 2, known=True)
    ]
    for stream, words in ((None, "as one stream"), (False, "")):
        recipe = Recipe(budget=Budget(size_ratio=0.9), stream=stream)
        task = task_of(graph, runs[:40], recipe, runs[40:])
        assert words in task.origin.held_out
        assert ("stream" in task.origin.held_out) == bool(words)
        whole = session.run({**runs[40], "x": np.concatenate([each["x"] for each in runs[40:]], 1)})
        small = tmp_path / "masked.onnx"
        (axis,) = task.original.declaration().axes
        masked = task.original.masked_reference({axis: np.arange(12)})
        small.write_bytes(masked.SerializeToString())
        ours = GraphSession(small).run(
            {**runs[40], "x": np.concatenate([each["x"] for each in runs[40:]], 1)}
        )
        expected = np.sqrt(np.square(ours["heard"] - whole["heard"]).mean()) / whole["heard"].std()
        found = task.measure(small)["output_change"]
        assert (found == pytest.approx(expected, rel=1e-3)) == (stream is None)


def test_targets_go_with_their_sequences_and_steps(tmp_path: Path) -> None:
    graph = layer_graph(tmp_path)
    session = GraphSession(graph)

    def with_decisions(runs: list[NamedArrays]) -> list[NamedArrays]:
        return [run | {"target:y": session.run(run)["y"].argmax(-1)} for run in runs]

    for count, batch, words in (
        (1, 10, "2 of 10 sequences"),
        (1, 1, "10 of 20 steps"),
        (3, 5, "3 of 15 sequences"),
        (20, 2, "(4 runs)"),
    ):
        task = task_of(graph, with_decisions(inputs(count, batch, steps=20)))
        assert words in task.origin.held_out
        # The original's own decisions: wherever the runs were cut, they are still all right,
        # but for the steps, which begin anew.
        found = task.measure(graph)["accuracy"]
        assert found == 1.0 if batch > 1 else 0.3 < found <= 1.0


def faulty(target: NDArray[Any]) -> Callable[[NamedArrays], NamedArrays]:
    return lambda run: {"x": run["x"], "target:y": target}


RIGHT = np.zeros((2, 9), np.int64)


@pytest.mark.parametrize(
    ("metric", "target", "words"),
    [
        ("accuracy", np.zeros((2, 8), np.int64), r"shape \[2, 8\]: expected \[2, 9\], or \[2, 9"),
        ("accuracy", RIGHT.astype(np.float32), "it is float32: class indices are whole numbers"),
        ("accuracy", RIGHT + 5, "it holds the class 5: expected 0 to 4"),
        ("f1_macro", RIGHT - 2, "it holds the class -2: expected 0 to 4, and -1 where"),
        ("accuracy", np.full((2, 9, 5), 1), "name the `threshold` above which a number is cl"),
        ("f1_binary", RIGHT, "is of two classes, and the output has 5: use `f1_macro`"),
        ("auc", RIGHT, "is of two classes, and the output has 5: use `accuracy`"),
        ("target_squared_error", RIGHT, r"shape \[2, 9\]: expected the output's \[2, 9, 5\]"),
        ("target_squared_error", np.full((2, 9, 5), np.nan), "90 of 90 numbers are NaN or inf"),
        ("target_squared_error", np.full((2, 9, 5), "a"), "numbers are expected"),
        ("ctc_error_rate", np.ones((3, 4), np.int64), r"\[3, 4\]: expected \(sequences, symbols\)"),
        ("ctc_error_rate", np.zeros((2, 4), np.int64), "it holds 0, which is the blank"),
        ("ctc_error_rate", np.full((2, 4), 5), "it holds the class 5"),
        ("ctc_error_rate", np.array([[1, -1, 2], [1, 2, 3]]), "symbols follow -1"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    metric: str, target: NDArray[Any], words: str, tmp_path: Path
) -> None:
    recipe = Recipe(metric=metric, budget=Budget(size_ratio=0.9))
    runs = [faulty(target)(run) for run in inputs(20)]
    with pytest.raises(RunsUnusable, match=words) as refused:
        task_of(layer_graph(tmp_path), runs, recipe)
    assert refused.value.issues[0].startswith("run 0, target:y: ")
    assert len(refused.value.issues) == 20


@pytest.mark.parametrize(
    ("recipe", "names", "error", "words"),
    [
        (SIZE, [], NothingToEvaluate, "none were recorded: put an array `target:<output>`"),
        (SIZE, ["hn"], RunsUnusable, "the graph has no output 'hn'; there is: y"),
        (
            SIZE.model_copy(update={"stream": True}),
            ["y"],
            ModeUnavailable,
            "no state that the graph's caller passes from run to run is recognised",
        ),
        (
            Recipe(metric="ctc_error_rate", blank=7, budget=Budget(size_ratio=0.9)),
            ["y"],
            RunsUnusable,
            "`blank` is 7, and the output has 5 classes",
        ),
    ],
)
def test_what_is_missing_is_told(
    recipe: Recipe, names: list[str], error: type[CompressError], words: str, tmp_path: Path
) -> None:
    target = np.ones((2, 9), np.int64)
    runs = [run | {f"target:{name}": target for name in names} for run in inputs(20)]
    with pytest.raises(error, match=words):
        task_of(layer_graph(tmp_path), runs, recipe)


def test_targets_of_calibration_runs_alone_are_not_enough(tmp_path: Path) -> None:
    graph, plain = layer_graph(tmp_path), inputs(20, seed=3)
    runs = [run | {"target:y": RIGHT} for run in inputs(20)]
    with pytest.raises(NothingToEvaluate, match="those of the held-out runs have none: record"):
        task_of(graph, runs, held_out=plain)
    task = task_of(graph, plain, held_out=[*runs[:9], *inputs(4, seed=5)])
    assert "(13 runs), 9 of them with targets" in task.origin.held_out
    assert task.measure(graph)["accuracy"] <= 1.0
    none = [run | {"target:y": RIGHT - 1} for run in inputs(20)]
    with pytest.raises(NothingToEvaluate, match="hold no target but -1"):
        task_of(graph, plain, held_out=none)
    own = [run | {"target:y": GraphSession(graph).run(run)["y"]} for run in inputs(20)]
    same = Recipe(metric="target_squared_error", budget=Budget(size_ratio=0.9))
    with pytest.raises(NothingToEvaluate, match="use `mean_squared_error`"):
        task_of(graph, plain, same, own)


def test_targets_that_the_metric_does_not_use_are_noted(tmp_path: Path) -> None:
    runs = [run | {"target:y": RIGHT} for run in inputs(20)]
    recipe = Recipe(metric="argmax", budget=Budget(size_ratio=0.9))
    task = task_of(layer_graph(tmp_path), runs, recipe)
    (note,) = [line for line in task.origin.warnings if "target:y" in line]
    assert "is not used, as the metric is `argmax`" in note
    assert task.origin.evaluated_outputs == {"y": 2}


def test_one_of_several_outputs_with_targets_is_named(tmp_path: Path) -> None:
    graph = stateful_graph(tmp_path)
    runs = [
        run | {"target:y": RIGHT, "target:hn": np.zeros((1, 2), np.int64)}
        for run in inputs(20, states=True)
    ]
    with pytest.raises(ModeUnavailable, match="there are targets of hn, y: name one in `outputs`"):
        task_of(graph, runs)
    task = task_of(graph, runs, SIZE.model_copy(update={"outputs": ["y"]}))
    assert task.origin.evaluated_outputs == {"y": 2}
    two = SIZE.model_copy(update={"outputs": ["y", "cn"]})
    with pytest.raises(ModeUnavailable, match="`outputs` names y, cn: name one"):
        task_of(graph, runs, two)
    absent = SIZE.model_copy(update={"outputs": ["cn"]})
    with pytest.raises(NothingToEvaluate, match="`outputs` names cn, and the recorded targets are"):
        task_of(graph, runs, absent)


def test_an_original_that_is_not_finite_on_too_many_labelled_runs_is_refused(
    tmp_path: Path,
) -> None:
    graph = layer_graph(tmp_path, log=True)
    runs = [run | {"target:y": RIGHT} for run in inputs(20)]
    for run in runs[:10]:
        run["x"][0, 0, 0] = -20  # the logarithm of what is below zero
    with pytest.raises(CompressError, match="output y of the original is not finite on 10 of 20"):
        task_of(graph, runs)
    for run in runs[2:10]:
        run["x"][0, 0, 0] = 1
    task = task_of(graph, runs)
    assert len(task.runs.held_out) == len(task.runs.targets) == 4
    assert any("output y of the original" in line for line in task.origin.left_out)


def test_a_budget_that_the_targets_are_too_few_for_is_refused(tmp_path: Path) -> None:
    graph, runs = tagger_graph(tmp_path), tagged(10)
    recipe = Recipe(metric="accuracy", budget=Budget(output_change=0.001))
    with pytest.raises(NothingToEvaluate, match="38 decisions are too few"):
        task_of(graph, runs, recipe)
    for run in runs:
        run["target:scores"][2:] = -1
    few = Recipe(metric="accuracy", budget=Budget(output_change=0.2))
    with pytest.raises(NothingToEvaluate, match="evaluated on 6 decisions, too few"):
        task_of(graph, runs, few)
    anyway = Recipe(metric="accuracy", budget=Budget(output_change=0.2, confident=False))
    assert "evaluated on 6 decisions" in task_of(graph, runs, anyway).origin.warnings[0]


def test_a_budget_that_a_destroyed_model_would_keep_is_refused(tmp_path: Path) -> None:
    runs = [run | {"target:y": RIGHT} for run in inputs(100)]
    recipe = Recipe(metric="accuracy", budget=Budget(output_change=0.9))
    with pytest.raises(OutputsUnusable, match="with every recurrent unit masked"):
        task_of(layer_graph(tmp_path), runs, recipe)


def test_strings_of_symbols_go_with_their_sequences_and_not_with_steps(tmp_path: Path) -> None:
    graph = layer_graph(tmp_path)
    generator, session = np.random.default_rng(7), GraphSession(graph)
    recipe = Recipe(metric="ctc_error_rate", blank=3, budget=Budget(size_ratio=0.9))
    (run,) = inputs(1, 30, steps=20)
    target = generator.integers(0, 3, (30, 6))
    target[::2, 4:] = -1
    task = task_of(graph, [run | {"target:y": target}], recipe)
    assert "(6 of 30 sequences), all with targets" in task.origin.held_out
    edits = symbols = 0
    for steps, wanted in zip(session.run(run)["y"].argmax(-1)[24:], target[24:], strict=True):
        text = [each for each in wanted.tolist() if each >= 0]
        edits += slow.distance(slow.collapsed(steps.tolist(), 3), text)
        symbols += len(text)
    assert task.measure(graph)["ctc_error_rate"] == pytest.approx(edits / symbols, abs=1e-9)
    # One sequence has steps for two halves, but there is no telling which symbols are whose.
    (run,) = inputs(1, 1, steps=20)
    task = task_of(graph, [run | {"target:y": target[0]}], recipe)
    assert task.origin.not_evaluated is not None
    assert "cannot be divided" in task.origin.not_evaluated


def test_numbers_are_compared_with_numbers(tmp_path: Path) -> None:
    graph, generator = layer_graph(tmp_path), np.random.default_rng(8)
    session = GraphSession(graph)
    runs = []
    for run in inputs(20):
        output = session.run(run)["y"]
        runs.append(run | {"target:y": output + 0.1 * generator.standard_normal(output.shape)})
    recipe = Recipe(metric="target_squared_error", budget=Budget(size_ratio=0.9))
    task = task_of(graph, runs, recipe)
    squares = [np.square(session.run({"x": run["x"]})["y"] - run["target:y"]) for run in runs[16:]]
    expected = float(np.mean(np.concatenate([each.ravel() for each in squares])))
    assert task.measure(graph)["target_squared_error"] == pytest.approx(expected, rel=1e-6)
    assert task.loss({"target_squared_error": 1.5 * expected}, {}) == pytest.approx(0.5, rel=1e-6)
    assert task.origin.evaluated_outputs == {"y": None}
