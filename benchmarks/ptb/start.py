"""Where a compressed configuration begins: another run's network, cut to a share of its work.

`[start]` of a configuration says `of` (the name of a run of this benchmark, trained before), `cut`
and `mult_adds` (the share of the multiply-adds per token that is left):

- `calibrated`: structured optimal brain surgeon with repair, in closed form from the training text,
  as in `calibrate`;
- `magnitude`: the components of smallest norm go, to the very sizes that `calibrated` finds;
  nothing is repaired;
- `scratch`: weights are drawn anew, in the very sizes that `calibrated` finds: the paper's "direct
  design".

With `teacher = true` the network is then distilled from the whole one, else trained on the text
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save

from isslim.compress.commands.cut import Parts, cut_network
from isslim.compress.commands.saving import write
from isslim.compress.kinds.language.ingest.layouts import read_model
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.pruning import axes, blocks
from isslim.compress.pruning.narrow import insert, reader_of
from isslim.compress.pruning.rotation import rotate
from isslim.compress.training.learners.groups import Groups

CUTS = ("calibrated", "magnitude", "scratch")
SCALE = 0.05
"""Weights drawn anew are uniform in +-this."""


@dataclass(frozen=True)
class Start:
    """The table `[start]` of a configuration.

    Attributes:
        of: name of the run.
        cut: how components are chosen.
        mult_adds: the share of the run's multiply-adds that is left, at most.
        seed: of the run.
        teacher: whether the run's network teaches.
        ranks: whether what recurrent layers read may be narrowed too, and the softmax be in blocks.
    """

    of: str
    cut: str
    mult_adds: float
    seed: int = 1
    teacher: bool = True
    ranks: bool = False

    def __post_init__(self) -> None:
        if self.cut not in CUTS:
            raise ValueError(f"the cut '{self.cut}' is not one of {', '.join(CUTS)}")
        if not 0 < self.mult_adds < 1:
            raise ValueError(f"mult_adds = {self.mult_adds}: a share between 0 and 1 is expected")


def trained_network(output: Path, name: str, seed: int) -> LanguageModel:
    """The network that a run left.

    Args:
        output: the folder of all runs.
        name: of the run's configuration.
        seed: of the run.

    Raises:
        FileNotFoundError: when it was not trained yet.
    """
    folder = output / f"{name}-{seed}"
    if not (folder / "record.json").exists():
        raise FileNotFoundError(
            f"{folder} holds no trained run; first: "
            f"python -m benchmarks.ptb.run {name} --seed {seed}"
        )
    return read_model(folder / "model.safetensors", folder / "config.json").network


def cut(
    whole: LanguageModel,
    start: Start,
    output: Path,
    training: torch.Tensor,
    noise: Regularisation,
    seed: int,
) -> LanguageModel:
    """The network that training begins with, on the CPU.

    A calibrated cut is cached in the folder of the run that it was made from.

    Args:
        whole: the network of the run.
        start: which run's it is, how much of it goes, and how.
        output: the folder of all runs.
        training: int64 (N,), the text that calibrates.
        noise: what the small network trains under.
        seed: of weights that are drawn anew.
    """
    name = f"calibrated-{start.mult_adds:g}{'-ranks' if start.ranks else ''}.safetensors"
    file = output / f"{start.of}-{start.seed}" / name
    if not file.exists():
        parts: Parts = "ranks" if start.ranks else "widths"
        found = cut_network(whole, training, start.mult_adds, "mult_adds", parts=parts)
        write(file, save(found.arrays))
    calibrated = whole.rebuilt(load(file.read_bytes()), noise)
    if start.cut == "scratch":
        calibrated.initialise(SCALE, torch.Generator().manual_seed(seed))
    return _largest(whole, calibrated, noise) if start.cut == "magnitude" else calibrated


def _largest(
    whole: LanguageModel, calibrated: LanguageModel, noise: Regularisation
) -> LanguageModel:
    """Per axis, as many components of largest norm as a calibrated cut has, without biases.

    Of a narrow layer they are the largest singular values of what it stands before.
    """
    arrays, declaration, small = whole.arrays(), whole.declaration(), calibrated.declaration()
    rows = blocks.block_sizes(small)
    if rows:
        order = calibrated.arrays()[blocks.ORDER].astype(np.int64)
        arrays, declaration = blocks.split(arrays, declaration, order, rows)
    for place in small.narrow:
        arrays, declaration = insert(arrays, declaration, place)
        matrix = arrays[reader_of(declaration, place).parameter].astype(np.float64)
        singular = np.linalg.eigh(matrix.T @ matrix)[1][:, ::-1]
        arrays = rotate(arrays, declaration, place.axis, singular)
    groups = Groups(declaration, list(declaration.axes))
    parameters = {name: torch.from_numpy(array) for name, array in arrays.items()}
    norms = {axis: groups.squares(parameters, axis).numpy() for axis in declaration.axes}
    keep = {
        axis: np.sort(np.argsort(-norms[axis], kind="stable")[: small.axes[axis]])
        for axis in declaration.axes
    }
    return whole.rebuilt(axes.select_components(arrays, declaration, keep)[0], noise)
