"""Small declared networks in numpy, and entry by entry which component an entry belongs to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import (
    Arrays,
    Dimension,
    InputMatrix,
    NetworkAxes,
    PreActivation,
    Segment,
)

FREE = Segment(None, 3)
A, B = Segment("a", 4), Segment("b", 2)


def network() -> NetworkAxes:
    """Gates of `a` that read [b; fixed; a], a tied matrix of `b`, an array that no site reads."""
    gates = (Segment("a", 4, repeat=3),)
    return NetworkAxes(
        axes={"a": 4, "b": 2},
        dimensions={
            "gates": (gates, (B, FREE)),
            "recurrent": (gates, (A,)),
            "bias": (gates,),
            "tied": ((Segment(None, 5),), (B,)),
            "mixed": ((FREE, A), (Segment(None, 2),), (A, Segment("b", 2, repeat=2), B)),
        },
        sites=(
            PreActivation(
                "layer",
                (InputMatrix("gates", ("below", "fixed")), InputMatrix("recurrent", ("a:before",))),
                "bias",
            ),
            PreActivation("decoder", (InputMatrix("tied", ("b",)),), None),
        ),
        produced={"tied": "below"},
    )


def filled(declaration: NetworkAxes, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Normal numbers in every array."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=axes.shape(declaration, name)).astype(np.float32)
        for name in declaration.dimensions
    }


Owner = tuple[str | None, int]


def owners(dimension: Dimension) -> list[Owner]:
    """Of each position of a dimension, the component that it belongs to."""
    return [
        (segment.axis, component)
        for segment in dimension
        for _ in range(segment.repeat)
        for component in range(segment.size)
    ]


def entries(declaration: NetworkAxes, name: str) -> Iterator[tuple[tuple[int, ...], list[Owner]]]:
    """Every entry of an array, and the component that each of its positions belongs to."""
    along = [list(enumerate(owners(each))) for each in declaration.dimensions[name]]
    for each in itertools.product(*along):
        yield tuple(position for position, _ in each), [owner for _, owner in each]


def is_kept(owner: Owner, keep: Mapping[str, NDArray[np.int64]]) -> bool:
    """Whether a component stays."""
    axis, component = owner
    return axis is None or axis not in keep or component in keep[axis].tolist()


def masked(
    arrays: Arrays, declaration: NetworkAxes, keep: Mapping[str, NDArray[np.int64]]
) -> dict[str, NDArray[np.float32]]:
    """Every entry of a removed component at zero, one by one."""
    result = {name: array.copy() for name, array in arrays.items()}
    for name in arrays:
        for index, belongs in entries(declaration, name):
            if not all(is_kept(owner, keep) for owner in belongs):
                result[name][index] = 0
    return result


WORDS, EMBEDDING, UNITS = 40, 5, 6


def language(words: int = WORDS, *, bias: bool = True) -> NetworkAxes:
    """An embedding, a layer of gates that reads it and its own units, and a decoder."""
    vocabulary, gates = (Segment(None, words),), (Segment("units", UNITS, repeat=2),)
    embedding, units = (Segment("embedding", EMBEDDING),), (Segment("units", UNITS),)
    dimensions = {
        "embedding.weight": (vocabulary, embedding),
        "layer.input": (gates, embedding),
        "layer.units": (gates, units),
        "layer.bias": (gates,),
        "decoder.weight": (vocabulary, units),
    }
    readers = (InputMatrix("layer.input", ("embedding",)), InputMatrix("layer.units", ("before",)))
    sites = (
        PreActivation("layer", readers, "layer.bias"),
        PreActivation(
            "decoder",
            (InputMatrix("decoder.weight", ("units",)),),
            "decoder.bias" if bias else None,
        ),
    )
    return NetworkAxes(
        {"embedding": EMBEDDING, "units": UNITS},
        dimensions | ({"decoder.bias": (vocabulary,)} if bias else {}),
        sites,
        {},
    )
