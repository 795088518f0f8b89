"""The way back: from this project's arrays to the names and modules of the uploaded state dict.

What ingestion did with every tensor is undone, or the model cannot be returned in its own form:

- a parameter has one array; a tied decoder, a copy with dropout (AWD-LSTM) and a second name of
  the same values have the array of what they equal
- tensors that the model does not use are returned as they were
- weights that were computed from several tensors (weight norm, masks), a projection, biases that
  the upload has not, and one-hot input have no way back

Layers of one module keep one size, since one number builds them. So do modules that differ in a
number only (`rnns.0`, `rnns.1`) and are of one size: their class builds them in a loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from isslim.compress.ingest.checkpoint import Checkpoint
from isslim.compress.kinds.language.ingest.ends import EmbeddingAndDecoder
from isslim.compress.kinds.language.ingest.layers import Stack
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.names import (
    DECODER_BIAS,
    DECODER_WEIGHT,
    EMBEDDING_WEIGHT,
)
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel
from isslim.compress.pruning.axes import Arrays
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.types.axis_names import units_of
from isslim.types.same_form import ModuleChange

_GATES = re.compile(r"\.?weight_ih(_l\d+)?(_raw)?$")
_NUMBER = re.compile(r"[_-]?\d+")


@dataclass(frozen=True)
class UploadedModule:
    """A module of the upload, and the arrays that tell its arguments.

    Attributes:
        name: in the state dict.
        constructor: the class of torch.
        array: of a layer its `weight_ih`; of any other module its only matrix.
        across: of recurrent layers the `weight_hh` of the first; empty: another module.
        layers: of a recurrent module, how many; a cell has 0.
        options: further arguments.
    """

    name: str
    constructor: str
    array: str
    across: str = ""
    layers: int = 0
    options: str = ""

    def arguments(self, arrays: Arrays) -> list[int]:
        """The positional arguments that build the module with the sizes of arrays."""
        rows, columns = arrays[self.array].shape
        if self.across:
            several = [self.layers] if self.layers > 1 else []
            return [columns, arrays[self.across].shape[1], *several]
        return [columns, rows] if self.constructor == "nn.Linear" else [rows, columns]


@dataclass(frozen=True)
class UploadedForm:
    """How a network is written under the names of the upload.

    Attributes:
        names: by name in the state dict, the array with its values.
        modules: from the input to the output.
        equal: groups of axes that keep one size.
        unused: tensors that are returned as they were, by name.
        obstacles: why the model cannot be returned in its own form; empty: it can.
    """

    names: Mapping[str, str]
    modules: tuple[UploadedModule, ...]
    equal: tuple[tuple[str, ...], ...] = ()
    unused: Mapping[str, Tensor] = field(default_factory=dict)
    obstacles: tuple[str, ...] = ()

    def state_dict(self, network: LanguageModel) -> dict[str, Tensor]:
        """The state dict of the uploaded model's class, built with the sizes of a network."""
        arrays = network.arrays()
        # Copies: a file of safetensors holds no tensor under two names.
        values = {name: torch.from_numpy(np.array(arrays[own])) for name, own in self.names.items()}
        return values | {name: tensor.contiguous() for name, tensor in self.unused.items()}

    def changes(self, before: LanguageModel, after: LanguageModel) -> list[ModuleChange]:
        """What builds the modules of both networks.

        Args:
            before: the uploaded one.
            after: the small one.
        """
        old, new = before.arrays(), after.arrays()
        return [
            ModuleChange(
                name=each.name,
                torch_class=each.constructor,
                before=each.arguments(old),
                after=each.arguments(new),
                options=each.options,
            )
            for each in self.modules
        ]


def stack_form(
    checkpoint: Checkpoint,
    stack: Stack,
    ends: EmbeddingAndDecoder,
    twins: Mapping[str, str],
    network: LanguageModel,
) -> UploadedForm:
    """The form of a model of LSTM or GRU layers.

    Args:
        checkpoint: the file.
        stack: its layers.
        ends: its embedding and decoder.
        twins: parameters that equal another one, and the name of that one.
        network: what was made of it.
    """
    ours = {
        name: f"layers.{index}.{kind}_l0"
        for index, names in enumerate(stack.names)
        for kind, name in names.items()
    }
    output = EMBEDDING_WEIGHT if ends.tied else DECODER_WEIGHT
    pairs = ((ends.embedding, EMBEDDING_WEIGHT), (ends.decoder, output), (ends.bias, DECODER_BIAS))
    ours |= {name: own for name, own in pairs if name is not None}
    ours |= {name: name for name in (BOTTLENECK.weight, BOTTLENECK.bias) if name in stack.rest}
    same = {**twins, **stack.copies}
    ours |= {name: ours[origin] for name, origin in same.items() if origin in ours}
    obstacles = [
        *_common_obstacles(checkpoint, ours),
        *(
            [
                "its LSTM has a projection (`proj_size`), of which each reader has a copy of its "
                "own here, cut and repaired by itself"
            ]
            if any("weight_hr" in layer for layer in stack.layers)
            else []
        ),
        *(
            []
            if all("bias_ih" in layer for layer in stack.layers)
            else ["its layers have no biases, which take up the means of what is removed"]
        ),
        *(
            ["its decoder has no bias, which takes up the means of what is removed"]
            if ends.bias is None
            else []
        ),
        *(["its input is one-hot, without an embedding"] if ends.embedding is None else []),
    ]
    sources, modules = checkpoint.sources, list[UploadedModule]()
    if ends.embedding is not None:
        modules.append(_matrix(sources[ends.embedding], EMBEDDING_WEIGHT, "nn.Embedding"))
    modules += _layers(stack, sources)
    if BOTTLENECK.weight in stack.rest:
        modules.append(_matrix(sources[BOTTLENECK.weight], BOTTLENECK.weight, "nn.Linear"))
    if ends.decoder is not None:
        modules.append(_matrix(sources[ends.decoder], output, "nn.Linear"))
    return UploadedForm(
        {sources[name]: ours[name] for name in sources if name in ours},
        tuple(modules),
        _equal_axes(stack, network),
        checkpoint.unused,
        tuple(obstacles),
    )


def ranks_form() -> UploadedForm:
    """The form of a model of this project's own with narrow layers or a decoder in blocks."""
    return UploadedForm(
        {},
        (),
        obstacles=(
            "its narrow layers or blocks are of this package's own classes, which "
            "`compressed.safetensors` is of in any form",
        ),
    )


def highway_form(checkpoint: Checkpoint, network: RhnLanguageModel) -> UploadedForm:
    """The form of a recurrent highway network, whose names are this project's own.

    Args:
        checkpoint: the file.
        network: what was made of it.
    """
    tied, sources = network.spec.tied, checkpoint.sources
    ours = {name: EMBEDDING_WEIGHT if tied and name == DECODER_WEIGHT else name for name in sources}
    linear = [
        ("highway.input", "bias=False"),
        *((f"highway.depths.{depth}", "") for depth in range(network.spec.depth)),
    ]
    modules = [_matrix(sources[EMBEDDING_WEIGHT], EMBEDDING_WEIGHT, "nn.Embedding")]
    modules += [
        _matrix(sources[f"{name}.weight"], f"{name}.weight", "nn.Linear", options)
        for name, options in linear
    ]
    if DECODER_WEIGHT in sources:
        modules.append(_matrix(sources[DECODER_WEIGHT], ours[DECODER_WEIGHT], "nn.Linear"))
    return UploadedForm(
        {sources[name]: own for name, own in ours.items()},
        tuple(modules),
        unused=checkpoint.unused,
        obstacles=tuple(_common_obstacles(checkpoint, ours)),
    )


def _common_obstacles(checkpoint: Checkpoint, ours: Mapping[str, str]) -> list[str]:
    """What is not undone in any layout."""
    found = [f"{each}: save the weights as they are used" for each in checkpoint.folded]
    found += [
        f"'{name}' is not stored value by value"
        for name, tensor in checkpoint.unused.items()
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized
    ]
    return found + [
        f"'{checkpoint.sources[name]}' has no place in the small model"
        for name in checkpoint.sources
        if name not in ours
    ]


def _matrix(source: str, array: str, constructor: str, options: str = "") -> UploadedModule:
    """A module of one matrix; a parameter that belongs to no module of torch is an array."""
    name = source.removesuffix(".weight")
    return UploadedModule(
        name, constructor if name != source else "torch.empty", array, options=options
    )


def _layers(stack: Stack, sources: Mapping[str, str]) -> list[UploadedModule]:
    """The recurrent modules, from the bottom."""
    found: list[UploadedModule] = []
    first = 0
    for count in (stack.counts[name] for name in stack.modules):
        source = sources[stack.names[first]["weight_ih"]]
        cell = "" if re.search(r"_l\d+(_raw)?$", source) else "Cell"
        found.append(
            UploadedModule(
                _GATES.sub("", source),
                f"nn.{stack.kind.cell.upper()}{cell}",
                f"layers.{first}.weight_ih_l0",
                f"layers.{first}.weight_hh_l0",
                0 if cell else count,
            )
        )
        first += count
    return found


def _equal_axes(stack: Stack, network: LanguageModel) -> tuple[tuple[str, ...], ...]:
    """Axes of layers that are built with one number; see the module's docstring."""
    sizes, groups = network.declaration().axes, dict[tuple[str, int], list[str]]()
    index = 0
    for name in stack.modules:
        for _ in range(stack.counts[name]):
            axis = units_of(f"{stack.kind.cell}{index}")
            groups.setdefault((_NUMBER.sub("", name), sizes[axis]), []).append(axis)
            index += 1
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
