"""An upload on its way to a task: its files, its recipe, and the interface of its readers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from isslim.compress.contract import ModelTask
from isslim.compress.errors import ModeUnavailable, UnreadableUpload, UnusedUpload, WrongBudget
from isslim.compress.ingest.checkpoint import Checkpoint, read_checkpoint
from isslim.compress.ingest.findings import Findings
from isslim.compress.ingest.forms import refuse_foreign
from isslim.settings.worker import Evaluations
from isslim.types.kinds.description import KindDescription
from isslim.types.kinds.uploads import UploadFields
from isslim.types.quality import resolve_budget
from isslim.types.recipe import COMMAND, Recipe


class UploadedFiles(UploadFields[Path]):
    """The uploaded files of a job, on local disk.

    Attributes:
        name: the original name of the model's file; empty where it is not known.
    """

    name: str = ""

    @property
    def data(self) -> DataFiles:
        """The files that hold data."""
        return DataFiles(self.calibration, self.held_out, self.train)


@dataclass(frozen=True)
class DataFiles:
    """The files of an upload that hold data, texts or questions.

    Attributes:
        calibration: activations are collected on it.
        held_out: quality is evaluated on it.
        train: training takes place on it.
    """

    calibration: Path | None = None
    held_out: Path | None = None
    train: Path | None = None


@dataclass(frozen=True)
class Upload:
    """What a job or an inspection begins with.

    Attributes:
        files: on local disk.
        recipe: what the user asks for.
        evaluations: commands that a graph's metric may name.
        found: collects what is understood of the upload on the way.
        looking: whether the task is only inspected. What takes a large model long and was not sent
            (generated texts, answers to questions) is then cut short.
    """

    files: UploadedFiles
    recipe: Recipe
    evaluations: Evaluations
    found: Findings
    looking: bool = False

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model's file as a checkpoint of weights, read once for all readers.

        Raises:
            UnreadableUpload: when it is not a checkpoint.
            ModeUnavailable: when the recipe names a metric that needs a graph.
        """
        refuse_foreign(self.files.model, self.files.name)
        if self.files.model_data is not None:
            raise UnreadableUpload(
                "`model_data` is the data file of an ONNX graph, and the model is not an ONNX "
                "graph: leave it out"
            )
        if self.recipe.metric.startswith(COMMAND):
            raise ModeUnavailable(
                f"the metric `{self.recipe.metric}` applies to ONNX graphs; other models are "
                "evaluated by the metric of their kind"
            )
        return read_checkpoint(self.files.model, self.files.config, self.files.name)

    def recipe_of(self, kind: KindDescription) -> Recipe:
        """The recipe, its budget filled in with the defaults of a kind.

        Raises:
            WrongBudget: when the budget limits what such a model does not measure.
        """
        try:
            budget = resolve_budget(kind.name, self.recipe.budget)
        except ValueError as error:
            raise WrongBudget(str(error)) from error
        return self.recipe.model_copy(update={"budget": budget})


def refuse_unused(files: UploadedFiles, not_used: frozenset[str]) -> None:
    """Refuses files that would have no effect: their sender expects one.

    Args:
        files: of the upload.
        not_used: fields that the kind of model does not use.

    Raises:
        UnusedUpload: naming them.
    """
    sent = {name: getattr(files, name) is not None for name in UploadFields.model_fields}
    unused = [name for name, is_sent in sent.items() if is_sent and name in not_used]
    if sent["check_graph_data"] and not sent["check_graph"]:
        unused.append("check_graph_data")
    if unused:
        used = ", ".join(f"`{name}`" for name in sent if name not in not_used)
        raise UnusedUpload(
            f"{', '.join(f'`{name}`' for name in unused)} would have no effect on a model of this "
            f"kind: leave out what is not one of {used}",
            [f"`{name}` is not used" for name in unused],
        )


class KindReader(Protocol):
    """Reads uploads of one kind.

    Attributes:
        not_used: fields of an upload that have no meaning for this kind, and are refused.
    """

    not_used: frozenset[str] = frozenset()

    def recognises(self, upload: Upload) -> bool:
        """Whether the upload is of this kind. Called for every upload, so it has to be cheap.

        Raises:
            CompressError: when the upload cannot be of any kind.
        """

    def read(self, upload: Upload) -> ModelTask[Any]:
        """Reads an upload that was recognised into a task.

        Raises:
            CompressError: when a file cannot be read, or the recipe does not fit the model.
        """
