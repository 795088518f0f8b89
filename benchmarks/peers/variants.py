"""The child's side: what each tool makes of the model, ready to run on one thread.

A tool is imported in the function that needs it: no environment has them all.

Legend: B batch, T steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.serving import Opened, Scorer

Ids = NDArray[np.int64]
State = dict[str, NDArray[np.float32]]
SUBSET = 100
"""Pieces of text that NNCF calibrates on."""


def open_variant(settings: Mapping[str, Any]) -> Opened:
    """Opens a variant.

    Args:
        settings: `engine` is a key of `ENGINES`; `file` the graph or the weights; `int8` whether
            the engine's own tool is to quantize it; `work` a folder for files.
    """
    return ENGINES[settings["engine"]](settings)


def _onnxruntime(settings: Mapping[str, Any]) -> Opened:
    """ONNX Runtime, and its `quantize_dynamic` with default options."""
    import onnxruntime

    file = Path(settings["file"])
    if settings["int8"]:
        from onnxruntime.quantization import quantize_dynamic

        small = Path(settings["work"]) / "dynamic.onnx"
        quantize_dynamic(file, small)
        file = small
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    shapes = {each.name: each.shape for each in session.get_inputs()}
    wanted = [each.name for each in session.get_outputs()]

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(wanted, session.run(wanted, feed), strict=True))

    widths = {name: shape[-1] for name, shape in shapes.items() if name not in _TEXT_INPUTS}
    return Opened(_GraphScorer(run, widths), file)


def _openvino(settings: Mapping[str, Any]) -> Opened:
    """OpenVINO, and NNCF's post-training quantization with default options."""
    import openvino

    file, note = Path(settings["file"]), ""
    core = openvino.Core()
    model = core.read_model(file)
    widths = {
        each.any_name: each.partial_shape[2].get_length()
        for each in model.inputs
        if each.any_name not in _TEXT_INPUTS
    }
    work = Path(settings["work"])
    if settings["int8"]:
        import nncf

        pieces = np.load(settings["calibration"])[: SUBSET * 31].reshape(SUBSET, 31)
        empty = _GraphScorer(dict, widths).zero_state(1)
        feeds = [_feed(piece[:-1, None], piece[1:, None], empty) for piece in pieces]
        model = nncf.quantize(model, nncf.Dataset(feeds), subset_size=SUBSET)
        counts = [each.get_type_name() for each in model.get_ops()]
        note = f"{counts.count('FakeQuantize')} FakeQuantize operators"
    openvino.save_model(model, work / "openvino.xml", compress_to_fp16=False)
    compiled = core.compile_model(
        work / "openvino.xml", "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    )
    request = compiled.create_infer_request()
    names = [each.any_name for each in compiled.outputs]

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        found = request.infer(feed)
        return {name: found[name] for name in names}

    return Opened(_GraphScorer(run, widths), work / "openvino.bin", note)


def _torch(settings: Mapping[str, Any]) -> Opened:
    """PyTorch, and its `quantize_dynamic` of LSTM and Linear."""
    import torch

    from benchmarks.peers import plain

    torch.set_num_threads(1)
    model = plain.load(Path(settings["file"]))
    if settings["int8"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.ao says where its future is
            quantize: Any = torch.ao.quantization.quantize_dynamic  # it has no types
            model = quantize(model, {torch.nn.LSTM, torch.nn.Linear}, dtype=torch.qint8)
    file = Path(settings["work"]) / "model.pt"
    torch.save(model.state_dict(), file)
    return Opened(_TorchScorer(model), file)


ENGINES = {"onnxruntime": _onnxruntime, "openvino": _openvino, "torch": _torch}
_TEXT_INPUTS = ("tokens", "targets", "lengths", "positions")


def _feed(tokens: Ids, targets: Ids, state: State) -> dict[str, Any]:
    steps, batch = tokens.shape
    return {
        "tokens": tokens,
        "targets": targets,
        "lengths": np.full(batch, steps, np.int32),
        "positions": np.empty((0, 2), np.int64),
        **state,
    }


class _GraphScorer(Scorer):
    """A scoring graph of `isslim/runtime/contract.py`, run by any engine.

    Args:
        run: maps inputs to outputs, by name.
        widths: of the states, by name.
    """

    def __init__(self, run: Any, widths: Mapping[str, int]) -> None:
        self._run, self._widths = run, widths

    def zero_state(self, batch: int) -> State:
        return {
            name: np.zeros((1, batch, width), np.float32) for name, width in self._widths.items()
        }

    def run(self, tokens: Ids, targets: Ids, state: State) -> tuple[NDArray[np.float32], State]:
        found = self._run(_feed(tokens, targets, state))
        # An engine may reuse the memory of its outputs.
        after = {name: np.array(found[f"{name}_out"]) for name in self._widths}
        return np.array(found["token_log_probs"]), after


class _TorchScorer(Scorer):
    """A model of `plain`, quantized or not."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def zero_state(self, batch: int) -> Any:
        import torch

        lstm = self._model.lstm
        return tuple(torch.zeros(lstm.num_layers, batch, lstm.hidden_size) for _ in range(2))

    def run(self, tokens: Ids, targets: Ids, state: Any) -> tuple[NDArray[np.float32], Any]:
        import torch

        with torch.inference_mode():
            logits, after = self._model.step(torch.from_numpy(tokens), state)
            found = logits.log_softmax(-1).gather(-1, torch.from_numpy(targets)[..., None])
        return found[..., 0].numpy(), after
