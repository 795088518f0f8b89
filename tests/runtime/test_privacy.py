"""ONNX Runtime tells nobody which models are opened here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

OPENED = (
    "import sys, onnxruntime; "
    "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
)
ASKED_OF_ANYONE = (
    "CI",
    "GITHUB_ACTIONS",
    "ORT_DISABLE_TELEMETRY",
    "ORT_RUNNING_UNIT_TESTS",
    "XDG_CACHE_HOME",
)
"""What else may silence ONNX Runtime, or move what it keeps."""


@pytest.mark.parametrize(
    "package", ["isslim.runtime.opening", "isslim.compress.export.quantize", "isslim.service.main"]
)
def test_opening_a_model_leaves_nothing_to_be_sent(package: str, tmp_path: Path) -> None:
    constant = helper.make_node(
        "Constant", [], ["y"], value=onnx.numpy_helper.from_array(np.ones(2, np.float32))
    )
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_model(helper.make_graph([constant], "g", [], [output]), ir_version=9)
    onnx.save(graph, tmp_path / "a.onnx")
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ASKED_OF_ANYONE}
    subprocess.run(
        [sys.executable, "-c", f"import {package}; {OPENED}", str(tmp_path / "a.onnx")],
        env=environment | {"HOME": str(home)},
        check=True,
        timeout=120,
    )
    # There it keeps an identifier of the machine and the events that wait: without our switch this
    # test finds both.
    assert not list(home.rglob("*onnxruntime*"))
