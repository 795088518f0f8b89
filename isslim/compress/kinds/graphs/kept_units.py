"""Which units of each recurrent node, and which channels, are left: `kept.json` beside the graphs.

With it a twin of the graph in another framework can be cut by the same indices.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from isslim.compress.onnx.model.naming import node_name
from isslim.compress.onnx.model.recurrent import B, R, W
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.pruning.axes import Keep
from isslim.compress.weights import ReturnsWeights
from isslim.store.files import atomic_file
from isslim.types.axis_names import operator_of
from isslim.types.recipe import StrictModel
from isslim.types.same_form import SameForm

KEPT = "kept.json"


class KeptDirection(StrictModel):
    """One direction of a recurrent node."""

    direction: Literal["forward", "backward"] = Field(description="which one")
    axis: str = Field(description="axis of its units, as in the manifest")
    units: int = Field(description="number of units in the original")
    kept: list[int] = Field(description="which of them are left, ascending")


class KeptNode(StrictModel):
    """One recurrent node, or the layer that it is."""

    node: str = Field(description="its name in `compressed.onnx`")
    operator: str = Field(description="LSTM, GRU or RNN")
    weights: dict[str, str] = Field(
        description="names of its constants in `compressed.onnx` by W, R and B"
    )
    directions: list[KeptDirection] = Field(
        description="in the order of the first dimension of its weights"
    )


class KeptChannels(StrictModel):
    """The channels that one matrix or convolution gives, or several that give the same."""

    axis: str = Field(description="as in the manifest")
    operators: list[str] = Field(description="names of the operators in `compressed.onnx`")
    channels: int = Field(description="number of channels in the original")
    kept: list[int] = Field(description="which of them are left, ascending")


class KeptUnits(StrictModel):
    """`kept.json`."""

    isslim: Literal[3] = Field(default=3, description="version of this form")
    nodes: list[KeptNode] = Field(description="in the order of the graph")
    channels: list[KeptChannels] = Field(
        default=[], description="those of which some could be removed, in the order of the graph"
    )


def kept_units(original: GraphNetwork, kept: Keep) -> KeptUnits:
    """Which units of every recurrent node, and which channels, are left.

    Args:
        original: the graph at full size.
        kept: per axis the kept indices (K,), ascending; an axis that is not named is whole.
    """
    pool, nodes = original.trace.pool, list[KeptNode]()
    for layer in original.trace.layers:
        seen = layer.recurrent
        directions = []
        for direction, axis in zip(seen.directions, layer.axes, strict=True):
            name = pool.name(axis)
            left = kept[name].tolist() if name in kept else list(range(seen.units))
            directions.append(
                KeptDirection(direction=direction, axis=name, units=seen.units, kept=left)
            )
        weights = {label: seen.given(index) for label, index in (("W", W), ("R", R), ("B", B))}
        nodes.append(
            KeptNode(
                node=node_name(seen.node),
                operator=seen.kind,
                weights={label: name for label, name in weights.items() if name},
                directions=directions,
            )
        )
    channels = [
        KeptChannels(
            axis=each.name,
            operators=[operator_of(name) for name in each.layers],
            channels=each.size,
            kept=kept[each.name].tolist() if each.name in kept else list(range(each.size)),
        )
        for each in original.channels()
        if not each.reasons
    ]
    return KeptUnits(nodes=nodes, channels=channels)


class WritesKeptUnits(ReturnsWeights[GraphNetwork]):
    """The part of the task that returns weights: a graph's are its constants."""

    original: GraphNetwork
    save_own: Callable[[GraphNetwork, Path], SameForm | None] | None = None
    """Writes the weights of the module that the graph was exported from; None: there is none."""

    def save_weights(self, network: GraphNetwork, folder: Path, kept: Keep) -> SameForm | None:
        """Writes `kept.json`; see `ReturnsWeights.save_weights`."""
        units = kept_units(self.original, kept)
        with atomic_file(folder / KEPT) as temporary:
            temporary.write_text(units.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return None if self.save_own is None else self.save_own(network, folder)
