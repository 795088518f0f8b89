"""What tests of graphs share: running them, and comparing a cut one with its masked original."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep

Feeds = dict[str, np.ndarray]


def run(model: ModelProto, feeds: Feeds) -> dict[str, np.ndarray]:
    """Outputs by name, in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    known = {port.name for port in session.get_inputs()}
    return dict(
        zip(names, session.run(names, {k: v for k, v in feeds.items() if k in known}), strict=True)
    )


def some(network: GraphNetwork, seed: int, share: float = 0.5) -> dict[str, np.ndarray]:
    """Kept indices of every axis, at random; each axis another number of them."""
    rng = np.random.default_rng(seed)
    keep = {}
    for axis, size in network.declaration().axes.items():
        count = int(np.clip(round(size * share) + rng.integers(-1, 2), 1, size))
        keep[axis] = np.sort(rng.choice(size, count, replace=False))
    return keep


def cut(network: GraphNetwork, keep: Keep) -> GraphNetwork:
    """The network without what `keep` does not name."""
    smaller, _ = axes.select_components(network.arrays(), network.declaration(), keep)
    return network.rebuilt(smaller)


def assert_cut_equals_masked(model: ModelProto, feeds: Feeds, seed: int = 0) -> GraphNetwork:
    """Cuts a graph at random and compares it with its original with the removed units at zero.

    Returns:
        The network before the cut.
    """
    network = GraphNetwork.from_model(model)
    network.declaration().check(network.arrays())
    original, same = run(model, feeds), run(network.model(), feeds)
    for name, expected in original.items():
        np.testing.assert_allclose(
            same[name], expected, rtol=1e-5, atol=1e-5, err_msg=f"unchanged: {name}"
        )
    keep = some(network, seed)
    small = cut(network, keep)
    written = small.model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx.checker.check_model(written, full_check=True)
    given, made = run(written, feeds), run(network.masked_reference(keep), feeds)
    assert given.keys() == original.keys()
    for name, expected in made.items():
        np.testing.assert_allclose(
            given[name], expected, rtol=1e-5, atol=1e-5, err_msg=f"cut: {name}"
        )
        assert given[name].shape == original[name].shape
        assert given[name].dtype == original[name].dtype
    assert list(model.graph.input) == list(written.graph.input)
    assert list(model.graph.output) == list(written.graph.output)
    return network
