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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.kinds.graphs.comparing import difference
from isslim.compress.modules.attributes import (
    SizeAttribute,
    settings,
    size_attributes,
    with_setting,
)
from isslim.compress.modules.calls import Signature, as_arrays, flat_outputs, is_finite
from isslim.compress.modules.checks import path_of
from isslim.compress.modules.origins import Origins
from isslim.compress.modules.removable import kept_whole
from isslim.compress.modules.resize import resize_module
from isslim.compress.modules.states import PassedStates, full_state, small_state, small_states
from isslim.compress.modules.values import THERE, new_values
from isslim.compress.onnx.model.recurrent import W
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.rewrite.sizes import Sizes
from isslim.compress.onnx.trace.edits import key
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

TOLERANCE = 1e-4
"""Largest difference between the small module and the small graph, relative to the output's largest
entry where that is above 1."""


@dataclass(frozen=True)
class Cut:
    """An exported module.

    Attributes:
        module: a copy of it, as it was when it was exported.
        signature: how it is called.
        origins: where its parameters are in the graph.
        states: the states that it takes and gives.
        recorded: all tensors that it is called with.
        outputs: names of the graph's outputs.
    """

    module: nn.Module
    signature: Signature
    origins: Origins
    states: PassedStates
    recorded: Sequence[NamedArrays]
    outputs: Sequence[str]


def cut_module(cut: Cut, network: GraphNetwork) -> nn.Module:
    """The module with the weights and sizes of a network.

    Args:
        cut: the exported module.
        network: of its graph, at any size.

    Raises:
        ModuleNotCut: when the module cannot express it.
    """
    sizes = _module_sizes(cut, network)
    kept = _kept_units(cut, network, sizes)
    found = new_values(cut.module, cut.origins, network, sizes)
    found |= _initial_states(cut, kept)
    small = resize_module(cut.module, found)
    if sizes.shrunk and _sizes_of(small) == _sizes_of(cut.module):
        _refuse_whole(cut, network)
    return _fitting(cut, network, kept, small)


def _sizes_of(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def _refuse_whole(cut: Cut, network: GraphNetwork) -> None:
    """Refuses a small graph of which nothing would be smaller in the module."""
    stacked = {name for group in network.stacks() or [] if len(group) > 1 for name in group}
    reports = [each for each in network.report() if each.name in stacked]
    issues = kept_whole(cut.module, reports, cut.origins, cut.states, cut.outputs)
    # Of a direction that no output depends on, the network gives no reason.
    why = f": {issues[0]}" if issues else ""
    raise ModuleNotCut(
        f"{type(cut.module).__name__} would be as large as before: all layers and directions of "
        "one nn.LSTM, nn.GRU or nn.RNN have one number of units, and one of them keeps all of its "
        f"own{why}; {THERE}",
        issues,
    )


def _module_sizes(cut: Cut, network: GraphNetwork) -> Sizes:
    """The sizes of a network's axes in its module, where all units of a layer have one size."""
    pool, meaning = network.trace.pool, network.meaning
    sizes = Sizes.of(pool, meaning, network.arrays())
    whole = {pool.name(axis): pool.size(axis) for axis in range(pool.count())}
    placed = dict(sizes.placed)
    together = [tuple(pool.name(axis) for axis in group) for group in pool.groups()]
    together += map(tuple, network.stacks() or [])
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


def _initial_states(cut: Cut, kept: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """Parameters that are initial states, without the units that are gone."""
    found = {}
    for name, layer in cut.states.parameters.items():
        whole = torch.from_numpy(cut.origins.values[name])
        rows = kept[layer]
        left = small_state(whole.reshape(len(rows), 1, -1), rows)
        found[name] = left.reshape(*whole.shape[:-1], -1)
    return found


def _fitting(
    cut: Cut, network: GraphNetwork, kept: Mapping[str, list[Tensor]], small: nn.Module
) -> nn.Module:
    """The small module with its own code's numbers of units set so that it equals the graph.

    Args:
        cut: the exported module.
        network: the small graph.
        kept: see `_kept_units`.
        small: the small module, every attribute of the user's as it was.
    """
    attributes = size_attributes(cut.module, small)
    wanted = _outputs_of(cut, network)
    failed: dict[bool, ModuleNotCut] = {}
    for setting in settings(attributes):
        tried = with_setting(small, setting)
        try:
            _compare(cut, wanted, kept, tried)
        except ModuleNotCut as error:
            failed.setdefault(bool(setting), error)
        else:
            return tried
    reason = failed[False]  # with all attributes as they were
    why = [*_tried(attributes), *_combined(cut, small)]
    raise ModuleNotCut("; ".join([reason.detail, *why, THERE]), why) from reason.__cause__


def _tried(attributes: Sequence[SizeAttribute]) -> list[str]:
    return [
        f"{each.path} holds {each.before}, and so does not fit either at "
        f"{' or '.join(map(str, each.after))}"
        for each in attributes
    ]


def _combined(cut: Cut, small: nn.Module) -> list[str]:
    """Arguments that may hold states of a layer that has become smaller, but are more than one."""
    parts = dict(small.named_modules())
    changed = {
        part.hidden_size: path_of(cut.module, name)
        for name, part in cut.module.named_modules()
        if isinstance(part, nn.RNNBase) and parts[name].hidden_size != part.hidden_size
    }
    first = cut.recorded[0]
    return [
        f"the argument '{name}' of shape {tuple(array.shape)} has as many entries as {layer} had "
        "units: if it holds several states in one tensor, or a part of one, give each state of a "
        "layer as an argument of its own, (layers, batch, units)"
        for name, array in first.items()
        if name not in cut.states.inputs and array.dtype.kind == "f"
        for units, layer in changed.items()
        if array.ndim and array.shape[-1] == units
    ]


def _outputs_of(cut: Cut, network: GraphNetwork) -> list[NamedArrays | None]:
    """What the small graph gives for the recorded inputs; None for calls that are not compared."""
    with tempfile.TemporaryDirectory(prefix="module-") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(network.model().SerializeToString())
        session = GraphSession(path)
        return [
            # Neither was the whole graph compared where inputs hold NaN.
            session.run(session.checked({each: inputs[each] for each in session.inputs}))
            if is_finite(inputs)
            else None
            for inputs in cut.recorded
        ]


def _compare(
    cut: Cut,
    wanted: Sequence[NamedArrays | None],
    kept: Mapping[str, list[Tensor]],
    small: nn.Module,
) -> None:
    """Runs the small module on the recorded inputs and compares it with the small graph.

    Args:
        cut: the exported module.
        wanted: see `_outputs_of`.
        kept: see `_kept_units`.
        small: the small module.
    """
    name = type(small).__name__
    parts = dict(cut.module.named_modules())
    for number, (inputs, expected) in enumerate(zip(cut.recorded, wanted, strict=True)):
        if expected is None:
            continue
        tensors = small_states(inputs, cut.states, kept)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                made = cut.signature.call(small, [tensors[each] for each in cut.signature.names])
            outputs = [tensor for _, tensor in flat_outputs(small, made)]
        except Exception as error:  # whatever the user's own code raises
            raise ModuleNotCut(
                f"{name} cannot be cut in place: with fewer units its forward raises "
                f"{type(error).__name__}: {error}; numbers of units that are written in its code "
                "stay as they are, so take them from its layers"
            ) from error
        for position, layer in cut.states.outputs.items():
            full = getattr(parts[layer], "proj_size", 0) or parts[layer].hidden_size
            outputs[position] = full_state(outputs[position], kept[layer], full)
        off = difference([as_arrays(list(expected), outputs)], [expected])
        if not off <= TOLERANCE:
            raise ModuleNotCut(
                f"{name} cannot be cut in place: for inputs[{number}] an output differs from the "
                f"small graph's by {off:.2e}, where {TOLERANCE:.0e} is allowed; its code uses a "
                "number of units, or units in a way that is not seen"
            )


def _kept_units(cut: Cut, network: GraphNetwork, sizes: Sizes) -> dict[str, list[Tensor]]:
    """Per recurrent layer that gets or gives states, and for each row of these, the units left."""
    arrays, pool = network.arrays(), network.trace.pool
    states = cut.states
    wanted = {*states.inputs.values(), *states.outputs.values(), *states.parameters.values()}
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
