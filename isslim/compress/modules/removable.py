"""Why layers of a module keep all of their units, in the names of its attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from isslim.compress.errors import NothingRemovable
from isslim.compress.modules.checks import path_of
from isslim.compress.modules.origins import Origins
from isslim.compress.modules.states import PassedStates
from isslim.compress.onnx.network import AxisReport, GraphNetwork

_NODE = re.compile(r"(\w+) '(/[^']+)'")
_OUTPUT = re.compile(r"it reaches the graph's output '([^']+)'")
_NORMALISED = re.compile(r"^at \w+ '(/[^']+)': it normalises over the units")
_MAX_REASONS = 3


def refuse_unremovable(
    module: nn.Module,
    network: GraphNetwork,
    origins: Origins,
    states: PassedStates,
    outputs: Sequence[str],
) -> None:
    """Refuses a module none of whose units can be removed.

    Args:
        module: that was exported.
        network: of its graph.
        origins: where its parameters are in the graph.
        states: those that pass between it and its caller.
        outputs: names of the graph's outputs.

    Raises:
        NothingRemovable: with the reason for every layer, and what helps.
    """
    if network.declaration().axes:
        return
    issues = kept_whole(module, network.report(), origins, states, outputs)
    reasons = "; ".join(issues[:_MAX_REASONS])
    more = f"; and {len(issues) - _MAX_REASONS} more" if len(issues) > _MAX_REASONS else ""
    raise NothingRemovable(
        f"no unit of {type(module).__name__} can be removed: {reasons}{more}", issues
    )


def shrinking_nodes(network: GraphNetwork) -> set[str]:
    """The recurrent nodes all of whose units may be removed."""
    reports = network.report()
    kept = {_node_of(layer) for each in reports if each.reasons for layer in each.layers}
    return {_node_of(layer) for each in reports for layer in each.layers} - kept


def kept_whole(
    module: nn.Module,
    reports: Sequence[AxisReport],
    origins: Origins,
    states: PassedStates,
    outputs: Sequence[str],
) -> list[str]:
    """A line for each layer that keeps all of its units, and each of its reasons.

    Args:
        module: that was exported.
        reports: on the axes of its graph.
        origins: where its parameters are in the graph.
        states: see `refuse_unremovable`.
        outputs: see `refuse_unremovable`.
    """
    returned = {
        outputs[position]: layer
        for position, layer in states.outputs.items()
        if layer not in states.inputs.values()
    }
    found: dict[str, None] = {}
    for report in reports:
        owners = {origins.layers.get(_node_of(layer), "") for layer in report.layers}
        names = " and ".join(path_of(module, owner) for owner in sorted(owners))
        for reason in report.reasons:
            why = _why(module, reason, returned)
            found[f"{names} keeps its {report.size} units: {why}"] = None
    return list(found)


def _node_of(axis: str) -> str:
    """The node of `units:/encoder/LSTM.forward`."""
    return axis.removeprefix("units:").rpartition(".")[0]


def _why(module: nn.Module, reason: str, returned: dict[str, str]) -> str:
    output, normalised = _OUTPUT.search(reason), _NORMALISED.search(reason)
    if output and output[1] in returned:
        layer = returned[output[1]]
        names = " and ".join(f"'{name}'" for name, owner in returned.items() if owner == layer)
        return (
            f"forward returns the state of {path_of(module, layer)} as {names}, and does not take "
            "it: record "
            "the state as an input too (an argument of forward that is given to the layer), or "
            "return only the other outputs"
        )
    if output:
        return (
            f"they are what forward returns as '{output[1]}', whose size would change: compress "
            "the module with the layers that read this output, such as an nn.Linear, or return "
            "only the other outputs"
        )
    if normalised:
        return (
            f"{_part(module, normalised[1])} normalises over them, and the mean and variance of "
            "fewer units are others: layers whose units reach no normalisation can shrink, such as "
            "one that is read by an nn.Linear first"
        )
    return _NODE.sub(lambda found: f"{found[1]} in {_part(module, found[2])}", reason)


def _part(module: nn.Module, node: str) -> str:
    """The part of a module that a node is of: `Tagger.norm` for `/norm/LayerNormalization`."""
    scopes = node.strip("/").split("/")[:-1]
    names = [name for name, _ in module.named_modules() if name]
    # A part of a container has the container's name in its own, and may have it before it too.
    for start in range(len(scopes)):
        ending = ".".join(scopes[start:])
        fitting = [name for name in names if f".{name}".endswith(f".{ending}")]
        if len(fitting) == 1 or ending in fitting:
            return path_of(module, ending if ending in fitting else fitting[0])
    return f"{type(module).__name__}.forward"
