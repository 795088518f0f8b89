"""New values of a module's parameters, from the constants of a graph at other sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.modules.checks import path_of, shared_parameters
from isslim.compress.modules.origins import Labels, Origins, Place
from isslim.compress.onnx.model.layouts import Blocks
from isslim.compress.onnx.model.recurrent import B, P, R, W
from isslim.compress.onnx.model.split_model import SplitModel, given, nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.write_weights import write_weights
from isslim.compress.onnx.trace.edits import key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer

THERE = "the small graph itself is valid and can be used"


def new_values(
    module: nn.Module, origins: Origins, network: GraphNetwork, sizes: Sizes
) -> dict[str, Tensor]:
    """New values by the names of parameters and buffers; those that change only.

    Args:
        module: the exported one.
        origins: where its parameters are in its graph.
        network: of that graph, at any size.
        sizes: those that its axes are to have in the module, at least the network's.

    Raises:
        ModuleNotCut: when something that shrinks is no parameter, or one parameter would be two.
    """
    return _Values(module, origins, network, sizes).collect()


def not_trained(parts: SplitModel, origins: Origins, trained: Collection[str]) -> set[str]:
    """Constants of a graph whose new values would not be those of its module's parameters.

    They are computed from several, hold buffers, or share a parameter with another constant.

    Args:
        parts: the graph in normal form.
        origins: where the module's parameters are in it.
        trained: names of the parameters that may have other values.

    Returns:
        Names of constants.
    """
    labels, found = origins.checked(parts), dict[str, list[Labels | None]]()
    for node in nodes(parts.structure.graph):
        for index, name in enumerate(node.input):
            if name in parts.constants:
                found.setdefault(name, []).append(labels.get((key(node), index)))
    flat = {
        name: np.unique(np.concatenate([each.reshape(-1) for each in read if each is not None]))
        for name, read in found.items()
        if all(each is not None for each in read)
    }
    numbers = np.concatenate([*flat.values(), np.zeros(0, np.int64)])
    values, counts = np.unique(numbers, return_counts=True)
    shared = values[counts > 1]
    good = {
        name
        for name, own in flat.items()
        if not np.isin(own, shared).any()
        and {origins.owner(int(each)) for each in (own[0], own[-1])} <= set(trained)
    }
    return set(parts.constants) - good


@dataclass
class _Part:
    """What of one parameter is left.

    Attributes:
        kept: per dimension the indices that are left.
        value: the new numbers.
    """

    kept: list[NDArray[np.int64]]
    value: NDArray[np.float32]


class _Values:
    """Collects the new values of parameters from the constants of a graph."""

    def __init__(
        self, module: nn.Module, origins: Origins, network: GraphNetwork, sizes: Sizes
    ) -> None:
        self._module, self._origins, self._trace = module, origins, network.trace
        self._meaning = network.meaning
        self._labels = origins.checked(network.trace.parts)
        structure = ModelProto()
        structure.CopyFrom(network.trace.parts.structure)
        constants = {**network.trace.parts.constants, **network.constants}
        self._new = SplitModel(structure, constants)
        write_weights(self._new, network.trace, network.meaning, network.arrays(), sizes)
        self._nodes: dict[str, NodeProto] = {key(node): node for node in nodes(structure.graph)}
        self._indices = dict(_indices(network.trace, sizes))

    def collect(self) -> dict[str, Tensor]:
        """New values by the names of parameters and buffers; those that change only."""
        self._refuse_computed()
        labels: dict[str, list[Labels]] = {}
        values: dict[str, list[NDArray[Any]]] = {}
        for place in self._labels:
            sub, value = self._left(place), self._constant(place)
            for name, where in self._by_parameter(sub):
                labels.setdefault(name, []).append(sub.reshape(-1)[where])
                values.setdefault(name, []).append(value.reshape(-1)[where])
        parts = {
            name: self._part(name, np.concatenate(labels[name]), np.concatenate(values[name]))
            for name in labels
        }
        found = {name: torch.from_numpy(part.value) for name, part in parts.items()}
        for name, value in self._biases(parts):
            # The module may have one already, which the graph adds elsewhere.
            there = found.get(name)
            found[name] = torch.from_numpy(value) + (0 if there is None else there)
        return self._changed(found)

    def _left(self, place: Place) -> Labels:
        """The labels of what is left of a constant."""
        labels = self._labels[place]
        indices = self._indices.get(place)
        return labels if indices is None else labels[np.ix_(*indices)]

    def _constant(self, place: Place) -> NDArray[Any]:
        """The new value of a constant."""
        node, index = place
        return self._new.constants[self._nodes[node].input[index]]

    def _by_parameter(self, labels: Labels) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """The parameters that labels are of, each with a mask of them."""
        names, starts = list(self._origins.values), self._origins.starts
        owners = np.searchsorted(starts, labels.reshape(-1), side="right") - 1
        for owner in np.unique(owners):
            yield names[owner], owners == owner

    def _part(self, name: str, labels: Labels, values: NDArray[Any]) -> _Part:
        """One parameter from the numbers of all constants that are made of it."""
        whole = self._origins.values[name]
        order = np.argsort(labels, kind="stable")
        labels, values = labels[order], values[order]
        twice = labels[1:] == labels[:-1]
        if (values[1:][twice] != values[:-1][twice]).any():
            raise ModuleNotCut(
                f"{path_of(self._module, name)} is used in several places, and repaired "
                f"differently in each, which one parameter cannot be; {THERE}"
            )
        places = np.unravel_index(labels - self._origins.start(name), whole.shape)
        kept = [np.unique(each) for each in places]
        value = whole[np.ix_(*kept)].copy() if kept else whole.copy()
        value[tuple(np.searchsorted(k, p) for k, p in zip(kept, places, strict=True))] = values
        return _Part(kept, value)

    def _biases(self, parts: Mapping[str, _Part]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Biases that a repair gave to layers without one."""
        for layers in self._meaning.layers.values():
            node = key(layers[0].recurrent.node)
            bias = given(self._nodes[node], B)
            if bias and not layers[0].recurrent.given(B) and (node, W) in self._labels:
                yield from self._layer_biases(node, self._new.constants[bias], parts)
        for products in self._meaning.products.values():
            node, index = products[0].node, products[0].index
            bias = given(self._nodes[node], 2)
            if node in self._meaning.created and bias and (node, index) in self._labels:
                rows = np.moveaxis(self._left((node, index)), products[0].gives, 0)
                rows = rows.reshape(len(rows), -1)[:, 0]
                yield from self._bias(rows, self._new.constants[bias], parts, "weight", "bias")

    def _layer_biases(
        self, node: str, bias: NDArray[Any], parts: Mapping[str, _Part]
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Both biases of every direction of a layer, from B (D, 2 G H)."""
        for direction, labels in enumerate(self._left((node, W))):
            halves = bias[direction].reshape(2, -1)
            for half, new in zip(halves, ("bias_ih", "bias_hh"), strict=True):
                yield from self._bias(labels[:, 0], half, parts, "weight_ih", new)

    def _bias(
        self, rows: Labels, values: NDArray[Any], parts: Mapping[str, _Part], old: str, new: str
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """A bias in the order of the rows of its weight."""
        name = self._origins.owner(int(rows[0]))
        shape = self._origins.values[name].shape
        places = np.unravel_index(rows - self._origins.start(name), shape)[0]
        ordered = np.zeros(len(rows), np.float32)
        ordered[np.searchsorted(parts[name].kept[0], places)] = values
        prefix, _, attribute = name.rpartition(".")
        yield f"{prefix}.{attribute.replace(old, new, 1)}".lstrip("."), ordered

    def _changed(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of new values those that differ; of a shared parameter all or none."""
        before = self._origins.values
        changed = {
            name: value
            for name, value in found.items()
            if name not in before or not np.array_equal(before[name], value.numpy())
        }
        for group in shared_parameters(self._module):
            if changed.keys() & group:
                changed |= {name: found.get(name, torch.from_numpy(before[name])) for name in group}
        return changed

    def _refuse_computed(self) -> None:
        """Refuses where something shrinks that is no parameter."""
        issues = []
        for node, index in self._indices:
            name = given(self._nodes[node], index)
            value = self._trace.parts.constants.get(name)
            if value is None or value.dtype.kind != "f" or (node, index) in self._labels:
                continue
            if self._new.constants[name].shape != value.shape:
                issues.append(
                    f"'{self._nodes[node].name}' reads numbers that are computed from parameters "
                    "or written in forward, and would be fewer"
                )
        if issues:
            kind = type(self._module).__name__
            raise ModuleNotCut(f"{kind} cannot be cut in place: {issues[0]}; {THERE}", issues)


def _indices(
    trace: AxisFacts, sizes: Sizes
) -> Iterator[tuple[Place, tuple[NDArray[np.int64], ...]]]:
    """Per constant that axes index what is left in each dimension.

    Which units are left does not matter here, only how many: the parameters are filled in the same
    order. So the first ones stand for all.
    """
    for layer in trace.layers:
        yield from _layer_indices(layer, sizes)
    for use in trace.uses:
        shape = trace.parts.constants[use.name].shape
        dims = zip(use.dims, shape, strict=True)
        indices = tuple(
            np.arange(length) if blocks is None else _left_of(blocks, sizes)
            for blocks, length in dims
        )
        yield (use.node, use.index), indices


def _layer_indices(
    layer: Layer, sizes: Sizes
) -> Iterator[tuple[Place, tuple[NDArray[np.int64], ...]]]:
    """What is left of W (D, G H, I), R (D, G H, H), B (D, 2 G H) and P (D, 3 H)."""
    seen = layer.recurrent
    directions = np.arange(len(seen.directions))
    name = sizes.pool.name(layer.axes[0])
    # Directions share their tensors, and so their size.
    units = np.arange(sizes.placed.get(name, seen.units))

    def repeated(times: int) -> NDArray[np.int64]:
        return np.concatenate([gate * seen.units + units for gate in range(times)])

    rows = repeated(seen.gates)
    left = {
        W: (directions, rows, _left_of(layer.inputs, sizes)),
        R: (directions, rows, units),
        B: (directions, repeated(2 * seen.gates)),
        P: (directions, repeated(3)),
    }
    for index, indices in left.items():
        if seen.given(index):
            yield (key(seen.node), index), indices


def _left_of(blocks: Blocks, sizes: Sizes) -> NDArray[np.int64]:
    """What is left of a dimension."""
    found, start = [], 0
    for block in blocks:
        name = sizes.name(block)
        found.append(start + np.arange(block.size if name is None else sizes.placed[name]))
        start += block.size
    return np.concatenate(found) if found else np.arange(0)
