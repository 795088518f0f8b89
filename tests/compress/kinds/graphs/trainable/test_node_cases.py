"""The operators' own tests that ship with onnx: torch against ONNX Runtime."""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from isslim.compress.errors import NotTrainable
from isslim.compress.kinds.graphs.comparing import difference
from isslim.compress.kinds.graphs.trainable.network import TorchGraph
from isslim.compress.kinds.graphs.trainable.operators.registry import SUPPORTED
from tests.compress.kinds.graphs.trainable.same import tensors
from tests.compress.onnx.node_cases import node_cases
from tests.compress.onnx.proving import run

KINDS = {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"}
"""Types that networks compute with; torch does little with other unsigned numbers."""

REFUSED = {
    "test_batchnorm_epsilon_training_mode": "its training_mode is 1",
    "test_batchnorm_example_training_mode": "its training_mode is 1",
    "test_dequantizelinear_blocked": "it has a scale for each block",
    "test_maxpool_2d_uint8": "it pools torch.uint8",
    "test_maxpool_with_argmax_2d_precomputed_pads": "its indices are read",
    "test_maxpool_with_argmax_2d_precomputed_strides": "its indices are read",
    "test_reduce_max_empty_set": "Expected reduction dim 1 to have non-zero size",
    "test_reduce_min_empty_set": "Expected reduction dim 1 to have non-zero size",
    "test_resize_downsample_scales_cubic_antialias": "its antialias is 1",
    "test_resize_downsample_scales_linear_antialias": "its antialias is 1",
    "test_resize_downsample_sizes_cubic_antialias": "its antialias is 1",
    "test_resize_downsample_sizes_linear_antialias": "its antialias is 1",
    "test_resize_tf_crop_and_resize": "its tf_crop_and_resize is not supported",
    "test_resize_tf_crop_and_resize_axes_2_3": "its tf_crop_and_resize is not supported",
    "test_resize_tf_crop_and_resize_axes_3_2": "its tf_crop_and_resize is not supported",
    "test_resize_tf_crop_and_resize_extrapolation_value": "its tf_crop_and_resize is not supported",
    "test_scan_sum": "before opset 9",
    "test_training_dropout": "it drops values at random",
    "test_training_dropout_default": "it drops values at random",
    "test_training_dropout_default_mask": "it drops values at random",
    "test_training_dropout_mask": "it drops values at random",
}
"""Cases that are not computed, and what is said."""
_COUNTS: Counter[str] = Counter()


@cache
def cases() -> dict[str, list[Any]]:
    """The cases of each operator that torch computes, alone in their graphs."""
    found: dict[str, list[Any]] = {}
    for case in node_cases():
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in SUPPORTED and nodes[0].domain == "":
            found.setdefault(nodes[0].op_type, []).append(case)
    return found


def bound(case: Any) -> tuple[ModelProto, dict[str, NDArray[Any]]] | None:
    """A case whose inputs but the first are constants; None: it is of other types."""
    inputs, outputs = case.data_sets[0]
    if not all(str(getattr(each, "dtype", "")) in KINDS for each in (*inputs, *outputs)):
        return None
    model = ModelProto()
    model.CopyFrom(case.model)
    feeds = {
        port.name: np.asarray(value) for port, value in zip(model.graph.input, inputs, strict=True)
    }
    first = model.graph.input[0] if model.graph.input else None
    for port in list(model.graph.input)[1:]:
        tensor = numpy_helper.from_array(feeds.pop(port.name), port.name)
        model.graph.initializer.append(tensor)
    del model.graph.input[:]
    model.graph.input.extend([first] if first is not None else [])
    return model, feeds


@pytest.mark.parametrize("operator", sorted(SUPPORTED))
def test_all_cases_of_an_operator_are_those_of_onnx_runtime(operator: str) -> None:
    for case in cases()[operator]:
        known = bound(case)
        if known is None:
            continue
        model, feeds = known
        try:
            wanted = run(model, feeds)
        except Exception:  # what ONNX Runtime does not run is not served either
            _COUNTS["not run by ONNX Runtime"] += 1
            continue
        if case.name in REFUSED:
            with pytest.raises(NotTrainable, match=REFUSED[case.name]):
                TorchGraph.of(model)(tensors(feeds), list(wanted))
            _COUNTS["refused"] += 1
            continue
        with torch.no_grad():
            made = TorchGraph.of(model)(tensors(feeds), list(wanted))
        found = {name: each.detach().numpy() for name, each in made.items()}
        assert difference([found], [wanted]) < 1e-5, case.name
        _COUNTS["exact"] += 1


def test_the_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what became of the cases."""
    told = "; ".join(f"{count} {what}" for what, count in _COUNTS.items())
    with capsys.disabled():
        sys.stdout.write(f"\nonnx's node tests in torch: {told}\n")
    assert _COUNTS["refused"] <= len(REFUSED)
