"""The stacked GRU language model: see `stacked`, with GRU layers as torch and cuDNN define them.

    r, z = sigmoid(W x + b + R h + c)
    n = tanh(W_n x + b_n + r * (R_n h + c_n))
    h' = (1 - z) * n + z * h

The reset gate multiplies the recurrent product, bias included, so that the input part and the
recurrent part of a layer are two pre-activations: `bias_ih` takes the offset of a repair below,
`bias_hh` that of a repair across. A unit whose weights and biases are zero has n = 0 and stays at
zero from a zero state: removal is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.kinds.language.networks.stacked_spec import StackedSpec
from isslim.compress.layers.recurrent import GruLayer


@dataclass(frozen=True)
class GruSpec(StackedSpec):
    """Sizes of a stacked GRU language model."""


class GruLanguageModel(StackedLanguageModel):
    """A stacked GRU language model; see `StackedLanguageModel`."""

    architecture: ClassVar = "gru-language-model"
    cell, layer_type, spec_type = "gru", GruLayer, GruSpec
