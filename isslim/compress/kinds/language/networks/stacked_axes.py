"""The named axes of a stacked recurrent language model, and where it can take narrow layers."""

from __future__ import annotations

from dataclasses import dataclass, field

from isslim.compress.kinds.language.networks.names import (
    DECODER,
    DECODER_BIAS,
    DECODER_WEIGHT,
    EMBEDDING,
    EMBEDDING_WEIGHT,
    input_place,
    recurrent_place,
)
from isslim.compress.kinds.language.networks.stacked_spec import StackedSpec
from isslim.compress.layers.recurrent import RecurrentLayer
from isslim.compress.pruning import blocks
from isslim.compress.pruning.axes import (
    Dimension,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.narrow import BOTTLENECK
from isslim.types.axis_names import units_of


@dataclass(frozen=True)
class _Activation:
    """What a matrix reads, and what its columns are then."""

    name: str
    dimension: Dimension


@dataclass
class _Draft:
    """A declaration in the making."""

    axes: dict[str, int]
    dimensions: dict[str, tuple[Dimension, ...]] = field(default_factory=dict)
    sites: list[PreActivation] = field(default_factory=list)
    narrow: list[NarrowPlace] = field(default_factory=list)

    def narrowed(self, place: NarrowPlace, width: int, read: _Activation) -> _Activation:
        """What the reader at a place reads: through a narrow layer, or with width 0 as it is.

        Args:
            place: of the narrow layer.
            width: K.
            read: what is read there without it.
        """
        if not width:
            return read
        rank: Dimension = (Segment(place.axis, width),)
        self.axes[place.axis] = width
        self.narrow.append(place)
        self.site(place.name, place.bias, rank, {place.weight: read})
        return _Activation(place.axis, rank)

    def site(self, name: str, bias: str, rows: Dimension, matrices: dict[str, _Activation]) -> None:
        """Declares a pre-activation of matrices that each read one activation.

        Args:
            name: of the site.
            bias: its array.
            rows: of every matrix.
            matrices: by name, what each reads.
        """
        self.dimensions[bias] = (rows,)
        for weight, read in matrices.items():
            self.dimensions.setdefault(weight, (rows, read.dimension))
        readers = tuple(InputMatrix(weight, (read.name,)) for weight, read in matrices.items())
        self.sites.append(PreActivation(name, readers, bias))


def declare_stack(spec: StackedSpec, cell: str, layer: type[RecurrentLayer]) -> NetworkAxes:
    """The axes: `embedding`, and `units:<cell>0`, `units:<cell>1`, ... from the bottom.

    In a tied model the embedding's width and the last layer's units are one axis,
    `units:<cell><last>`. Widths of narrow layers are axes too: `rank:<cell>0.input`,
    `rank:<cell>0.recurrent`, ..., and `bottleneck` or `rank:softmax0`, ... A joint layer is one
    site; any other is two, the input and the recurrent pre-activation, each with its own bias. A
    decoder in blocks is one site for each.

    Args:
        spec: the sizes.
        cell: name of the layers in the names of axes.
        layer: the class of the layers.
    """
    wide = units_of(f"{cell}{len(spec.units) - 1}") if spec.tied else EMBEDDING
    draft = _Draft({} if spec.tied else {EMBEDDING: spec.embedding})
    below = _Activation(EMBEDDING, (Segment(wide, spec.embedding),))
    vocabulary: Dimension = (Segment(None, spec.vocabulary),)
    draft.dimensions[EMBEDDING_WEIGHT] = (vocabulary, below.dimension)
    for index in range(len(spec.units)):
        below = _declare_layer(draft, spec, index, (cell, layer), below)
    produced, indices = {}, frozenset[str]()
    if spec.blocks:
        _declare_blocks(draft, spec, below)
        draft.dimensions[blocks.ORDER], indices = (vocabulary,), frozenset({blocks.ORDER})
    else:
        output = EMBEDDING_WEIGHT if spec.tied else DECODER_WEIGHT
        produced = {output: EMBEDDING} if spec.tied else {}
        top = draft.narrowed(BOTTLENECK, spec.bottleneck or 0, below)
        draft.site(DECODER, DECODER_BIAS, vocabulary, {output: top})
    return NetworkAxes(
        draft.axes, draft.dimensions, tuple(draft.sites), produced, tuple(draft.narrow), indices
    )


def _declare_layer(
    draft: _Draft,
    spec: StackedSpec,
    index: int,
    kind: tuple[str, type[RecurrentLayer]],
    below: _Activation,
) -> _Activation:
    """Declares a layer with its narrow layers, and gives its output."""
    (cell, layer), units, prefix = kind, spec.units[index], f"layers.{index}"
    activation, axis = f"{cell}{index}", units_of(f"{cell}{index}")
    draft.axes[axis] = units
    own, gates = (Segment(axis, units),), (Segment(axis, units, repeat=layer.gates),)
    inward, across = f"{prefix}.weight_ih_l0", f"{prefix}.weight_hh_l0"
    into = input_place(cell, index, joint=layer.joint)
    back = recurrent_place(cell, index, joint=layer.joint)
    read = draft.narrowed(into, spec.input_rank(index), below)
    if not layer.joint:
        draft.site(into.site, f"{prefix}.bias_ih_l0", gates, {inward: read})
    previous = _Activation(f"{activation}:previous", own)
    previous = draft.narrowed(back, spec.recurrent_rank(index), previous)
    if layer.joint:
        draft.site(prefix, f"{prefix}.bias_ih_l0", gates, {inward: read, across: previous})
        draft.dimensions[f"{prefix}.bias_hh_l0"] = (gates,)
    else:
        draft.site(back.site, f"{prefix}.bias_hh_l0", gates, {across: previous})
    return _Activation(activation, own)


def _declare_blocks(draft: _Draft, spec: StackedSpec, top: _Activation) -> None:
    """Declares the blocks of a decoder, each with its narrow layer."""
    for block, size in enumerate(spec.blocks):
        read = draft.narrowed(blocks.place_of(block), spec.block_rank(block), top)
        matrices, rows = {blocks.weight_of(block): read}, (Segment(None, size),)
        draft.site(blocks.site_of(block), blocks.bias_of(block), rows, matrices)


def narrow_places(
    spec: StackedSpec, cell: str, layer: type[RecurrentLayer]
) -> tuple[NarrowPlace, ...]:
    """The places before recurrent layers for a narrow layer that is not there yet, from the bottom.

    The first layer reads the embedding, whose width is a rank already, unless it is tied.

    Args:
        spec: the sizes.
        cell: name of the layers in the names of axes.
        layer: the class of the layers.
    """
    places = []
    for index in range(len(spec.units)):
        if not spec.input_rank(index) and (index or spec.tied):
            places.append(input_place(cell, index, joint=layer.joint))
        if not spec.recurrent_rank(index):
            places.append(recurrent_place(cell, index, joint=layer.joint))
    return tuple(places)
