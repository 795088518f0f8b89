"""The small module of a caller's own class: made with the bundle, whose files include its weights.

`isslim.torch.load(folder, model=Tagger(...))` puts them into a module of the class again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.modules.attributes import changed_numbers
from isslim.compress.modules.export import ExportedModule
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.training.saved_network import save_tensors
from isslim.types.same_form import NUMBERS, OWN_MODULE, ModuleChange, SameForm

_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    nn.RNNBase: ("input_size", "hidden_size", "num_layers"),
    nn.Linear: ("in_features", "out_features"),
    (nn.Embedding, nn.EmbeddingBag): ("num_embeddings", "embedding_dim"),
    nn.modules.conv._ConvNd: ("in_channels", "out_channels"),
    nn.modules.batchnorm._NormBase: ("num_features",),
}
"""The first arguments of a layer, by which its attributes are named."""
_OPTIONS = {"bias": True, "batch_first": False, "bidirectional": False, "proj_size": 0}
"""Arguments of a recurrent layer that are written where they are not torch's defaults."""


class OwnModule:
    """A module that was exported, and the small one that is made of it.

    Args:
        exported: the module.

    Attributes:
        small: in evaluation mode; None where there is only the graph.
        refusal: why there is only the graph.
    """

    def __init__(self, exported: ExportedModule) -> None:
        self.exported = exported
        self.small: nn.Module | None = None
        self.refusal: ModuleNotCut | None = None

    def save(self, network: GraphNetwork, folder: Path) -> SameForm | None:
        """Makes the small module and writes its weights; each under one of its names.

        Args:
            network: the small graph.
            folder: the bundle's.

        Returns:
            What is smaller in it; None where it cannot be made.
        """
        try:
            small = self.exported.cut(network)
        except ModuleNotCut as refusal:
            self.refusal = refusal
            return None
        self.small = small
        tensors = {
            name: tensor.detach().clone().contiguous()
            for name, tensor in (*small.named_parameters(), *small.named_buffers())
        }
        name = type(small).__name__
        numbers = json.dumps(changed_numbers(self.exported.module, small))
        metadata = {"format": "pt", "class": name, NUMBERS: numbers}
        save_tensors(folder / OWN_MODULE, tensors, metadata)
        whole = dict(self.exported.module.named_modules())
        modules = list(_changes(whole, small))
        return SameForm(file=OWN_MODULE, module_class=name, modules=modules)


def _changes(whole: dict[str, nn.Module], small: nn.Module) -> Iterator[ModuleChange]:
    for name, part in small.named_modules():
        before, after = _sizes(whole[name]), _sizes(part)
        if before != after:
            kind = type(part)
            place = "nn." if kind.__module__.startswith("torch.nn") else ""
            yield ModuleChange(
                name=name or "self",
                torch_class=f"{place}{kind.__name__}",
                before=before,
                after=after,
                options=", ".join(_options(part)),
            )


def _sizes(part: nn.Module) -> list[int]:
    """Positional arguments of a layer that follow from its number of units."""
    names = next((names for kind, names in _ARGUMENTS.items() if isinstance(part, kind)), ())
    return [int(getattr(part, name)) for name in names]


def _options(part: nn.Module) -> Iterator[str]:
    if isinstance(part, nn.modules.conv._ConvNd):
        yield f"kernel_size={part.kernel_size}"
    if isinstance(part, nn.RNNBase):
        for name, usual in _OPTIONS.items():
            if getattr(part, name) != usual:
                yield f"{name}={getattr(part, name)}"
