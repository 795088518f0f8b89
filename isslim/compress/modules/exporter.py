"""torch's exporter by tracing, run without a trace of it outside: no warning, no changed setting.

The exporter by tracing, and not the newer one by `torch.export`: it writes LSTM, GRU and RNN as
the operators of these names, with sequences of different lengths (`pack_padded_sequence`) as their
lengths, keeps the names of parameters and the path of modules, and needs no further package.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

OPSET = 17
"""Supported by all runtimes in use, and by everything that reads a graph here."""
_GLOBALS = "torch.onnx._internal.torchscript_exporter._globals"
_OWN_LINE = re.compile(rb"^\[W[^\]]*\] Warning: ")
"""What torch's C++ code writes to stderr, past Python's warnings."""


def traced_graph(
    module: nn.Module,
    tensors: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, str]],
) -> onnx.ModelProto:
    """Exports a module: parameters as initialisers of their own, nothing folded or fused.

    Args:
        module: in evaluation mode; forward takes and returns tensors only.
        tensors: its arguments.
        inputs: a name for each.
        outputs: a name for each output.
        free: per input and output the dimensions of any size, with a name for each.
    """
    file = io.BytesIO()
    with _without_effects():
        torch.onnx.export(
            module,
            tensors,
            file,  # type: ignore[arg-type]
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(sizes) for name, sizes in free.items() if sizes},
            opset_version=OPSET,
            # Equal parameters stay apart, and batch normalisation beside its convolution: each
            # number of the graph is then a number of one parameter.
            keep_initializers_as_inputs=True,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    model = onnx.load_from_string(file.getvalue())
    weights = {tensor.name for tensor in model.graph.initializer}
    for port in [port for port in model.graph.input if port.name in weights]:
        model.graph.input.remove(port)
    return model


@contextmanager
def _without_effects() -> Iterator[None]:
    """Leaves warning filters, the random state, the exporter's settings and stderr as they were."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), _settings(), _quiet():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _settings() -> Iterator[None]:
    """Restores the exporter's own settings, where they are known to be."""
    try:
        settings: Any = importlib.import_module(_GLOBALS).GLOBALS
    except (ImportError, AttributeError):  # of another version of torch
        yield
        return
    before = dict(vars(settings))
    try:
        yield
    finally:
        vars(settings).update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds stderr back, and passes on what is not a warning of torch's C++ code.

    These warnings say that types of lists of steps are not inferred, to whoever develops the
    exporter, and cannot be switched off.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError, ValueError):  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            others = [line for line in held if not _OWN_LINE.match(line)]
            if others:
                os.write(2, b"".join(others))
