"""BiDAF's sizes, and what the dimensions of its arrays mean.

Axes: `filters` of the character CNN, and `units:<lstm>.forward` and `units:<lstm>.backward` of the
four LSTMs. Both directions are concatenated in one dimension, forward first, and are read wherever
that is read:

- contextual units in both directions of modelling0 and output and in both heads, four times each,
  as h, u~, h * u~ and h * h~; and in the attention's vector, three times. With its gates zero a
  unit is zero in the context and the question, so all products with it are: removal is exact.
- modelling1's units in the start head, and three times in the output LSTM: as m1, a and m1 * a. The
  published groups leave out a, the attention-pooled rows; here they belong to the component, so
  that nothing reads a removed unit.
- filters in both highway layers, whose gate, transform and carry share one index, and in the
  contextual LSTM. A filter of zeros is relu(0) = 0 and stays zero: the carry passes zero, the
  transform of zero rows is relu(0).

Word dimensions of the highway cannot be removed: its carry passes the fixed word vector on,
whatever the weights are. They are segments without an axis, as is the characters' embedding, which
is a few numbers a character and has no site to measure the importance of its columns.

The attention's vector, the convolution and the characters' embedding belong to no site: they are
cut, not repaired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isslim.compress.kinds.questions.networks.bidirectional import DIRECTIONS
from isslim.compress.pruning.axes import (
    Arrays,
    Dimension,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.runtime.questions.question_tokenizer import CONVOLUTION_WIDTH
from isslim.types.axis_names import units_of

LSTMS = ("contextual", "modelling0", "modelling1", "output")
Units = tuple[int, int]


@dataclass(frozen=True)
class BidafSpec:
    """Sizes; of an LSTM those of its forward and backward direction.

    Attributes:
        vectors: E, width of the word vectors.
        characters: number of ids of characters, with padding and the unknown one.
        character_embedding: width of a character's vector.
        filters: of the character CNN.
        contextual: units of the LSTM over the words.
        modelling0: units of the first LSTM over the attention.
        modelling1: units of the second.
        output: units of the LSTM before the end head.
    """

    vectors: int
    characters: int
    character_embedding: int = 8
    filters: int = 100
    contextual: Units = (100, 100)
    modelling0: Units = (100, 100)
    modelling1: Units = (100, 100)
    output: Units = (100, 100)

    @property
    def word(self) -> int:
        """Width of the highway layers."""
        return self.filters + self.vectors

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """The sizes of arrays, by their shapes.

        Raises:
            KeyError: when an array is missing that a size is read from.
        """
        characters, embedding = arrays["characters.weight"].shape
        filters = len(arrays["convolution.weight"])
        units = {
            lstm: tuple(
                arrays[f"{lstm}.{direction}s.weight_hh_l0"].shape[1] for direction in DIRECTIONS
            )
            for lstm in LSTMS
        }
        return cls(
            arrays["highways.0.gate.weight"].shape[1] - filters,
            characters,
            embedding,
            filters,
            **units,
        )


def declare(spec: BidafSpec) -> NetworkAxes:
    """The axes; see the module docstring."""
    axes = {"filters": spec.filters} | {
        units_of(f"{lstm}.{direction}"): size
        for lstm in LSTMS
        for direction, size in zip(DIRECTIONS, getattr(spec, lstm), strict=True)
    }
    one: Dimension = (Segment(None, 1),)
    width: Dimension = (Segment(None, spec.character_embedding),)
    filters: Dimension = (Segment("filters", spec.filters),)
    word: Dimension = (*filters, Segment(None, spec.vectors))
    contextual, modelled = _pair(axes, "contextual"), _pair(axes, "modelling1")
    joined: Dimension = contextual * 4
    dimensions: dict[str, tuple[Dimension, ...]] = {
        "characters.weight": ((Segment(None, spec.characters),), width),
        "convolution.weight": (filters, width, (Segment(None, CONVOLUTION_WIDTH),)),
        "convolution.bias": (filters,),
        "attention.weight": (one, contextual * 3),
    }
    sites: list[PreActivation] = []
    for layer in range(2):
        for part in ("transform", "gate"):
            name = f"highways.{layer}.{part}"
            dimensions |= {f"{name}.weight": (word, word), f"{name}.bias": (word,)}
            reader = InputMatrix(f"{name}.weight", _named(f"word{layer}", ("filters", "vectors")))
            sites.append(PreActivation(name, (reader,), f"{name}.bias"))
    flow = tuple(each for name in ("h", "u~", "h*u~", "h*h~") for each in _named(name))
    m1 = _named("modelling1")
    below: dict[str, tuple[Dimension, tuple[str, ...]]] = {
        "contextual": (word, _named("word2", ("filters", "vectors"))),
        "modelling0": (joined, flow),
        "modelling1": (_pair(axes, "modelling0"), _named("modelling0")),
        "output": (joined + modelled * 3, flow + m1 + _named("a") + _named("modelling1*a")),
    }
    heads = {"modelling1": ("start", modelled + joined, m1 + flow)}
    heads["output"] = ("end", _pair(axes, "output") + joined, _named("output") + flow)
    for lstm, (dimension, activations) in below.items():
        for direction in DIRECTIONS:
            name, own = f"{lstm}.{direction}s", units_of(f"{lstm}.{direction}")
            gates: Dimension = (Segment(own, axes[own], repeat=4),)
            dimensions |= {
                f"{name}.weight_ih_l0": (gates, dimension),
                f"{name}.weight_hh_l0": (gates, (Segment(own, axes[own]),)),
                f"{name}.bias_ih_l0": (gates,),
                f"{name}.bias_hh_l0": (gates,),
            }
            inward = InputMatrix(f"{name}.weight_ih_l0", activations)
            across = InputMatrix(f"{name}.weight_hh_l0", (f"{lstm}.{direction}:previous",))
            sites.append(PreActivation(name, (inward, across), f"{name}.bias_ih_l0"))
        if lstm in heads:
            head, dimension, activations = heads[lstm]
            dimensions |= {f"{head}.weight": (one, dimension), f"{head}.bias": (one,)}
            sites.append(
                PreActivation(head, (InputMatrix(f"{head}.weight", activations),), f"{head}.bias")
            )
    return NetworkAxes(axes, dimensions, tuple(sites), {})


def _pair(axes: dict[str, int], lstm: str) -> Dimension:
    """Both directions of an LSTM in one dimension."""
    names = [units_of(f"{lstm}.{direction}") for direction in DIRECTIONS]
    return tuple(Segment(name, axes[name]) for name in names)


def _named(activation: str, parts: tuple[str, ...] = DIRECTIONS) -> tuple[str, ...]:
    return tuple(f"{activation}.{part}" for part in parts)
