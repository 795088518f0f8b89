"""A small graph's weights in a copy of the module that it came from, at their sizes.

The layers and directions of one nn.LSTM, nn.GRU or nn.RNN have one number of units in a module.
Where a graph keeps different numbers, all get the largest, and the others units without weights,
which stay at zero: outputs are the same, and the module is of plain torch. (A module of our own,
with a size for each layer, would compute less, and could not be read by other programs or without
this package. A search that is to give a module ties the sizes in the first place; see `stacks`.)

Whether it is the same function is not a matter of rules: the module is run on the recorded inputs
and compared with the small graph in ONNX Runtime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.kinds.graphs.comparing import difference
from isslim.compress.modules.calls import Signature, as_arrays, flat_outputs
from isslim.compress.modules.checks import path_of, shared_parameters
from isslim.compress.modules.origins import Labels, Origins, Place
from isslim.compress.modules.resize import resize_module
from isslim.compress.modules.states import PassedStates, full_state, small_states
from isslim.compress.onnx.model.layouts import Blocks
from isslim.compress.onnx.model.recurrent import B, P, R, W
from isslim.compress.onnx.model.split_model import SplitModel, given, nodes
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.rewrite.write_weights import write_weights
from isslim.compress.onnx.trace.edits import key
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.onnx.trace.types import Layer
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

TOLERANCE = 1e-4
"""Largest difference between the small module and the small graph, relative to the output's largest
entry where that is above 1."""
_THERE = "the small graph itself is valid and can be used"


@dataclass(frozen=True)
class Cut:
    """An exported module.

    Attributes:
        module: a copy of it, as it was when it was exported.
        signature: how it is called.
        origins: where its parameters are in the graph.
        states: the states that it takes and gives.
        recorded: its inputs.
    """

    module: nn.Module
    signature: Signature
    origins: Origins
    states: PassedStates
    recorded: Sequence[NamedArrays]


def cut_module(cut: Cut, network: GraphNetwork) -> nn.Module:
    """The module with the weights and sizes of a network.

    Args:
        cut: the exported module.
        network: of its graph, at any size.

    Raises:
        ModuleNotCut: when the module cannot express it.
    """
    sizes = _module_sizes(cut, network)
    found = _Values(cut, network, sizes).collect()
    small = resize_module(cut.module, found)
    _compare(cut, network, sizes, small)
    return small


def _module_sizes(cut: Cut, network: GraphNetwork) -> Sizes:
    """The sizes of a network's axes in its module, where all units of a layer have one size."""
    pool, meaning = network.trace.pool, network.meaning
    sizes = Sizes.of(pool, meaning, network.arrays())
    whole = {pool.name(axis): pool.size(axis) for axis in range(pool.count())}
    placed = dict(sizes.placed)
    together = [tuple(pool.name(axis) for axis in group) for group in pool.groups()]
    together += cut.origins.stacks(cut.module, network.trace)
    changed = True
    while changed:  # a group may raise another that it shares an axis with
        changed = False
        for group in together:
            # An axis that may not shrink keeps all of its units.
            size = max(placed.get(name, whole[name]) for name in group)
            for name in group:
                if placed.get(name, size) != size:
                    placed[name], changed = size, True
    return replace(sizes, placed=placed)


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

    def __init__(self, cut: Cut, network: GraphNetwork, sizes: Sizes) -> None:
        self._cut, self._sizes, self._trace = cut, sizes, network.trace
        self._meaning = network.meaning
        self._labels = cut.origins.checked(network.trace.parts)
        structure = ModelProto()
        structure.CopyFrom(network.trace.parts.structure)
        self._new = SplitModel(structure, dict(network.trace.parts.constants))
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
        found |= {name: torch.from_numpy(value) for name, value in self._biases(parts)}
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
        names, starts = list(self._cut.origins.values), self._cut.origins.starts
        owners = np.searchsorted(starts, labels.reshape(-1), side="right") - 1
        for owner in np.unique(owners):
            yield names[owner], owners == owner

    def _part(self, name: str, labels: Labels, values: NDArray[Any]) -> _Part:
        """One parameter from the numbers of all constants that are made of it."""
        whole = self._cut.origins.values[name]
        order = np.argsort(labels, kind="stable")
        labels, values = labels[order], values[order]
        twice = labels[1:] == labels[:-1]
        if (values[1:][twice] != values[:-1][twice]).any():
            raise ModuleNotCut(
                f"{path_of(self._cut.module, name)} is used in several places, and repaired "
                f"differently in each, which one parameter cannot be; {_THERE}"
            )
        places = np.unravel_index(labels - self._cut.origins.start(name), whole.shape)
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
        name = self._cut.origins.owner(int(rows[0]))
        shape = self._cut.origins.values[name].shape
        places = np.unravel_index(rows - self._cut.origins.start(name), shape)[0]
        ordered = np.zeros(len(rows), np.float32)
        ordered[np.searchsorted(parts[name].kept[0], places)] = values
        prefix, _, attribute = name.rpartition(".")
        yield f"{prefix}.{attribute.replace(old, new, 1)}".lstrip("."), ordered

    def _changed(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of new values those that differ; of a shared parameter all or none."""
        before = self._cut.origins.values
        changed = {
            name: value
            for name, value in found.items()
            if name not in before or not np.array_equal(before[name], value.numpy())
        }
        for group in shared_parameters(self._cut.module):
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
            kind = type(self._cut.module).__name__
            raise ModuleNotCut(f"{kind} cannot be cut in place: {issues[0]}; {_THERE}", issues)


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


def _compare(cut: Cut, network: GraphNetwork, sizes: Sizes, small: nn.Module) -> None:
    """Runs the small module on the recorded inputs and compares it with the small graph."""
    name, kept = type(small).__name__, _kept_units(cut, network, sizes)
    parts = dict(cut.module.named_modules())
    with tempfile.TemporaryDirectory(prefix="module-") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(network.model().SerializeToString())
        session = GraphSession(path)
        for number, inputs in enumerate(cut.recorded):
            wanted = session.run(session.checked(inputs))
            tensors = small_states(inputs, cut.states, kept)
            try:
                with torch.no_grad(), torch.random.fork_rng(devices=[]):
                    made = cut.signature.call(
                        small, [tensors[each] for each in cut.signature.names]
                    )
                outputs = [tensor for _, tensor in flat_outputs(small, made)]
            except Exception as error:  # whatever the user's own code raises
                raise ModuleNotCut(
                    f"{name} cannot be cut in place: with fewer units its forward raises "
                    f"{type(error).__name__}: {error}; sizes that its code keeps or computes with "
                    f"are not changed, so take them from its layers; {_THERE}"
                ) from error
            for position, layer in cut.states.outputs.items():
                full = getattr(parts[layer], "proj_size", 0) or parts[layer].hidden_size
                outputs[position] = full_state(outputs[position], kept[layer], full)
            found = as_arrays(list(wanted), outputs)
            off = difference([found], [wanted])
            if not off <= TOLERANCE:
                raise ModuleNotCut(
                    f"{name} cannot be cut in place: for inputs[{number}] an output differs from "
                    f"the small graph's by {off:.2e}, where {TOLERANCE:.0e} is allowed; its code "
                    f"uses a number of units, or units in a way that is not seen; {_THERE}"
                )


def _kept_units(cut: Cut, network: GraphNetwork, sizes: Sizes) -> dict[str, list[Tensor]]:
    """Per recurrent layer that gets or gives states, and for each row of these, the units left."""
    arrays, pool = network.arrays(), network.trace.pool
    wanted = {*cut.states.inputs.values(), *cut.states.outputs.values()}
    rows: dict[str, dict[str, Tensor]] = {name: {} for name in wanted}
    for layer in network.trace.layers:
        labels = cut.origins.labels.get((key(layer.recurrent.node), W))
        if labels is None:
            continue
        for direction, axis in enumerate(layer.axes):
            owner, _, weight = cut.origins.owner(int(labels[direction].flat[0])).rpartition(".")
            if owner not in wanted:
                continue
            name, units = pool.name(axis), layer.recurrent.units
            kept = arrays.get(f"{name}.kept", np.arange(sizes.components.get(name, units)))
            left = np.full(sizes.placed.get(name, units), -1)
            left[: len(kept)] = np.rint(kept)
            rows[owner][weight] = torch.from_numpy(left)
    # In the order of torch's own states: by layer, then by direction.
    return {
        owner: [found[name] for name in sorted(found, key=_row)] for owner, found in rows.items()
    }


def _row(weight: str) -> tuple[int, bool]:
    """The layer and direction of a `weight_ih_l0_reverse`."""
    number = weight.removeprefix("weight_ih_l")
    return int(number.removesuffix("_reverse")), number.endswith("_reverse")
