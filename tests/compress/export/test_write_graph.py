"""A graph's file is whole or not there, and what would not fit is refused before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from isslim.compress.errors import TooLargeToExport
from isslim.compress.export.drawing import GraphBlueprint, model_of, port
from isslim.compress.export.streaming import Floats
from isslim.compress.export.write_graph import MAX_BYTES, check_size, write_graph
from tests.compress.onnx.proving import run


def blueprint(*, fails: bool = False) -> GraphBlueprint:
    ports = [port(name, TensorProto.FLOAT, [2]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:]
    )

    def weights() -> Iterator[tuple[str, Floats]]:
        yield "w", np.array([2, 3], np.float32)
        if fails:
            raise OSError("no more")

    return GraphBlueprint(model_of(graph), weights)


def test_a_written_graph_runs(tmp_path: Path) -> None:
    write_graph(blueprint(), tmp_path / "m.onnx")
    made = run(onnx.load(tmp_path / "m.onnx"), {"x": np.array([1, 2], np.float32)})["y"]
    np.testing.assert_array_equal(made, [2, 6])
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_where_writing_fails_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no more"):
        write_graph(blueprint(fails=True), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_that_one_file_cannot_hold_is_refused_with_what_to_do() -> None:
    most = MAX_BYTES // 4
    with torch.device("meta"):  # nothing of that size is made
        check_size(nn.ParameterList([nn.Parameter(torch.empty(most))]))
        too_large = nn.ParameterList(
            [nn.Parameter(torch.empty(most)), nn.Parameter(torch.empty(1))]
        )
    with pytest.raises(
        TooLargeToExport, match=r"take 2,146,435,076 bytes.*Upload a model of fewer"
    ):
        check_size(too_large)
