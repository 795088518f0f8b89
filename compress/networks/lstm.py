"""The stacked LSTM language model as a torch module: embedding, LSTM layers of any sizes, linear decoder.

Each layer is an `nn.LSTM` of one layer, so that layers may differ in size after pruning. Tied models share one
parameter between embedding and decoder. Dropout follows Zaremba et al. (arXiv 1409.2329): on the embedding, between
the layers and before the decoder, never on a recurrent connection.

Legend: B batch, T steps, V vocabulary, E embedding width, H units of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from compress.axes import Arrays, Declaration, Dimension, Reader, Segment, Site
from compress.networks.contract import LanguageModel, State


@dataclass(frozen=True)
class LstmSpec:
    """Sizes of a stacked LSTM language model."""

    vocabulary: int
    embedding: int
    units: tuple[int, ...]
    tied: bool = False


class LstmLanguageModel(LanguageModel):
    """Maps tokens (T, B) to the logits (T, B, V) of the token after each.

    Args:
        spec: the sizes; `tied` needs `embedding == units[-1]`.
        dropout: probability of dropping a non-recurrent activation in training.

    Raises:
        ValueError: when a tied model's embedding width is not the last layer's number of units.
    """

    def __init__(self, spec: LstmSpec, dropout: float = 0.0) -> None:
        super().__init__()
        if spec.tied and spec.embedding != spec.units[-1]:
            raise ValueError(
                f"a tied model needs an embedding as wide as its last layer: {spec.embedding} != {spec.units[-1]}"
            )
        self.spec, self.vocabulary = spec, spec.vocabulary
        self.embedding = nn.Embedding(spec.vocabulary, spec.embedding)
        widths = (spec.embedding, *spec.units)
        self.layers = nn.ModuleList(nn.LSTM(below, units) for below, units in zip(widths, spec.units, strict=False))
        self.decoder = nn.Linear(spec.units[-1], spec.vocabulary)
        if spec.tied:
            self.decoder.weight = self.embedding.weight
        self.dropout = nn.Dropout(dropout)

    def initialise(self, scale: float, generator: torch.Generator) -> None:
        """Draws every weight uniformly from (-scale, scale); biases start at zero, as in the paper's code."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "bias" in name:
                    parameter.zero_()
                else:
                    parameter.uniform_(-scale, scale, generator=generator)

    def zero_state(self, batch: int) -> State:
        """The state before a text: per layer, hidden and cell of shape (1, B, H), float32 zeros."""
        device = self.embedding.weight.device
        return [
            (torch.zeros(1, batch, units, device=device), torch.zeros(1, batch, units, device=device))
            for units in self.spec.units
        ]

    def hidden(self, tokens: Tensor, state: State) -> tuple[list[Tensor], State]:
        """Runs the recurrent part.

        Args:
            tokens: int64 (T, B).
            state: per layer, hidden and cell (1, B, H).

        Returns:
            The embedding (T, B, E) followed by each layer's output (T, B, H), and the state after the last step.
        """
        outputs = [self.embedding(tokens)]  # (T, B, E)
        after: State = []
        for layer, before in zip(self.layers, state, strict=True):
            output, new = layer(self.dropout(outputs[-1]), before)
            outputs.append(output)
            after.append(new)
        return outputs, after

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (T, B, V) of the token after each of `tokens` (T, B), and the state after the last step."""
        outputs, after = self.hidden(tokens, state)
        logits: Tensor = self.decoder(self.dropout(outputs[-1]))
        return logits, after

    def site_inputs(self, tokens: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """Per layer what is below it and its own output of the step before; for the decoder the last layer's output."""
        values, after = self.hidden(tokens, state)
        inputs = {"decoder": values[-1]}
        for index, (below, own) in enumerate(pairwise(values)):
            previous = torch.cat([state[index][0], own[:-1]])  # (T, B, H): what the recurrent matrix reads
            inputs[f"layers.{index}"] = torch.cat([below, previous], dim=-1)
        return inputs, after

    def declaration(self) -> Declaration:
        """See `declare`."""
        return declare(self.spec)

    def rebuilt(self, arrays: Arrays, dropout: float = 0.0) -> LstmLanguageModel:
        """See `from_arrays`; tied if this model is."""
        return from_arrays(arrays, tied=self.spec.tied, dropout=dropout)


def declare(spec: LstmSpec) -> Declaration:
    """The named axes of the model: `embedding`, and `units:lstm0`, `units:lstm1`, ... from the bottom.

    In a tied model the embedding's width and the last layer's units are one axis, `units:lstm<last>`.
    """
    last = f"units:lstm{len(spec.units) - 1}"
    wide = last if spec.tied else "embedding"
    vocabulary: Dimension = (Segment(None, spec.vocabulary),)
    axes = {} if spec.tied else {"embedding": spec.embedding}
    dimensions: dict[str, tuple[Dimension, ...]] = {
        "embedding.weight": (vocabulary, (Segment(wide, spec.embedding),)),
        "decoder.bias": (vocabulary,),
    }
    sites = []
    below, below_size, below_activation = wide, spec.embedding, "embedding"
    for index, units in enumerate(spec.units):
        own, activation, prefix = f"units:lstm{index}", f"lstm{index}", f"layers.{index}"
        axes[own] = units
        gates: Dimension = (Segment(own, units, repeat=4),)
        dimensions |= {
            f"{prefix}.weight_ih_l0": (gates, (Segment(below, below_size),)),
            f"{prefix}.weight_hh_l0": (gates, (Segment(own, units),)),
            f"{prefix}.bias_ih_l0": (gates,),
            f"{prefix}.bias_hh_l0": (gates,),
        }
        readers = (
            Reader(f"{prefix}.weight_ih_l0", below_activation, below),
            Reader(f"{prefix}.weight_hh_l0", f"{activation}:previous", own),
        )
        sites.append(Site(prefix, readers, f"{prefix}.bias_ih_l0"))
        below, below_size, below_activation = own, units, activation
    output = "embedding.weight" if spec.tied else "decoder.weight"
    dimensions.setdefault(output, (vocabulary, (Segment(last, spec.units[-1]),)))
    sites.append(Site("decoder", (Reader(output, below_activation, last),), "decoder.bias"))
    return Declaration(axes, dimensions, tuple(sites), {output: "embedding"} if spec.tied else {})


def from_arrays(arrays: Arrays, *, tied: bool, dropout: float = 0.0) -> LstmLanguageModel:
    """A model of the sizes that the arrays have, with their values.

    Args:
        arrays: as `LanguageModel.arrays` gives them, of any sizes.
        tied: whether `embedding.weight` is also the decoder's matrix.
        dropout: see `LstmLanguageModel`.
    """
    layers = sum(name.endswith("weight_hh_l0") for name in arrays)
    vocabulary, embedding = arrays["embedding.weight"].shape
    units = tuple(arrays[f"layers.{index}.weight_hh_l0"].shape[1] for index in range(layers))
    network = LstmLanguageModel(LstmSpec(vocabulary, embedding, units, tied), dropout)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(arrays[name]))
    return network.eval()
