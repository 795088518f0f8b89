"""Whether narrow layers make a graph faster where its sizes were chosen by counting.

Multiply-adds stand for time there, and one more product for a number of them; what it really takes
depends on the run and on the processor. So the graph with its narrow layers is timed against the
same function without them, all multiplied out, on this host.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from isslim.compress.contract import Candidate, ModelTask
from isslim.compress.export.int8_forms import FORMS
from isslim.compress.measurement.scans import steady_comparison
from isslim.compress.pruning.network import Model

MULTIPLIED_OUT = (
    "narrow layers were multiplied out: measured here, the model takes less time without them"
)


def quicker(task: ModelTask[Model], found: Candidate[Model], folder: Path) -> Candidate[Model]:
    """A candidate without its narrow layers, where the clock finds it surely faster without.

    Args:
        task: how it is timed: at its primary shape, in int8 if weights can take 8 bits; under a
            budget of speed, which is about float32, in that.
        found: the candidate.
        folder: takes the graphs that are timed.

    Returns:
        The same candidate where it is not; where what counts is size; and where sizes were chosen
        by time (`ModelTask.multiplied_out`).
    """
    plain = task.multiplied_out(found.network)
    by_size = task.recipe.optimize == "size" or task.recipe.budget.size_ratio is not None
    if plain is None or by_size:
        return found
    with tempfile.TemporaryDirectory(dir=folder, prefix="narrow-") as name:
        paths = {
            "original": _written(task, found.network, Path(name), "narrow"),
            "plain": _written(task, plain, Path(name), "plain"),
        }
        timed = steady_comparison(task, paths)
    if timed is None or timed["plain"].speedup_low <= 1.0:
        return found
    return replace(found, network=plain, cautions=[*found.cautions, MULTIPLIED_OUT])


def _written(task: ModelTask[Model], network: Model, folder: Path, name: str) -> Path:
    """The graph that counts for speed."""
    source, target = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
    task.export(network, source)
    if task.recipe.budget.speedup is not None:
        return source
    return target if task.quantize(network, source, target, FORMS[0]).parts else source
