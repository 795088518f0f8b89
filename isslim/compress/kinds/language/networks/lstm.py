"""The stacked LSTM language model: see `stacked`, with LSTM layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.kinds.language.networks.stacked_axes import declare_stack
from isslim.compress.kinds.language.networks.stacked_spec import StackedSpec
from isslim.compress.layers.recurrent import LstmLayer
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.pruning.axes import Arrays, NetworkAxes


@dataclass(frozen=True)
class LstmSpec(StackedSpec):
    """Sizes of a stacked LSTM language model."""


class LstmLanguageModel(StackedLanguageModel):
    """A stacked LSTM language model; see `StackedLanguageModel`."""

    architecture: ClassVar = "lstm-language-model"
    cell, layer_type, spec_type = "lstm", LstmLayer, LstmSpec


def declare(spec: StackedSpec) -> NetworkAxes:
    """The axes of the model: `embedding`, and `units:lstm0`, `units:lstm1`, ... from the bottom."""
    return declare_stack(spec, LstmLanguageModel.cell, LstmLayer)


def from_arrays(
    arrays: Arrays, *, tied: bool, dropout: float | Regularisation = 0.0
) -> LstmLanguageModel:
    """See `StackedLanguageModel.from_arrays`."""
    return LstmLanguageModel.from_arrays(arrays, tied=tied, dropout=dropout)
