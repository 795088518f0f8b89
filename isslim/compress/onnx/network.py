"""A graph as a network: arrays with named axes, and a graph of other sizes from other arrays.

The network keeps the graph that it was read from and writes one of its own sizes on demand, so that
its origin is always known: its own arrays record which units were kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from isslim.compress.onnx.activation_capture import Observer
from isslim.compress.onnx.inference import infer
from isslim.compress.onnx.masked_reference import masked_reference
from isslim.compress.onnx.model.naming import name_nodes
from isslim.compress.onnx.model.split_model import SplitModel, split_constants
from isslim.compress.onnx.model.stacks import read_stacks
from isslim.compress.onnx.normalise.carried_states import carried_states, state_outputs
from isslim.compress.onnx.normalise.normal_form import normal_form
from isslim.compress.onnx.rewrite.named_arrays import Meaning, declare
from isslim.compress.onnx.rewrite.narrow_layers import (
    as_narrow,
    multiplied_out,
    narrow_places,
    without_biases,
)
from isslim.compress.onnx.rewrite.read_weights import free_entries, read_weights
from isslim.compress.onnx.rewrite.sizes import read_sizes
from isslim.compress.onnx.rewrite.write import write
from isslim.compress.onnx.trace.facts import AxisFacts
from isslim.compress.pruning.axes import Array, Arrays, Keep, NarrowPlace, NetworkAxes, resized
from isslim.types.axis_names import is_channels
from isslim.types.manifest import Architecture


@dataclass(frozen=True)
class AxisReport:
    """One axis of a graph: units of its recurrent layers, or channels that its matrices give.

    Attributes:
        name: as in the declaration, if it is there.
        layers: the directions of recurrent layers whose units it indexes, or the operators whose
            channels it does; several if unified.
        size: number of units or channels.
        reasons: why it is left alone, with the operators that led there; empty if it may shrink.
    """

    name: str
    layers: tuple[str, ...]
    size: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class GraphNetwork:
    """Satisfies `isslim.compress.kinds.language.networks.contract.Network`.

    Attributes:
        source: the graph that it was read from, at full size.
        trace: the axes of that graph.
        meaning: how the arrays relate to it, with the narrow layers among them.
        places: where narrow layers may stand.
        constants: values of those that are none of the arrays, where they are other ones than in
            that graph.
    """

    source: SplitModel
    trace: AxisFacts
    meaning: Meaning
    places: tuple[NarrowPlace, ...]
    _arrays: Arrays
    constants: Mapping[str, Array] = field(default_factory=dict)
    _as_read: bool = True

    architecture: ClassVar[Architecture] = "onnx-graph"

    @classmethod
    def from_model(cls, model: ModelProto) -> Self:
        """Infers the axes of a graph.

        Args:
            model: as `onnx_reader.read_graph` returns it; it is not changed.
        """
        source = split_constants(model)
        trace = infer(normal_form(source))
        arrays, meaning = declare(trace)
        return cls(source, trace, meaning, narrow_places(trace, meaning), arrays)

    def arrays(self) -> dict[str, Array]:
        """What axes that may shrink touch, in canonical form (copies); see `named_arrays`."""
        return {name: value.copy() for name, value in self._arrays.items()}

    def declaration(self) -> NetworkAxes:
        """The axes that may shrink, and which of the arrays' dimensions they index."""
        # The meaning is that of the whole graph; only sizes follow the arrays.
        return resized(self.meaning.declaration, read_sizes(self.meaning, self._arrays))

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        """Before the inputs of recurrent layers, and before matrices that axes touch."""
        there = self.meaning.declaration.narrow
        return tuple(place for place in self.places if place not in there)

    def rebuilt(self, arrays: Arrays) -> Self:
        """The same network with the sizes, values and narrow layers of `arrays`.

        The biases of narrow layers are added to those of what reads them.
        """
        meaning = as_narrow(self.meaning, arrays, self.places)
        same = without_biases(arrays, meaning.declaration)
        return replace(self, meaning=meaning, _arrays=same, _as_read=False)

    def with_weights(self, weights: Mapping[str, Array]) -> Self:
        """The same network with other values of constants.

        Args:
            weights: by the names in `model`, of the shapes there, float32. Entries beside those of
                `free_weights` do not count.

        Raises:
            ValueError: when a name or a shape is not one of `model`.
        """
        graph = self.model().graph
        arrays, others = read_weights(graph, weights, self.trace, self.meaning, self._arrays)
        constants = {**self.constants, **others}
        return replace(self, _arrays=arrays, constants=constants, _as_read=False)

    def free_weights(self) -> dict[str, NDArray[np.bool_]]:
        """Which entries of the constants of `model` are weights that may have any value.

        Others are zeros where units of two directions of different sizes lie in one tensor, the
        second of two biases that are only ever added, and single numbers, which are no weights.

        Returns:
            Per float32 constant that has such entries a mask of its shape.
        """
        free = free_entries(self.trace, self.meaning, self._arrays)
        found = {}
        for name, value in split_constants(self.model()).constants.items():
            if value.dtype != np.float32 or value.size < 2:
                continue
            if name in free:
                found[name] = free[name]
            elif name in self.trace.parts.constants:
                found[name] = np.ones(value.shape, np.bool_)
        return {name: mask for name, mask in found.items() if mask.any()}

    def model(self, *, keep_state_shapes: bool = True) -> ModelProto:
        """The graph at this network's sizes; `keep_state_shapes` as in `write`."""
        model = write(
            self.trace,
            self.meaning,
            self._arrays,
            self.constants,
            keep_state_shapes=keep_state_shapes,
        )
        name_nodes(model.graph)
        return model

    def masked_reference(self, keep: Keep) -> ModelProto:
        """This graph at full size, with all units and channels at zero that `keep` does not name.

        For a network as it was read, it is built from the graph as it was read; for one with other
        values (repaired ones), from the graph that it writes, its narrow layers multiplied out.
        """
        # The graph as it was read is unmodified: the strongest reference possible.
        source = self.source
        if not self._as_read:
            plain = self.rebuilt(multiplied_out(self._arrays, self.declaration()))
            source = split_constants(plain.model())
        return masked_reference(source, self.trace, keep)

    def observer(self, runs: int = 1) -> Observer:
        """The original graph with the activations that its sites read as outputs, of some runs."""
        return Observer(self.trace, self.meaning, runs)

    def state_outputs(self) -> set[str]:
        """The graph's outputs that are states carried by the caller.

        A removed unit's entries in them are zero.
        """
        # In normal form: there an addition of zero, of an input that is not used, hides no state.
        return state_outputs(self.trace.parts)

    def carried_states(self) -> dict[str, str]:
        """The outputs among them that one input initialises, with that input.

        A caller passes them back in the next call.
        """
        return carried_states(self.trace.parts)

    def stacks(self) -> list[list[str]] | None:
        """Groups of axes that are units of one module of the exported model, which has one size.

        Modules that share an axis, such as those of a residual stack, are in one group.

        Returns:
            Names of axes, those that may not shrink included; None where the file does not say.
        """
        noted = read_stacks(self.source.structure)
        if noted is None:
            return None
        groups: list[dict[str, None]] = []
        for nodes in noted:
            axes = [
                self.trace.pool.name(axis)
                for layer in self.trace.layers
                if layer.recurrent.name in nodes
                for axis in layer.axes
            ]
            joined = [group for group in groups if group.keys() & set(axes)]
            groups = [group for group in groups if group not in joined]
            groups.append({name: None for group in (*joined, axes) for name in group})
        return [list(group) for group in groups if group]

    def report(self) -> list[AxisReport]:
        """Every axis of units, in the order of the graph."""
        return [each for each in self._reports() if not is_channels(each.name)]

    def channels(self) -> list[AxisReport]:
        """Every axis of channels that a matrix or convolution gives, in the order of the graph."""
        return [each for each in self._reports() if is_channels(each.name)]

    def _reports(self) -> list[AxisReport]:
        pool = self.trace.pool
        # Axes that are one have one name: any of their numbers answers for all.
        numbers = {pool.name(axis): axis for axis in range(pool.count()) if pool.is_removable(axis)}
        found = []
        for names in pool.members():
            axis = numbers[names[0]]
            reasons = tuple(map(str, pool.reasons(axis)))
            found.append(AxisReport(names[0], tuple(names), pool.size(axis), reasons))
        return found
