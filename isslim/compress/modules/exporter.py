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
from typing import Any, TextIO

import onnx
import torch
from torch import Tensor, nn

OPSET = 17
"""Supported by all runtimes in use, and by everything that reads a graph here."""
_GLOBALS = "torch.onnx._internal.torchscript_exporter._globals"
_OWN_WORDS = re.compile(
    rb"^\[W[^\]\n]*\] Warning: [^\n]*\n|^Torch IR graph at exception: .*?^  return \([^\n]*\)\n\n?",
    re.MULTILINE | re.DOTALL,
)
"""Warnings that some types are not inferred, and the whole graph where an operator is not known."""


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
    """Leaves warning filters, the random state, the exporter's settings and both streams."""
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
        _settings(),
        _quiet(1, sys.stdout),
        _quiet(2, sys.stderr),
    ):
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
def _quiet(descriptor: int, stream: TextIO) -> Iterator[None]:
    """Holds back what is written to stdout or stderr, and passes it on without the exporter's own.

    Its C++ code writes past Python, and cannot be stopped from it.
    """
    try:
        stream.flush()
        kept = os.dup(descriptor)
    except (OSError, AttributeError, ValueError):  # there is no such stream
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), descriptor)
        try:
            yield
        finally:
            stream.flush()
            os.dup2(kept, descriptor)
            os.close(kept)
            held.seek(0)
            if others := _OWN_WORDS.sub(b"", held.read()):
                os.write(descriptor, others)
