"""The latency curves of a job, kept in its folder.

No two measurements of a host agree exactly, and sizes are chosen by them: a job that was killed
goes on with the curves that it began with, and ends as it would have ended.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

import torch

from isslim.compress.kinds.language.export.stacked import Recurrence
from isslim.compress.kinds.language.latency_curve import LatencyCurve, measure_curve
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.store.files import atomic_file

FILE = "latency-curves.json"


def latency_curves(
    network: LanguageModel,
    folder: Path,
    progress: ProgressCallback,
    *,
    run: tuple[int, int],
    int8: bool,
    recurrences: tuple[Recurrence, ...],
) -> list[LatencyCurve]:
    """A curve for each way to write the recurrences: measured, or read from the folder.

    What lies there is of no use on another processor, or for another network or run.

    Args:
        network: the original.
        folder: of the job.
        progress: called with the share done and a message.
        run: tokens of each sequence, and sequences.
        int8: see `measure_curve`.
        recurrences: see `measure_curve`.
    """
    file = folder / FILE
    declaration = network.declaration()
    described = {
        # The vocabulary, and whether embedding and decoder share a matrix, show in the parameters.
        "network": f"{type(network).__name__} {dict(declaration.axes)}, "
        f"{axes.parameters(declaration)} parameters",
        "run": list(run),
        "int8": int8,
        "recurrences": list(recurrences),
        "processor": f"{platform.machine()} {torch.cpu.get_capabilities().get('cpu_name')}",
    }
    try:
        kept = json.loads(file.read_text())
        if kept["described"] == described:
            return [LatencyCurve(**each) for each in kept["curves"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged
    steps, batch = run
    curves = [
        measure_curve(
            network, folder, progress, steps=steps, batch=batch, int8=int8, recurrence=recurrence
        )
        for recurrence in recurrences
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as partial:
        partial.write_text(
            json.dumps({"described": described, "curves": [asdict(each) for each in curves]})
        )
    return curves
