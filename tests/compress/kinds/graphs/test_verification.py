"""Verification of graphs: which runs and outputs are compared, and that differences are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from isslim.compress.errors import VerificationFailed
from isslim.compress.kinds.graphs.understanding import understood
from isslim.compress.kinds.graphs.verification import COMPARED_RUNS, TOLERANCE, Verifier
from tests.compress.kinds.graphs.models import inputs, layer_graph


def test_runs_are_spread_over_all_from_the_first_to_the_last() -> None:
    runs = inputs(31)
    chosen = Verifier.of(runs, ["y"], 1).runs
    assert len(chosen) == COMPARED_RUNS
    assert [chosen[each] is runs[index] for each, index in enumerate((0, 10, 20, 30))] == [True] * 4
    assert len(Verifier.of(runs[:2], ["y"], 1).runs) == 2


def test_record_names_the_outputs_that_are_compared(tmp_path: Path) -> None:
    path = layer_graph(tmp_path)
    _, network = understood(path)
    every, some = (Verifier.of(inputs(2), ["y"], outputs) for outputs in (1, 2))
    found = every.export(path, network, "original", uploaded=True)
    assert (found.detail, found.tolerance) == ("all outputs of 2 runs", TOLERANCE)
    assert found.error < TOLERANCE
    assert some.export(path, network, "o", uploaded=True).detail == "the outputs y of 2 runs"


@pytest.mark.parametrize("factor", [1 + 1e-3, np.nan])
def test_a_file_with_another_number_is_refused(factor: float, tmp_path: Path) -> None:
    path = layer_graph(tmp_path)
    _, network = understood(path)
    model = onnx.load(path)
    (bias,) = (each for each in model.graph.initializer if each.name.endswith("bias"))
    array = onnx.numpy_helper.to_array(bias).copy()
    array[0] = (array[0] + 1) * np.float32(factor)
    bias.CopyFrom(onnx.numpy_helper.from_array(array, bias.name))
    onnx.save(model, path)
    with pytest.raises(VerificationFailed, match=r"compressed.*the largest difference is"):
        Verifier.of(inputs(2), ["y"], 1).export(path, network, "compressed", uploaded=False)


def test_a_file_that_is_no_valid_graph_is_refused(tmp_path: Path) -> None:
    path = layer_graph(tmp_path)
    _, network = understood(path)
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(VerificationFailed, match="ONNX's checker refuses compressed"):
        Verifier.of(inputs(2), ["y"], 1).export(path, network, "compressed", uploaded=False)


def test_a_file_whose_operators_do_not_fit_is_refused(tmp_path: Path) -> None:
    path = layer_graph(tmp_path)
    _, network = understood(path)
    model = onnx.load(path)
    (matrix,) = (each for each in model.graph.initializer if list(each.dims) == [12, 5])
    matrix.CopyFrom(onnx.numpy_helper.from_array(np.zeros((11, 5), np.float32), matrix.name))
    onnx.save(model, path)
    with pytest.raises(VerificationFailed, match="ONNX's checker refuses compressed"):
        Verifier.of(inputs(2), ["y"], 1).export(path, network, "compressed", uploaded=False)


def test_a_wrong_size_that_the_uploaded_file_declares_for_an_output_fails_no_job(
    tmp_path: Path,
) -> None:
    path = layer_graph(tmp_path)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 7  # the matrix gives 5
    onnx.save(model, path)
    _, network = understood(path)
    verifier = Verifier.of(inputs(2), ["y"], 1)
    verifier.export(path, network, "original", uploaded=True)
    assert verifier.export(path, network, "compressed", uploaded=False).error < TOLERANCE
