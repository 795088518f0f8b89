"""Installed packages that a test makes up, and small graphs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from onnx import helper, numpy_helper

from isslim.runtime.graphs.recorded_inputs import GraphSession

FLOAT, INT = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def package(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A distribution in a folder that must be on the path of modules."""
    about = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)


def forget(module: ModuleType) -> None:
    """Empties the caches of a module's functions: another test installs other packages."""
    for each in vars(module).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


def graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, list[int | str]],
    constants: dict[str, np.ndarray] | None = None,
) -> GraphSession:
    """A session of a graph with outputs of 32-bit numbers."""
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, *port) for name, port in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path)
    return GraphSession(path)
