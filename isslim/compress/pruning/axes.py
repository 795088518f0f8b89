"""Named axes: the common basis of importance, removal, repair, counting and verification.

A network is a set of arrays whose dimensions carry axis names. Component k of an axis (an
*Intrinsic Sparse Structure*, Wen et al., arXiv 1709.05027) is every slice, in every array, at index
k of a dimension of that name. Which arrays *read* an axis is declared as sites: a site is one
pre-activation, `bias + sum_i W_i a_i`, whose matrices W_i (out, in) read the activations a_i, each
one or a concatenation of several. Removing a component removes its slices; repairing rewrites the
sites. An array that no site reads with is cut and counted, but not repaired.

This module is independent of torch, LSTMs and ONNX: it maps named arrays to new arrays, and never
changes its inputs.

Legend: H components of an axis, K kept ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Arrays = Mapping[str, Array]
Keep = Mapping[str, NDArray[np.int64]]


class AxisMismatch(ValueError):
    """A declaration does not fit the arrays it was made for.

    Attributes:
        issues: every disagreement found, one line each.
    """

    def __init__(self, issues: list[str]) -> None:
        self.issues = issues
        super().__init__("; ".join(issues))


@dataclass(frozen=True)
class Segment:
    """A run of one dimension: `repeat` blocks of `size` entries, each block indexed by `axis`.

    The four gates of an LSTM are one segment with `repeat=4`; a concatenation is several segments.
    Without an axis (None) its entries are not prunable.
    """

    axis: str | None
    size: int
    repeat: int = 1


Dimension = tuple[Segment, ...]


@dataclass(frozen=True)
class InputMatrix:
    """A matrix (out, in) of a site; the segments of its columns read `activations` in order."""

    parameter: str
    activations: tuple[str, ...]


@dataclass(frozen=True)
class PreActivation:
    """One pre-activation: the readers that are summed, and the bias (out,) that takes offsets.

    Without a bias a repair has no offset: what was removed is then predicted from the kept inputs
    alone, not from their means.
    """

    name: str
    readers: tuple[InputMatrix, ...]
    bias: str | None


@dataclass(frozen=True)
class NarrowPlace:
    """A place of a narrow linear layer: before one reader of a site, or several of the same.

    Attributes:
        axis: of its width; also the name of the activation that it makes.
        name: of its site.
        weight: its matrix (K, D).
        bias: its bias (K,).
        site: that reads it.
        reader: position of the reader in that site.
        others: sites and positions of further readers, of the same activations.
    """

    axis: str
    name: str
    weight: str
    bias: str
    site: str
    reader: int
    others: tuple[tuple[str, int], ...] = ()

    @property
    def readers(self) -> tuple[tuple[str, int], ...]:
        """Sites and positions of all that read it."""
        return ((self.site, self.reader), *self.others)


@dataclass(frozen=True)
class InputSlice:
    """One activation among a site's concatenated inputs.

    Attributes:
        reader: position of the reader in its site.
        activation: its name.
        axis: of its components; None where they are not prunable.
        start: of its first component among the site's inputs.
        offset: the same within the reader's own second dimension.
        size: how many there are.
    """

    reader: int
    activation: str
    axis: str | None
    start: int
    offset: int
    size: int

    @property
    def inputs(self) -> slice:
        """Its place among the site's inputs."""
        return slice(self.start, self.start + self.size)

    @property
    def columns(self) -> slice:
        """Its place in the reader's second dimension."""
        return slice(self.offset, self.offset + self.size)


@dataclass(frozen=True)
class NetworkAxes:
    """The meaning of the dimensions of a network's arrays.

    Attributes:
        axes: prunable axes and their sizes.
        dimensions: per array, one `Dimension` for each of its dimensions.
        sites: in the order of the data flow.
        produced: for a tied matrix, the activation whose values are its rows (the embedding):
            repairing the matrix as a reader also changes what it produces.
        narrow: the narrow layers that it has, in the order of their sites.
        indices: arrays of indices, which are never cut and are no parameters.
    """

    axes: Mapping[str, int]
    dimensions: Mapping[str, tuple[Dimension, ...]]
    sites: tuple[PreActivation, ...]
    produced: Mapping[str, str]
    narrow: tuple[NarrowPlace, ...] = ()
    indices: frozenset[str] = frozenset()

    def check(self, arrays: Arrays) -> None:
        """Compares the declaration with real arrays.

        Raises:
            AxisMismatch: with every disagreement, when names or shapes differ or an axis has two
                sizes.
        """
        issues = [
            f"'{name}' is declared but absent" for name in self.dimensions.keys() - arrays.keys()
        ]
        issues += [f"'{name}' is not declared" for name in arrays.keys() - self.dimensions.keys()]
        for name in self.dimensions.keys() & arrays.keys():
            declared = shape(self, name)
            if declared != arrays[name].shape:
                issues.append(f"'{name}' has shape {arrays[name].shape}, declared {declared}")
            for segment in (s for dimension in self.dimensions[name] for s in dimension):
                if segment.axis is not None and self.axes.get(segment.axis) != segment.size:
                    issues.append(
                        f"'{name}': {segment.axis} is {segment.size}, not "
                        f"{self.axes.get(segment.axis)}"
                    )
        for site in self.sites:
            for reader in site.readers:
                segments = (
                    self.dimensions[reader.parameter][1]
                    if reader.parameter in self.dimensions
                    else ()
                )
                if len(segments) != len(reader.activations) or any(
                    segment.repeat != 1 for segment in segments
                ):
                    issues.append(
                        f"site '{site.name}' reads {len(reader.activations)} activations with "
                        f"'{reader.parameter}', "
                        f"whose second dimension has {len(segments)} segments"
                    )
        if issues:
            raise AxisMismatch(sorted(issues))

    def parts(self, site: PreActivation) -> list[InputSlice]:
        """The activations of a site's concatenated inputs, in order."""
        parts: list[InputSlice] = []
        start = 0
        for position, reader in enumerate(site.readers):
            offset = 0
            for activation, segment in zip(
                reader.activations, self.dimensions[reader.parameter][1], strict=True
            ):
                parts.append(
                    InputSlice(position, activation, segment.axis, start, offset, segment.size)
                )
                start, offset = start + segment.size, offset + segment.size
        return parts

    def reads(self, site: PreActivation, axis: str) -> bool:
        """Whether a site reads an axis.

        Args:
            site: one of `sites`.
            axis: its name.
        """
        return any(part.axis == axis for part in self.parts(site))

    def all_components(self) -> dict[str, NDArray[np.int64]]:
        """Keeps every component of every axis."""
        return {axis: np.arange(size) for axis, size in self.axes.items()}


def select_components(
    arrays: Arrays, declaration: NetworkAxes, keep: Keep
) -> tuple[dict[str, Array], NetworkAxes]:
    """Removes every component that `keep` does not name.

    Args:
        arrays: the network, as declared.
        declaration: its axes.
        keep: per axis the kept indices (K,), ascending; an axis not named stays whole.

    Returns:
        The smaller arrays and their declaration.

    Raises:
        AxisMismatch: when arrays and declaration disagree.
    """
    declaration.check(arrays)
    smaller = {}
    for name, array in arrays.items():
        for position, dimension in enumerate(declaration.dimensions[name]):
            index = _kept(dimension, keep)
            if len(index) < array.shape[position]:
                array = np.take(array, index, axis=position)
        smaller[name] = array
    return smaller, resized(declaration, {axis: len(kept) for axis, kept in keep.items()})


def resized(declaration: NetworkAxes, sizes: Mapping[str, int]) -> NetworkAxes:
    """The same declaration with some axes at other sizes.

    Args:
        declaration: of any sizes.
        sizes: the new ones, by axis.
    """
    new = {**declaration.axes, **sizes}
    dimensions = {
        name: tuple(
            tuple(Segment(s.axis, new[s.axis], s.repeat) if s.axis else s for s in dimension)
            for dimension in each
        )
        for name, each in declaration.dimensions.items()
    }
    return replace(declaration, axes=new, dimensions=dimensions)


def mask_components(arrays: Arrays, declaration: NetworkAxes, keep: Keep) -> dict[str, Array]:
    """The same network at full size with every slice of the removed components set to zero.

    With zero gates a removed LSTM unit stays at zero from a zero state, so this is the masked
    reference that a removal must equal.

    Args:
        arrays: the network, as declared.
        declaration: its axes.
        keep: per axis the kept indices (K,); an axis not named stays whole.

    Raises:
        AxisMismatch: when arrays and declaration disagree.
    """
    declaration.check(arrays)
    masked = {}
    for name, array in arrays.items():
        array = array.copy()
        for position, dimension in enumerate(declaration.dimensions[name]):
            gone = np.ones(array.shape[position], bool)
            gone[_kept(dimension, keep)] = False
            array[(slice(None),) * position + (gone,)] = 0
        masked[name] = array
    return masked


def scatter_components(arrays: Arrays, declaration: NetworkAxes, keep: Keep) -> dict[str, Array]:
    """The inverse of `select_components`: a small network at full size, with zeros elsewhere.

    Args:
        arrays: the small network.
        declaration: of the full-size one.
        keep: per axis the indices (K,) that the small one has; an axis not named is whole.
    """
    full = {}
    for name, array in arrays.items():
        whole = np.zeros(shape(declaration, name), array.dtype)
        whole[np.ix_(*(_kept(dimension, keep) for dimension in declaration.dimensions[name]))] = (
            array
        )
        full[name] = whole
    return full


def group_squared_norms(arrays: Arrays, declaration: NetworkAxes, axis: str) -> NDArray[np.float64]:
    """The squared norm of each component's slices (H,), the paper's groups, biases included.

    An entry where slices of two components cross counts in both.

    Args:
        arrays: the network.
        declaration: its axes.
        axis: whose components.
    """
    total = np.zeros(declaration.axes[axis])
    for name, array in arrays.items():
        for position, dimension in enumerate(declaration.dimensions[name]):
            squares = np.square(array, dtype=np.float64)
            along = squares.sum(axis=tuple(i for i in range(array.ndim) if i != position))
            start = 0
            for segment in dimension:
                length = segment.size * segment.repeat
                if segment.axis == axis:
                    total += (
                        along[start : start + length]
                        .reshape(segment.repeat, segment.size)
                        .sum(axis=0)
                    )
                start += length
    return total


def shape(declaration: NetworkAxes, name: str) -> tuple[int, ...]:
    """The declared shape of an array.

    Args:
        declaration: that names it.
        name: of the array.
    """
    return tuple(map(_length, declaration.dimensions[name]))


def parameters(declaration: NetworkAxes) -> int:
    """Number of weights, biases included; a tied matrix counts once, an array of indices never."""
    return sum(
        math.prod(shape(declaration, name))
        for name in declaration.dimensions
        if name not in declaration.indices
    )


def mult_adds(declaration: NetworkAxes) -> int:
    """Multiply-adds of one token: every matrix of every site once.

    Look-ups and element-wise work are not counted.
    """
    return sum(
        math.prod(shape(declaration, reader.parameter))
        for site in declaration.sites
        for reader in site.readers
    )


def _length(dimension: Dimension) -> int:
    length = 0
    for segment in dimension:  # a search counts hundreds of thousands: `sum` takes twice as long
        length += segment.size * segment.repeat
    return length


def _kept(dimension: Dimension, keep: Keep) -> NDArray[np.int64]:
    """Positions along a dimension that stay when its axes keep the given components."""
    parts, start = [], 0
    for segment in dimension:
        known = segment.axis is not None and segment.axis in keep
        kept = keep[str(segment.axis)] if known else np.arange(segment.size)
        parts += [start + block * segment.size + kept for block in range(segment.repeat)]
        start += segment.size * segment.repeat
    return np.concatenate(parts)
