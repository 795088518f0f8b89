"""Targets among the arrays of recorded runs: of which output, and whether they fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.compress.errors import ModeUnavailable, NothingToEvaluate, RunsUnusable
from isslim.compress.kinds.graphs.classes import class_axes
from isslim.compress.kinds.graphs.targets.labelling import Labelling, sequence_dimension
from isslim.compress.onnx.network import GraphNetwork
from isslim.runtime.graphs.recorded_inputs import TARGET, GraphSession
from isslim.types.graph_metrics import ON_TARGETS
from isslim.types.recipe import Recipe


def labelling_of(
    network: GraphNetwork, graph: GraphSession, recipe: Recipe, named: Sequence[str]
) -> Labelling | None:
    """What the targets of a recipe's metric mean.

    Args:
        network: the original.
        graph: a session of its file.
        recipe: names the metric, and may name the output.
        named: outputs that targets were recorded of.

    Returns:
        None where the metric uses no targets.

    Raises:
        RunsUnusable: when there is no such output.
        NothingToEvaluate: when the metric needs targets, and there are none of the output.
        ModeUnavailable: when there are several outputs to choose from.
    """
    if strange := [name for name in named if name not in graph.outputs]:
        raise RunsUnusable(
            f"`{TARGET}{strange[0]}` was recorded, and the graph has no output '{strange[0]}'; "
            f"there is: {', '.join(graph.outputs)}",
            [f"there is no output '{name}' for `{TARGET}{name}`" for name in strange],
        )
    if recipe.metric not in ON_TARGETS:
        return None
    if not named:
        raise NothingToEvaluate(
            f"`{recipe.metric}` compares outputs with targets, and none were recorded: put an "
            f"array `{TARGET}<output>` beside the inputs of every run (`0/{TARGET}<output>` where "
            f"runs are numbered), for one of the outputs {', '.join(graph.outputs)}; or use "
            "`output_change` or `argmax`, which need none"
        )
    wanted = recipe.outputs or list(named)
    if len(wanted) > 1:
        raise ModeUnavailable(
            f"`{recipe.metric}` is of one output, and "
            f"{'`outputs` names' if recipe.outputs else 'there are targets of'} "
            f"{', '.join(wanted)}: name one in `outputs`"
        )
    (output,) = wanted
    if output not in named:
        raise NothingToEvaluate(
            f"`outputs` names {output}, and the recorded targets are of {', '.join(named)}: record "
            f"`{TARGET}{output}`, or name another output"
        )
    return Labelling(
        recipe.metric,
        output,
        class_axes(network, graph, [output], recipe.decision_axis)[output],
        recipe.threshold,
        recipe.blank or 0,
    )


def unused_targets(
    named: Sequence[str], recipe: Recipe, labelling: Labelling | None
) -> tuple[str, ...]:
    """A reservation about recorded targets where the metric uses none.

    Args:
        named: the outputs that they are of.
        recipe: it names the metric.
        labelling: what they mean to it; None: it uses none.
    """
    if not named or labelling is not None:
        return ()
    names = ", ".join(f"`{TARGET}{name}`" for name in named)
    return (
        f"the recorded {names} {'is' if len(named) == 1 else 'are'} not used, as the metric is "
        f"`{recipe.metric}` (metrics on targets: {', '.join(ON_TARGETS)})",
    )


class TargetCheck:
    """Compares targets with the outputs that they are of, run by run.

    Args:
        labelling: what targets mean.
    """

    def __init__(self, labelling: Labelling) -> None:
        self._labelling = labelling
        self._issues: list[str] = []
        self._targets: list[NDArray[Any]] = []
        self._steps: list[tuple[int, ...]] = []
        self._one_hot: list[bool] = []
        self._by_number: list[bool] = []

    def see(self, label: str, target: NDArray[Any], output: NDArray[Any]) -> None:
        """Notes what is wrong with one target.

        Args:
            label: of the run.
            target: as it was recorded.
            output: the original's.
        """
        issue = self._labelling.issue(target, output)
        if issue is not None:
            self._issues.append(f"{label}, {TARGET}{self._labelling.output}: {issue}")
            self._one_hot.append(False)
            return
        self._one_hot.append(self._labelling.is_one_hot(target, output))
        self._targets.append(target)
        self._by_number.append(self._labelling.by_number(target, output))
        self._steps.append(self._labelling.without_classes(output))

    def checked(self) -> Labelling:
        """What the targets mean, now that all were seen.

        Raises:
            RunsUnusable: when one does not fit.
        """
        # An output may have fewer dimensions where a run has one sequence, and its target with it.
        mixed = len({target.ndim for target in self._targets}) > 1 and not all(self._by_number)
        if not self._issues and mixed:
            self._issues.append(
                f"{TARGET}{self._labelling.output} has different numbers of dimensions in "
                "different runs"
            )
        if self._one_hot and all(self._one_hot):
            self._issues.append(
                f"{TARGET}{self._labelling.output} marks one class of each row, and the output is "
                "a distribution over classes: send class indices, without the dimension of the "
                "classes"
            )
        found = self._labelling
        if not self._issues and found.is_ctc and any(len(each) > 1 for each in self._steps):
            found = replace(found, sequences=sequence_dimension(self._targets, self._steps))
            if found.sequences is None:
                self._issues.append(
                    "every run has as many steps as sequences, so that it cannot be told which are "
                    "which: send one run of another number of steps"
                )
        if self._issues:
            raise RunsUnusable(
                f"the recorded targets do not fit the metric `{found.metric}`: {self._issues[0]}",
                self._issues,
            )
        return found


def as_rows(labelling: Labelling | None, target: NDArray[Any]) -> NDArray[Any]:
    """A target in its usual form: the symbols of one sequence as those of several (CTC).

    Args:
        labelling: what targets mean; None: they are not used.
        target: as it was recorded.
    """
    ctc = labelling is not None and labelling.is_ctc and target.ndim == 1
    return np.atleast_2d(target) if ctc else target
