"""A small network from an exported module: units chosen and removed units repaired as in a job."""

from __future__ import annotations

from isslim.compress.kinds.graphs.activations import collect_graph_activations
from isslim.compress.modules.export import ExportedModule
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from isslim.compress.pruning.ranking import prune, rank_components


def whole_network(exported: ExportedModule) -> GraphNetwork:
    """The network of the exported graph, as the job reads it."""
    return GraphNetwork.from_model(read_graph(exported.path))


def small_network(
    exported: ExportedModule, share: float = 0.5, *, free: bool = False
) -> GraphNetwork:
    """The same network without the cheapest share of its units.

    Args:
        exported: the module as a graph.
        share: see `prune`.
        free: whether layers and directions of one module may get different sizes.
    """
    network, runs = whole_network(exported), exported.recorded
    labels = [str(number) for number in range(len(runs))]
    observed, _ = collect_graph_activations(network, runs, labels, lambda *_: None)
    plan = rank_components(
        network.arrays(),
        network.declaration(),
        observed,
        prunable=list(network.declaration().axes),
        equal=[] if free else [each for each in network.stacks() or [] if len(each) > 1],
    )
    return network.rebuilt(prune(plan, share).arrays)
