"""Stacked LSTM and GRU language models: embedding, recurrent layers of any sizes, linear decoder.

Layers may differ in size after pruning. Tied models share one parameter between embedding and
decoder. Any matrix of a layer may have a narrow linear layer before it
(`isslim/compress/layers/recurrent.py`). So may the decoder of an untied model, the bottleneck; or
it is in blocks of tokens, each with a narrow layer of its own
(`isslim/compress/layers/softmax.py`).

Legend: B batch, T steps, V vocabulary, E embedding width, H units of a layer, K width of a narrow
layer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.names import DECODER
from isslim.compress.kinds.language.networks.stacked_axes import declare_stack, narrow_places
from isslim.compress.kinds.language.networks.stacked_spec import StackedSpec, sizes_of
from isslim.compress.layers.recurrent import RecurrentLayer
from isslim.compress.layers.regularisation import Regularisation, regularisation_of
from isslim.compress.layers.softmax import BlockSoftmax
from isslim.compress.pruning import blocks
from isslim.compress.pruning.axes import Arrays, NarrowPlace, NetworkAxes
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.compress.training.state import State


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
            the regularisation asks for `dropout_state`.
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
            self.layer_type(
                widths[index], units, spec.input_rank(index), spec.recurrent_rank(index)
            )
            for index, units in enumerate(spec.units)
        )
        top = spec.units[-1]
        self.bottleneck = None if spec.bottleneck is None else nn.Linear(top, spec.bottleneck)
        self.softmax = BlockSoftmax(top, spec.blocks, spec.block_ranks) if spec.blocks else None
        self.decoder = None if spec.blocks else nn.Linear(spec.bottleneck or top, spec.vocabulary)
        if spec.tied and self.decoder is not None:
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
        return self._decoded(
            noise.dropped(outputs[-1], noise.behind_last, training=self.training)
        ), after

    def _decoded(self, top: Tensor) -> Tensor:
        """The logits (..., V) of the last layer's output (..., H)."""
        decode = self.softmax if self.decoder is None else self.decoder
        logits: Tensor = cast(nn.Module, decode)(self._narrowed(top))
        return logits

    def _narrowed(self, top: Tensor) -> Tensor:
        """The decoder's input: the last layer's output (..., H), through the bottleneck if any."""
        return top if self.bottleneck is None else self.bottleneck(top)

    def site_inputs(self, tokens: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """See `LanguageModel.site_inputs`.

        A layer reads the output below it, and its own output of the step before.
        """
        values, after = self.hidden(tokens, state)
        inputs = self._decoder_inputs(values[-1])
        for index, (below, own) in enumerate(pairwise(values)):
            layer, prefix = cast(RecurrentLayer, self.layers[index]), f"layers.{index}"
            previous = torch.cat([state[index][0], own[:-1]])  # (T, B, H)
            inward, across = layer.read(below, previous)
            if layer.narrow_ih is not None:
                inputs[f"{prefix}.narrow_ih"] = below
            if layer.narrow_hh is not None:
                inputs[f"{prefix}.narrow_hh"] = previous
            if self.layer_type.joint:
                inputs[prefix] = torch.cat([inward, across], dim=-1)
            else:
                inputs |= {f"{prefix}.input": inward, f"{prefix}.recurrent": across}
        return inputs, after

    def _decoder_inputs(self, top: Tensor) -> dict[str, Tensor]:
        """What the decoder's sites read, by site, of the last layer's output (T, B, H)."""
        if self.softmax is None:
            inputs = {DECODER: self._narrowed(top)}
            return inputs if self.bottleneck is None else inputs | {BOTTLENECK.name: top}
        inputs = {blocks.site_of(b): read for b, read in enumerate(self.softmax.narrowed(top))}
        ranks = enumerate(self.spec.block_ranks)
        return inputs | {blocks.place_of(block).name: top for block, rank in ranks if rank}

    def declaration(self) -> NetworkAxes:
        """See `declare_stack`."""
        return declare_stack(self.spec, self.cell, self.layer_type)

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        """See `stacked_axes.narrow_places`."""
        return narrow_places(self.spec, self.cell, self.layer_type)

    def filled(self, arrays: Arrays) -> Self:
        """See `TrainableNetwork.filled`.

        Raises:
            ValueError: when the order of a decoder in blocks does not name every token once.
        """
        if self.softmax is not None:
            order = np.sort(arrays[blocks.ORDER])
            if not np.array_equal(order, np.arange(self.vocabulary)):
                raise ValueError(
                    f"'{blocks.ORDER}' is not an order of the {self.vocabulary} tokens: each of "
                    f"0 to {self.vocabulary - 1} is expected once"
                )
        return super().filled(arrays)

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
        spec = sizes_of(arrays, cls.spec_type, cls.cell, cls.layer_type, tied=tied)
        return cls(spec, dropout).filled(arrays)
