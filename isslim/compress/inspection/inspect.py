"""Reads an upload and reports what was understood of it: the first stage of a job.

An inspection does nothing else.

An inspection takes seconds: costly steps - the original's quality, an evaluation command of the
operator, texts that the model has to generate - are left to the stages of a job.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from isslim.compress.contract import ModelTask
from isslim.compress.errors import CompressError
from isslim.compress.ingest.findings import Findings
from isslim.compress.inspection.effects import overruled
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.pruning import axes
from isslim.settings.worker import Evaluations
from isslim.types.inspection import Inspection
from isslim.types.kinds.description import KindDescription
from isslim.types.kinds.registry import kind_named
from isslim.types.recipe import Recipe


def begin(
    inputs: UploadedFiles,
    recipe: Recipe,
    on_inspection: Callable[[Inspection], None],
    evaluations: Evaluations = MappingProxyType({}),
    *,
    looking: bool = False,
) -> tuple[ModelTask[Any], Inspection]:
    """Reads an upload and reports what was understood of it, even where it is refused.

    Args:
        inputs: the uploads' local files.
        recipe: options of the compression.
        on_inspection: called once, before this returns or raises a `CompressError`.
        evaluations: commands that the recipe's metric may name.
        looking: whether the task will not be used: see `read_task`.

    Returns:
        The task, and the inspection with which `on_inspection` was called.

    Raises:
        CompressError: a refusal, addressed to the person who uploaded.
    """
    found = Findings()
    try:
        task = read_task(inputs, recipe, evaluations, found, looking)
        found.add(**_of(task, recipe))
        task.equal_axes()  # refuses a form that the model cannot be returned in
        _refuse_training(task)
        if recipe.check is not None or inputs.check is not None or inputs.check_graph is not None:
            found.add(checks=task.run_checks(inputs))
    except CompressError as error:
        on_inspection(found.refused(error.problem()))
        raise
    inspection = found.understood()
    on_inspection(inspection)
    return task, inspection


def _refuse_training(task: ModelTask[Any]) -> None:
    """Refuses minutes of distillation, or a mode, that such a model or its data does not have.

    Raises:
        ModeUnavailable: when it is not trained here.
        TextUnusable: when there is nothing to train on.
    """
    _ = task.trainer() if task.recipe.mode == "learn" else task.minutes


def _of(task: ModelTask[Any], recipe: Recipe) -> dict[str, Any]:
    """The inspection of a task that was read, under the recipe as it was sent."""
    declaration = task.original.declaration()
    return {
        "kind": task.task,
        "architecture": task.original.architecture,
        "layers": task.layers(),
        "parameters": task.parameters(declaration),
        "mult_adds": axes.mult_adds(declaration),
        "text": task.text,
        "left_alone": [note for note in task.notes() if note not in task.origin.warnings],
        "metric": task.metric,
        "calibrated_on": task.origin.calibration,
        "evaluated_on": task.origin.held_out if task.evaluation is None else task.evaluation,
        "random_inputs": task.origin.random,
        "not_evaluated": None if task.evaluation is not None else task.origin.not_evaluated,
        "warnings": [
            *task.origin.warnings,
            *task.origin.left_out,
            *_without_effect(recipe, kind_named(task.task)),
        ],
    }


def _without_effect(recipe: Recipe, kind: KindDescription) -> list[str]:
    """A line for each option that was changed and has no effect, on such a model or beside others.

    Clients may send whole recipes: a value that is the default was not asked for.
    """
    changed = {
        name
        for name, field in Recipe.model_fields.items()
        if getattr(recipe, name) != field.get_default(call_default_factory=True)
    }
    return [
        *(
            f"option `{name}` has no effect on a model of the kind '{kind.title}'"
            for name in sorted(kind.unused_options & changed)
        ),
        *(f"option {line}" for line in overruled(recipe, changed - kind.unused_options)),
    ]
