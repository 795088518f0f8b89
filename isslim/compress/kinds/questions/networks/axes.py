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

What an LSTM reads is wide, eight times as wide as a direction and more, and near a space of few
dimensions. So a narrow layer may stand before the input matrices of an LSTM, one for both
directions, which read the same: `rank:<lstm>.input`. One for each direction is two products, and
at the same loss took no fewer multiply-adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isslim.compress.kinds.questions.networks.bidirectional import DIRECTIONS
from isslim.compress.pruning.axes import (
    Arrays,
    Dimension,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.narrow import declare_narrow
from isslim.runtime.questions.question_tokenizer import CONVOLUTION_WIDTH
from isslim.types.axis_names import rank_of_input, units_of

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
        ranks: K of the narrow layer before the input of each of `LSTMS`; 0: there is none. Empty
            where none has one.

    Raises:
        ValueError: when ranks are not one for each LSTM.
    """

    vectors: int
    characters: int
    character_embedding: int = 8
    filters: int = 100
    contextual: Units = (100, 100)
    modelling0: Units = (100, 100)
    modelling1: Units = (100, 100)
    output: Units = (100, 100)
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.ranks and (len(self.ranks) != len(LSTMS) or min(self.ranks) < 0):
            raise ValueError(
                f"'ranks' is {list(self.ranks)}: {len(LSTMS)} numbers are expected, for "
                f"{', '.join(LSTMS)}, and 0 where there is no narrow layer"
            )
        if not any(self.ranks):
            object.__setattr__(self, "ranks", ())

    def rank(self, lstm: str) -> int:
        """K of the narrow layer before the input of one of `LSTMS`; 0: there is none."""
        return self.ranks[LSTMS.index(lstm)] if self.ranks else 0

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
        narrow = [arrays.get(input_place(lstm).weight) for lstm in LSTMS]
        return cls(
            arrays["highways.0.gate.weight"].shape[1] - filters,
            characters,
            embedding,
            filters,
            **units,
            ranks=tuple(0 if weight is None else len(weight) for weight in narrow),
        )


def input_place(lstm: str) -> NarrowPlace:
    """The place of the narrow layer before both input matrices of an LSTM."""
    name = f"{lstm}.narrow"
    first, *others = (f"{lstm}.{direction}s" for direction in DIRECTIONS)
    return NarrowPlace(
        rank_of_input(lstm),
        name,
        f"{name}.weight",
        f"{name}.bias",
        first,
        0,
        tuple((other, 0) for other in others),
    )


def narrow_places(spec: BidafSpec) -> tuple[NarrowPlace, ...]:
    """The places for narrow layers that are not there yet, in the order of the data flow."""
    return tuple(input_place(lstm) for lstm in LSTMS if not spec.rank(lstm))


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
    declaration = NetworkAxes(axes, dimensions, tuple(sites), {})
    for lstm in LSTMS:
        if rank := spec.rank(lstm):
            declaration = declare_narrow(declaration, input_place(lstm), rank)
    return declaration


def _pair(axes: dict[str, int], lstm: str) -> Dimension:
    """Both directions of an LSTM in one dimension."""
    names = [units_of(f"{lstm}.{direction}") for direction in DIRECTIONS]
    return tuple(Segment(name, axes[name]) for name in names)


def _named(activation: str, parts: tuple[str, ...] = DIRECTIONS) -> tuple[str, ...]:
    return tuple(f"{activation}.{part}" for part in parts)
