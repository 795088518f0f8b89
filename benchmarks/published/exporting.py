"""A torch module as an ONNX file, for packages that ship weights without a graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn


def export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    free: Mapping[str, Sequence[str | None]],
) -> None:
    """Writes the graph of a module in evaluation mode.

    Args:
        module: takes and returns tensors.
        example: its arguments.
        path: the file.
        free: of every input in order, and then of every output, a name for each dimension of any
            size; None: the dimension is fixed.
    """
    names = list(free)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exporter by tracing is the old one
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            dynamo=False,
            input_names=names[: len(example)],
            output_names=names[len(example) :],
            dynamic_axes={
                name: {place: size for place, size in enumerate(sizes) if size is not None}
                for name, sizes in free.items()
            },
            opset_version=17,
        )
