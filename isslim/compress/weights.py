"""What a kind of model gives back besides graphs: its weights, and itself as a PyTorch module."""

from __future__ import annotations

from abc import ABC
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic

from isslim.compress.errors import ModeUnavailable
from isslim.compress.pruning.axes import Keep
from isslim.compress.pruning.network import Model
from isslim.compress.training.network import NetworkType
from isslim.compress.training.saved_network import save_network
from isslim.types.manifest import Task
from isslim.types.recipe import Recipe
from isslim.types.same_form import SameForm

if TYPE_CHECKING:
    from torch import nn


class ReturnsWeights(ABC, Generic[Model]):
    """The part of a task that gives a network back; the defaults are those of a kind without it.

    Attributes:
        task: the kind's name in the manifest.
        recipe: the recipe.
    """

    task: ClassVar[Task]
    recipe: Recipe

    def module(self, network: Model) -> nn.Module:
        """A network as a PyTorch module that can be trained further.

        Raises:
            ModeUnavailable: when there is no module of this kind.
        """
        raise ModeUnavailable(
            f"a {self.task} has no PyTorch module here: take its ONNX graph, `compressed.onnx`"
        )

    def save_weights(self, network: Model, folder: Path, kept: Keep) -> SameForm | None:
        """Writes a candidate's weights beside its graphs, and what else its owner rebuilds it from.

        Args:
            network: the candidate.
            folder: the bundle's.
            kept: per axis of the original the kept indices (K,), ascending.

        Returns:
            What changes in the code of the uploaded model, where the recipe asks for the `form`
            `same`; else None.
        """
        return None

    def equal_axes(self) -> list[list[str]]:
        """Groups of axes of the original that have to keep one size, for the recipe's `form`.

        Raises:
            ModeUnavailable: when this model cannot be returned in its own form.
        """
        if self.recipe.form == "same":
            raise ModeUnavailable(
                f"the form `same` is one of language models: a {self.task} is returned as a "
                "graph with other sizes, and `kept.json` or its weights say which units are "
                "left. Ask for the form `free`"
            )
        return []


class ReturnsModules(ReturnsWeights[NetworkType]):
    """The same of a kind whose networks are PyTorch modules; it comes before `ModelTask`."""

    def module(self, network: NetworkType) -> nn.Module:
        """A copy: training it leaves the candidate as it is. See `ReturnsWeights.module`."""
        return network.rebuilt(network.arrays())

    def save_weights(self, network: NetworkType, folder: Path, kept: Keep) -> SameForm | None:
        """Writes `compressed.safetensors` and `compressed.json`; see `ReturnsWeights.save_weights`.

        `isslim.torch.load` reads them, and as `model` and `config` they are an upload.
        """
        save_network(folder, network)
        return None
