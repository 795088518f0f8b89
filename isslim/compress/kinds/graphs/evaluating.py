"""Which metric evaluates a graph's files: that of the recipe, on the recorded runs."""

from __future__ import annotations

from collections.abc import Sequence

from isslim.compress.errors import ModeUnavailable
from isslim.compress.kinds.graphs.choosing import Choice
from isslim.compress.kinds.graphs.classes import axes_of_answers, class_axes
from isslim.compress.kinds.graphs.comparing import Axes
from isslim.compress.kinds.graphs.quality_metrics import (
    CommandMetric,
    MeasuredMetric,
    OutputMetric,
    QualityMetric,
)
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.kinds.graphs.streams import Played, played, streams_of
from isslim.compress.kinds.graphs.targets.metric import TargetMetric
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.processes.command_metrics import Evaluator
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.settings.worker import Evaluations
from isslim.types.graph_metrics import COMMAND, ON_TARGETS
from isslim.types.recipe import Recipe


def refuse_selected(recipe: Recipe) -> None:
    """Refuses to select outputs or streams where the graph is evaluated as a whole.

    Raises:
        ModeUnavailable: when the metric is an evaluation command.
    """
    if not recipe.metric.startswith(COMMAND):
        return
    if recipe.stream is not None:
        raise ModeUnavailable(
            "`stream` says how held-out runs are evaluated; an evaluation command evaluates the "
            "graph as a whole: leave one of them out"
        )
    if recipe.outputs:
        raise ModeUnavailable(
            f"`outputs` ({', '.join(recipe.outputs)}) selects what a metric of outputs "
            "compares; an evaluation command evaluates the graph as a whole: leave one of them "
            "out"
        )


def doubtful_outputs(graph: GraphSession, evaluated: Sequence[str], metric: str) -> list[str]:
    """Reservations about decisions that are measured as quantities.

    Args:
        graph: a session of the original.
        evaluated: names of the outputs that count.
        metric: of the recipe.
    """
    if metric not in ("output_change", "mean_squared_error", "cosine"):
        return []
    kinds = {name: graph.outputs[name][0].removeprefix("tensor(") for name in evaluated}
    whole = [name for name, kind in kinds.items() if kind.startswith(("int", "uint", "bool"))]
    if not whole:
        return []
    what, are = ("output", "holds") if len(whole) == 1 else ("outputs", "hold")
    return [
        f"the {what} {', '.join(whole)} {are} whole numbers or truth values, and `{metric}` "
        "measures them as quantities: where they are decisions, ask for the `metric` `argmax`, "
        "which counts those that differ, or name the `outputs` that they are made of"
    ]


def quality_metric_of(
    network: GraphNetwork,
    graph: GraphSession,
    runs: Recorded,
    choice: Choice,
    recipe: Recipe,
    evaluations: Evaluations,
) -> QualityMetric:
    """The metric of the recipe, on the held-out runs.

    Args:
        network: the original.
        graph: a session of its file.
        runs: recorded runs.
        choice: the outputs that count.
        recipe: with its budget resolved.
        evaluations: commands that its metric may name.

    Raises:
        CompressError: when the evaluation is not known, or the runs could show no model to keep to
            the budget, or would show it of any.
    """
    if recipe.metric.startswith(COMMAND):
        return CommandMetric(Evaluator(recipe.metric, evaluations), graph.path)
    carried = network.carried_states()
    held_out: Played = streams_of(graph, carried, runs.held_out, recipe.stream) or runs.held_out
    found: MeasuredMetric
    if runs.labelling is None:
        found = _of_outputs(network, graph, held_out, choice, recipe)
    else:
        found = TargetMetric(runs.labelling, held_out, runs.targets, graph, bool(carried))
    found.refuse_blind(network, choice.unseen, recipe.budget)
    found.refuse_unsure(recipe.budget)
    return found


def calibration_metric_of(
    network: GraphNetwork, graph: GraphSession, runs: Recorded, choice: Choice, recipe: Recipe
) -> OutputMetric:
    """The change of the outputs on the calibration runs, for choosing what to remove.

    In the recipe's metric, if it is one of their change. A metric on targets would hardly change
    with a single unit, and calibration runs may have none.

    Args:
        network: the original.
        graph: a session of its file.
        runs: recorded runs.
        choice: the outputs that count.
        recipe: its metric is no command.
    """
    metric = "output_change" if recipe.metric in ON_TARGETS else recipe.metric
    asked = recipe.model_copy(update={"metric": metric})
    return _of_outputs(network, graph, runs.calibration, choice, asked)


def _of_outputs(
    network: GraphNetwork,
    graph: GraphSession,
    runs: Played,
    choice: Choice,
    recipe: Recipe,
) -> OutputMetric:
    names = choice.evaluated
    wanted = played(graph, runs, names)
    axes: Axes = class_axes(network, graph, names, recipe.decision_axis)
    axes = axes_of_answers(network, graph, axes, wanted, recipe.metric)
    return OutputMetric(recipe.metric, runs, wanted, names, axes)
