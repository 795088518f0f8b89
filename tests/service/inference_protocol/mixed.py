"""A bundle of a graph whose inputs and outputs are of many datatypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from isslim.runtime.graphs.recorded_inputs import NamedArrays, write_runs
from isslim.types.recipe import Budget, Recipe
from tests.tagger import compress, recorded, tagger_graph


def publish_mixed(home: Path) -> str:
    """A tagger with other datatypes beside its ids; returns the bundle's id."""
    home.mkdir(parents=True, exist_ok=True)
    path = tagger_graph(home)
    model = onnx.load(path)
    for name, kind, operator, output in (
        ("flags", TensorProto.BOOL, "Not", "inverted"),
        ("halves", TensorProto.FLOAT16, "Identity", "same_halves"),
        ("words", TensorProto.STRING, "Identity", "same_words"),
    ):
        model.graph.input.append(helper.make_tensor_value_info(name, kind, ["n"]))
        model.graph.node.append(helper.make_node(operator, [name], [output], name=output))
        model.graph.output.append(helper.make_tensor_value_info(output, kind, ["n"]))
    onnx.save(model, path)
    samples = home / "recorded.npz"
    write_runs(samples, [{**run, **extra(2)} for run in recorded(12)])
    recipe = Recipe(name="mixed", budget=Budget(output_change=0.5))
    return compress(home, path, recipe, calibration=samples)


def extra(count: int) -> NamedArrays:
    """Values of the inputs beside the ids."""
    return {
        "flags": np.arange(count) % 2 == 0,
        "halves": np.linspace(-1, 1, count, dtype=np.float16),
        "words": np.array(["ä", "", "long word"] * count)[:count],
    }
