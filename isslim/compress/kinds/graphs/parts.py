"""Parameters and multiply-adds by part of a graph: recurrent layers, their readers, the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isslim.compress.onnx.model.recurrent import B
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import NetworkAxes
from isslim.compress.pruning.narrow import reader_of
from isslim.types.axis_names import is_rank
from isslim.types.manifest import PartRecord

_REST = "the rest of the graph"


def parts_of(original: GraphNetwork, declaration: NetworkAxes) -> list[PartRecord]:
    """Every recurrent layer, every matrix that reads an axis, and last the rest of the graph.

    Layers have a width, and matrices of whose channels some could be removed. A narrow layer counts
    to what it stands before.

    Args:
        original: the graph as it was read.
        declaration: its axes, at the sizes to count.
    """
    layers, second = original.meaning.layers, _second_biases(original, declaration)
    reading = {reader.parameter for site in declaration.sites for reader in site.readers}
    grouped: dict[str, list[str]] = {}
    without = _not_held(declaration)
    behind = {place.weight: reader_of(declaration, place).parameter for place in declaration.narrow}
    for name in declaration.dimensions:
        if name in without:
            continue
        own = behind.get(name, name)
        layer = next((each for each in layers if own.startswith(f"{each}.")), None)
        grouped.setdefault(layer or (own if own in reading else _REST), []).append(name)
    records = []
    for part, names in grouped.items():
        counts = {name: int(np.prod(axes.shape(declaration, name))) for name in names}
        records.append(
            PartRecord(
                name=_describe(original, part),
                width=_units(declaration, names)
                if part in layers
                else _channels(declaration, part),
                parameters=sum(counts.values())
                + second.get(part, 0)
                + (untouched(original) if part == _REST else 0),
                mult_adds=sum(count for name, count in counts.items() if name in reading),
            )
        )
    if _REST not in grouped and untouched(original):
        records.append(PartRecord(name=_REST, width=0, parameters=untouched(original), mult_adds=0))
    return sorted(records, key=lambda each: each.name == _REST)


def parameters_of(original: GraphNetwork, declaration: NetworkAxes) -> int:
    """All parameters of the graph, with those that no axis indexes.

    Args:
        original: the graph as it was read.
        declaration: its axes, at the sizes to count.
    """
    second = sum(_second_biases(original, declaration).values())
    return _declared(declaration) + second + untouched(original)


def untouched(original: GraphNetwork) -> int:
    """The number of parameters of the graph that no axis indexes."""
    # Rewrites leave constants behind that nothing reads, such as first states that are zeros.
    readers = original.trace.graph.readers
    whole = sum(
        array.size
        for name, array in original.source.constants.items()
        if array.dtype.kind == "f" and readers[name]
    )
    declaration = original.meaning.declaration
    second = sum(_second_biases(original, declaration).values())
    return max(0, whole - _declared(declaration) - second)


def _declared(declaration: NetworkAxes) -> int:
    """The values of all arrays that hold weights."""
    return axes.parameters(declaration) - sum(_not_held(declaration).values())


def _not_held(declaration: NetworkAxes) -> dict[str, int]:
    """The arrays that are no weights of a file, with their lengths.

    They number the units of an axis (`named_arrays`), or are the biases of narrow layers, which
    their readers add.
    """
    found = {f"{axis}.kept": size for axis, size in declaration.axes.items()}
    found |= {place.bias: declaration.axes[place.axis] for place in declaration.narrow}
    return {name: size for name, size in found.items() if name in declaration.dimensions}


def _second_biases(original: GraphNetwork, declaration: NetworkAxes) -> dict[str, int]:
    """Per layer, how many values its file holds beside the one bias that its two are summed to.

    The operators take a bias of W and one of R. Where only their sum counts, the arrays hold that,
    and a written graph has zeros in the place of the second.
    """
    found = {}
    for name, (layer, *_) in original.meaning.layers.items():
        seen = layer.recurrent
        if seen.joint and seen.given(B):
            biases = [f"{name}.{direction}.bias" for direction in seen.directions]
            found[name] = sum(int(np.prod(axes.shape(declaration, each))) for each in biases)
    return found


def _describe(original: GraphNetwork, part: str) -> str:
    """The name of a part: of a matrix that of its operator, since exporters number constants."""
    readers = [] if part in original.meaning.layers else original.trace.consumers.get(part, [])
    return next((node.name for node in readers if node.name), part)


def _channels(declaration: NetworkAxes, part: str) -> int:
    """Channels that a matrix gives, units among them where it meets some; 0 where all are fixed."""
    if part not in declaration.dimensions:
        return 0
    rows = declaration.dimensions[part][0]
    # A kernel gives the same channels in every place of its window.
    axes_given = {segment.axis for segment in rows if segment.axis is not None}
    return sum(declaration.axes[axis] for axis in axes_given)


def _units(declaration: NetworkAxes, names: Sequence[str]) -> int:
    """Units of a layer over all directions; without an axis of its own, read off its recurrence."""
    own = {
        segment.axis
        for name in names
        for segment in declaration.dimensions[name][0]
        if segment.axis is not None and not is_rank(segment.axis)
    }
    if own:
        return sum(declaration.axes[axis] for axis in own)
    return sum(axes.shape(declaration, name)[1] for name in names if name.endswith(".recurrence"))
