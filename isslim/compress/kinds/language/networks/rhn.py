"""The recurrent highway language model (Zilly et al., arXiv 1607.03474), as in its PTB experiment.

One recurrent layer whose step is `depth` highway layers with coupled gates; only the first reads
the input:

    h = tanh(W_h x [first depth] + R_h s + b_h)    t = sigmoid(W_t x [first depth] + R_t s + b_t)
    s <- h * t + s * (1 - t)

h and t are stacked in that order along the first dimension of every parameter. One axis,
`units:rhn`, goes through every depth and the output, and in a tied model through the embedding as
well; an untied embedding's width is an axis of its own. A unit whose weights and biases are zero
has h = 0 and stays at zero from a zero state: removal is exact.

The paper's rates are `Regularisation(variational=True, dropout_embedding=x, dropout_input=i,
dropout_state=h, dropout_output=o)`.

Legend: B batch, T steps, V vocabulary, E embedding width, W units (the width), D depth.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from isslim.compress.layers.regularisation import Regularisation, regularisation_of
from isslim.compress.pruning.axes import (
    Arrays,
    Dimension,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.training.state import State
from isslim.types.axis_names import units_of

AXIS = units_of("rhn")
TRANSFORM_BIAS = -2.0
"""Initial bias of the transform gates: at first the state is mostly carried."""


@dataclass(frozen=True)
class RhnSpec:
    """Sizes of a recurrent highway language model: V, E, W, D."""

    vocabulary: int
    embedding: int
    width: int
    depth: int
    tied: bool = False


class HighwayLayer(nn.Module):
    """The recurrent part.

    Its parameters are `input.weight` (2 W, E), and for each depth `depths.<d>.weight` (2 W, W) and
    `depths.<d>.bias` (2 W).
    """

    def __init__(self, below: int, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(below, 2 * width, bias=False)
        self.depths = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.open_carry()

    def linears(self) -> list[nn.Linear]:
        """The linear layers of the depths.

        Their weights are read as attributes: `get_parameter` would refuse the plain tensors that
        `functional_call` puts in the place of parameters.
        """
        return [each for each in self.depths if isinstance(each, nn.Linear)]

    def open_carry(self) -> None:
        """Sets the biases to their initial values: zero for h, `TRANSFORM_BIAS` for t."""
        with torch.no_grad():
            for each in self.linears():
                each.bias[: self.width] = 0
                each.bias[self.width :] = TRANSFORM_BIAS

    def forward(
        self, inputs: Tensor, state: Tensor, noise: Regularisation
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Runs all steps.

        Args:
            inputs: (T, B, E).
            state: (B, W).
            noise: its `dropout_state` and `weight_drop` act here.

        Returns:
            The state (T, B, W) after every step, and for each depth the state (B, W) that it read
            at each step.
        """
        mask = noise.state_mask(state, training=self.training)
        matrices = [
            noise.connected(each.weight, training=self.training).t() for each in self.linears()
        ]
        biases = [each.bias for each in self.linears()]
        # The input part of all steps in one product, (T, B, 2 W).
        fed = nn.functional.linear(inputs, self.input.weight, biases[0])
        read: list[list[Tensor]] = [[] for _ in matrices]
        outputs = []
        for step in fed.unbind(0):
            for index, matrix in enumerate(matrices):
                read[index].append(state)
                seen = state if mask is None else state * mask
                change, transform = torch.addmm(
                    biases[index] if index else step, seen, matrix
                ).chunk(2, dim=-1)
                state = state + (change.tanh() - state) * transform.sigmoid()
            outputs.append(state)
        return torch.stack(outputs), read


class RhnLanguageModel(LanguageModel):
    """Maps tokens (T, B) to the logits (T, B, V) of the token after each.

    Args:
        spec: the sizes; `tied` needs `embedding == width`.
        dropout: the noise during training; a number is the probability of dropping a non-recurrent
            activation.

    Raises:
        ValueError: when a tied model's embedding is not of its width, or the depth is below 1.
    """

    architecture: ClassVar = "rhn-language-model"

    def __init__(self, spec: RhnSpec, dropout: float | Regularisation = 0.0) -> None:
        super().__init__()
        if spec.tied and spec.embedding != spec.width:
            raise ValueError(
                f"a tied model needs an embedding of its own width: {spec.embedding} != "
                f"{spec.width}"
            )
        if spec.depth < 1:
            raise ValueError(
                f"a recurrent highway network needs a depth of at least 1, not {spec.depth}"
            )
        self.spec, self.vocabulary = spec, spec.vocabulary
        self.regularisation = regularisation_of(dropout)
        self.embedding = nn.Embedding(spec.vocabulary, spec.embedding)
        self.highway = HighwayLayer(spec.embedding, spec.width, spec.depth)
        self.decoder = nn.Linear(spec.width, spec.vocabulary)
        if spec.tied:
            self.decoder.weight = self.embedding.weight

    def initialise(self, scale: float, generator: torch.Generator) -> None:
        """Uniform weights as in every model, with the transform gates' biases at `TRANSFORM_BIAS`.

        Args:
            scale: the weights are in [-scale, scale].
            generator: of the random numbers.
        """
        super().initialise(scale, generator)
        self.highway.open_carry()

    def zero_state(self, batch: int) -> State:
        """The state before a text: (1, B, W), float32 zeros."""
        return [(torch.zeros(1, batch, self.spec.width, device=self.embedding.weight.device),)]

    def _hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, Tensor, list[list[Tensor]]]:
        """Embedding (T, B, E), states (T, B, W), and by depth and step the state (B, W) it read."""
        noise = self.regularisation
        words = noise.embedded(self.embedding.weight, tokens, training=self.training)
        inputs = noise.dropped(words, noise.before_first, training=self.training)
        outputs, read = self.highway(inputs, state[0][0][0], noise)
        return words, outputs, read

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """See `LanguageModel.forward`."""
        _, outputs, _ = self._hidden(tokens, state)
        noise = self.regularisation
        logits: Tensor = self.decoder(
            noise.dropped(outputs, noise.behind_last, training=self.training)
        )
        return logits, [(outputs[-1:],)]

    def site_inputs(self, tokens: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """See `LanguageModel.site_inputs`.

        Each depth reads a state, the first one the embedding and a state.
        """
        words, outputs, read = self._hidden(tokens, state)
        # (T, B, W) each
        inputs = {f"depths.{index}": torch.stack(each) for index, each in enumerate(read)}
        inputs["depths.0"] = torch.cat([words, inputs["depths.0"]], dim=-1)
        return inputs | {DECODER: outputs}, [(outputs[-1:],)]

    def declaration(self) -> NetworkAxes:
        """See `declare`."""
        return declare(self.spec)

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
        vocabulary, embedding = arrays[EMBEDDING_WEIGHT].shape
        depth = sum(
            name.startswith("highway.depths.") and name.endswith(".weight") for name in arrays
        )
        width = arrays["highway.depths.0.weight"].shape[1]
        return cls(RhnSpec(vocabulary, embedding, width, depth, tied), dropout).filled(arrays)


def declare(spec: RhnSpec) -> NetworkAxes:
    """The axes of the model: `units:rhn`, and `embedding` when it is not tied."""
    wide = AXIS if spec.tied else EMBEDDING
    vocabulary: Dimension = (Segment(None, spec.vocabulary),)
    own: Dimension = (Segment(AXIS, spec.width),)
    gates: Dimension = (Segment(AXIS, spec.width, repeat=2),)
    embedded: Dimension = (Segment(wide, spec.embedding),)
    dimensions: dict[str, tuple[Dimension, ...]] = {
        EMBEDDING_WEIGHT: (vocabulary, embedded),
        "highway.input.weight": (gates, embedded),
        DECODER_BIAS: (vocabulary,),
    }
    sites = []
    for index in range(spec.depth):
        weight, bias = f"highway.depths.{index}.weight", f"highway.depths.{index}.bias"
        dimensions |= {weight: (gates, own), bias: (gates,)}
        inward = () if index else (InputMatrix("highway.input.weight", (EMBEDDING,)),)
        across = InputMatrix(weight, (f"rhn:{index - 1}" if index else "rhn:previous",))
        sites.append(PreActivation(f"depths.{index}", (*inward, across), bias))
    output = EMBEDDING_WEIGHT if spec.tied else DECODER_WEIGHT
    dimensions.setdefault(output, (vocabulary, own))
    reader = InputMatrix(output, (f"rhn:{spec.depth - 1}",))
    sites.append(PreActivation(DECODER, (reader,), DECODER_BIAS))
    axes = {AXIS: spec.width} if spec.tied else {EMBEDDING: spec.embedding, AXIS: spec.width}
    return NetworkAxes(axes, dimensions, tuple(sites), {output: EMBEDDING} if spec.tied else {})
