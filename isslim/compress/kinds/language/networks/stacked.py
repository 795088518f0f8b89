"""Stacked LSTM and GRU language models: embedding, recurrent layers of any sizes, linear decoder.

Layers may differ in size after pruning. Tied models share one parameter between embedding and
decoder. An untied one may have a narrow linear layer, the bottleneck, between the last recurrent
layer and the decoder (`isslim/compress/pruning/narrow.py`).

Legend: B batch, T steps, V vocabulary, E embedding width, H units of a layer, K width of the
bottleneck.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.names import (
    DECODER,
    DECODER_BIAS,
    DECODER_WEIGHT,
    EMBEDDING,
    EMBEDDING_WEIGHT,
)
from isslim.compress.layers.recurrent import RecurrentLayer
from isslim.compress.layers.regularisation import Regularisation, regularisation_of
from isslim.compress.pruning.axes import (
    Arrays,
    Dimension,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.narrow import BOTTLENECK, declare_narrow
from isslim.compress.training.state import State
from isslim.types.axis_names import units_of


@dataclass(frozen=True)
class StackedSpec:
    """Sizes of a stacked recurrent language model.

    Attributes:
        vocabulary: V.
        embedding: E.
        units: H of each layer, from the bottom.
        tied: whether the decoder's matrix is the embedding's.
        bottleneck: K; None where the decoder reads the last layer itself.
    """

    vocabulary: int
    embedding: int
    units: tuple[int, ...]
    tied: bool = False
    bottleneck: int | None = None


class StackedLanguageModel(LanguageModel):
    """Maps tokens (T, B) to the logits (T, B, V) of the token after each.

    Args:
        spec: the sizes; `tied` needs `embedding == units[-1]`.
        dropout: the noise during training; a number is the probability of dropping a non-recurrent
            activation.

    Attributes:
        cell: name of the layers in the names of axes.
        layer_type: the class of the layers.
        spec_type: the class of the sizes.

    Raises:
        ValueError: when a tied model's embedding width is not the last layer's number of units, or
            it has a bottleneck, or the regularisation asks for `dropout_state`.
    """

    cell: ClassVar[str]
    layer_type: ClassVar[type[RecurrentLayer]]
    spec_type: ClassVar[type[StackedSpec]]

    def __init__(self, spec: StackedSpec, dropout: float | Regularisation = 0.0) -> None:
        super().__init__()
        if spec.tied and spec.embedding != spec.units[-1]:
            raise ValueError(
                f"a tied model needs an embedding as wide as its last layer: {spec.embedding} != "
                f"{spec.units[-1]}"
            )
        if spec.tied and spec.bottleneck is not None:
            raise ValueError(
                "a tied model has no bottleneck: its decoder reads with the embedding, as wide as "
                "the last layer"
            )
        self.regularisation = regularisation_of(dropout)
        if self.regularisation.dropout_state > 0:
            raise ValueError(
                f"'dropout_state' is of recurrent highway networks only; {self.cell} layers are "
                "fused"
            )
        self.spec, self.vocabulary = spec, spec.vocabulary
        self.embedding = nn.Embedding(spec.vocabulary, spec.embedding)
        widths = (spec.embedding, *spec.units)
        self.layers = nn.ModuleList(
            self.layer_type(below, units) for below, units in zip(widths, spec.units, strict=False)
        )
        narrow = spec.bottleneck
        self.bottleneck = None if narrow is None else nn.Linear(spec.units[-1], narrow)
        self.decoder = nn.Linear(spec.units[-1] if narrow is None else narrow, spec.vocabulary)
        if spec.tied:
            self.decoder.weight = self.embedding.weight

    def zero_state(self, batch: int) -> State:
        """The state before a text: per layer its tensors (1, B, H), float32 zeros."""
        device = self.embedding.weight.device
        return [
            tuple(
                torch.zeros(1, batch, units, device=device) for _ in range(self.layer_type.states)
            )
            for units in self.spec.units
        ]

    def hidden(self, tokens: Tensor, state: State) -> tuple[list[Tensor], State]:
        """Runs the recurrent part.

        Args:
            tokens: int64 (T, B).
            state: per layer, its tensors (1, B, H).

        Returns:
            The embedding (T, B, E) followed by each layer's output (T, B, H), and the state after
            the last step.
        """
        noise = self.regularisation
        words = noise.embedded(self.embedding.weight, tokens, training=self.training)
        outputs = [words]  # (T, B, E)
        after: State = []
        for index, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            probability = noise.dropout if index else noise.before_first
            output, new = layer(
                noise.dropped(outputs[-1], probability, training=self.training), before, noise
            )
            outputs.append(output)
            after.append(new)
        return outputs, after

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """See `LanguageModel.forward`."""
        outputs, after = self.hidden(tokens, state)
        noise = self.regularisation
        logits: Tensor = self.decoder(
            self._narrowed(noise.dropped(outputs[-1], noise.behind_last, training=self.training))
        )
        return logits, after

    def _narrowed(self, top: Tensor) -> Tensor:
        """The decoder's input: the last layer's output (..., H), through the bottleneck if any."""
        return top if self.bottleneck is None else self.bottleneck(top)

    def site_inputs(self, tokens: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """See `LanguageModel.site_inputs`.

        A layer reads the output below it, and its own output of the step before.
        """
        values, after = self.hidden(tokens, state)
        inputs = {DECODER: self._narrowed(values[-1])}
        if self.bottleneck is not None:
            inputs[BOTTLENECK.name] = values[-1]
        for index, (below, own) in enumerate(pairwise(values)):
            previous = torch.cat([state[index][0], own[:-1]])  # (T, B, H)
            if self.layer_type.joint:
                inputs[f"layers.{index}"] = torch.cat([below, previous], dim=-1)
            else:
                inputs |= {f"layers.{index}.input": below, f"layers.{index}.recurrent": previous}
        return inputs, after

    def declaration(self) -> NetworkAxes:
        """See `declare_stack`."""
        return declare_stack(self.spec, self.cell, self.layer_type)

    def rebuilt(self, arrays: Arrays, dropout: float | Regularisation = 0.0) -> Self:
        """See `LanguageModel.rebuilt` and `from_arrays`; tied if this model is."""
        return self.from_arrays(arrays, tied=self.spec.tied, dropout=dropout)

    @classmethod
    def from_arrays(
        cls, arrays: Arrays, *, tied: bool, dropout: float | Regularisation = 0.0
    ) -> Self:
        """A model of the sizes that the arrays have, with their values, in evaluation mode.

        Args:
            arrays: as `LanguageModel.arrays` gives them, of any sizes.
            tied: whether `embedding.weight` is also the decoder's matrix.
            dropout: see the class.
        """
        layers = sum(name.endswith("weight_hh_l0") for name in arrays)
        vocabulary, embedding = arrays[EMBEDDING_WEIGHT].shape
        units = tuple(arrays[f"layers.{index}.weight_hh_l0"].shape[1] for index in range(layers))
        narrow = len(arrays[BOTTLENECK.weight]) if BOTTLENECK.weight in arrays else None
        return cls(cls.spec_type(vocabulary, embedding, units, tied, narrow), dropout).filled(
            arrays
        )


def declare_stack(spec: StackedSpec, cell: str, layer: type[RecurrentLayer]) -> NetworkAxes:
    """The axes: `embedding`, and `units:<cell>0`, `units:<cell>1`, ... from the bottom.

    In a tied model the embedding's width and the last layer's units are one axis,
    `units:<cell><last>`. The width of a bottleneck is the axis `bottleneck`. A joint layer is one
    site; any other is two, the input and the recurrent pre-activation, each with its own bias.

    Args:
        spec: the sizes.
        cell: name of the layers in the names of axes.
        layer: the class of the layers.
    """
    last = units_of(f"{cell}{len(spec.units) - 1}")
    wide = last if spec.tied else EMBEDDING
    vocabulary: Dimension = (Segment(None, spec.vocabulary),)
    axes = {} if spec.tied else {EMBEDDING: spec.embedding}
    dimensions: dict[str, tuple[Dimension, ...]] = {
        EMBEDDING_WEIGHT: (vocabulary, (Segment(wide, spec.embedding),)),
        DECODER_BIAS: (vocabulary,),
    }
    sites: list[PreActivation] = []
    below, below_size, below_activation = wide, spec.embedding, EMBEDDING
    for index, units in enumerate(spec.units):
        activation, prefix = f"{cell}{index}", f"layers.{index}"
        own = units_of(activation)
        axes[own] = units
        gates: Dimension = (Segment(own, units, repeat=layer.gates),)
        dimensions |= {
            f"{prefix}.weight_ih_l0": (gates, (Segment(below, below_size),)),
            f"{prefix}.weight_hh_l0": (gates, (Segment(own, units),)),
            f"{prefix}.bias_ih_l0": (gates,),
            f"{prefix}.bias_hh_l0": (gates,),
        }
        inward = InputMatrix(f"{prefix}.weight_ih_l0", (below_activation,))
        across = InputMatrix(f"{prefix}.weight_hh_l0", (f"{activation}:previous",))
        if layer.joint:
            sites.append(PreActivation(prefix, (inward, across), f"{prefix}.bias_ih_l0"))
        else:
            sites.append(PreActivation(f"{prefix}.input", (inward,), f"{prefix}.bias_ih_l0"))
            sites.append(PreActivation(f"{prefix}.recurrent", (across,), f"{prefix}.bias_hh_l0"))
        below, below_size, below_activation = own, units, activation
    output = EMBEDDING_WEIGHT if spec.tied else DECODER_WEIGHT
    dimensions.setdefault(output, (vocabulary, (Segment(last, spec.units[-1]),)))
    reader = InputMatrix(output, (below_activation,))
    sites.append(PreActivation(DECODER, (reader,), DECODER_BIAS))
    produced = {output: EMBEDDING} if spec.tied else {}
    declaration = NetworkAxes(axes, dimensions, tuple(sites), produced)
    return (
        declaration
        if spec.bottleneck is None
        else declare_narrow(declaration, BOTTLENECK, spec.bottleneck)
    )
