"""Which metric evaluates a graph's files: that of the recipe, on the recorded runs."""

from __future__ import annotations

from isslim.compress.errors import ModeUnavailable
from isslim.compress.kinds.graphs.choosing import Choice
from isslim.compress.kinds.graphs.classes import class_axes
from isslim.compress.kinds.graphs.quality_metrics import CommandMetric, OutputMetric, QualityMetric
from isslim.compress.kinds.graphs.recorded import Recorded
from isslim.compress.kinds.graphs.running import outputs_of
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.processes.command_metrics import Evaluator
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays
from isslim.settings.worker import Evaluations
from isslim.types.recipe import COMMAND, Recipe


def refuse_selected(recipe: Recipe) -> None:
    """Refuses a selection of outputs where the graph is evaluated as a whole.

    Raises:
        ModeUnavailable: when the metric is an evaluation command.
    """
    if recipe.metric.startswith(COMMAND) and recipe.outputs:
        raise ModeUnavailable(
            f"`outputs` ({', '.join(recipe.outputs)}) selects what a metric of outputs "
            "compares; an evaluation command evaluates the graph as a whole: leave one of them "
            "out"
        )


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
    found = _of_outputs(network, graph, runs.held_out, choice, recipe)
    found.refuse_blind(network, choice.unseen, recipe.budget)
    found.refuse_unsure(recipe.budget)
    return found


def calibration_metric_of(
    network: GraphNetwork, graph: GraphSession, runs: Recorded, choice: Choice, recipe: Recipe
) -> OutputMetric:
    """The same on the calibration runs, for choosing what to remove.

    Args:
        network: the original.
        graph: a session of its file.
        runs: recorded runs.
        choice: the outputs that count.
        recipe: its metric is one of outputs.
    """
    return _of_outputs(network, graph, runs.calibration, choice, recipe)


def _of_outputs(
    network: GraphNetwork,
    graph: GraphSession,
    runs: list[NamedArrays],
    choice: Choice,
    recipe: Recipe,
) -> OutputMetric:
    names = choice.evaluated
    axes = class_axes(network, graph, names, recipe.decision_axis)
    return OutputMetric(recipe.metric, runs, outputs_of(graph, runs, names), names, axes)
