"""One variant's graph, opened in ONNX Runtime: what goes in, what comes out, on which device, with which settings.

Threads are given by the caller and never taken from the machine, so that a latency means what it says. Several
threads do not spin while they wait: a service shares its cores with its own HTTP workers.

Legend: B batch, T steps, V vocabulary, H units of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from runtime.errors import DeviceUnavailable, GraphRefused, TokenOutOfRange
from runtime.graph import LENGTHS, PRECISION, STATE_OUT, TARGETS, TOKEN_LOG_PROBS, TOKENS, read_signature

Array = NDArray[Any]
Integers = NDArray[np.int64]
State = dict[str, NDArray[np.float32]]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_OPEN_FAULTS = (
    onnxruntime_pybind11_state.Fail,
    onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime_pybind11_state.NoModel,
    onnxruntime_pybind11_state.NoSuchFile,
    onnxruntime_pybind11_state.NotImplemented,
    onnxruntime_pybind11_state.RuntimeException,
)
"""What ONNX Runtime raises for a file that it cannot open; its errors have no root of their own."""


def devices() -> list[str]:
    """The devices that ONNX Runtime offers on this machine: `cpu`, then `cuda` if it is there."""
    offered = onnxruntime.get_available_providers()
    return [device for device, provider in _PROVIDERS.items() if provider in offered]


class VariantSession:
    """A scoring graph ready to run. Runs may come from several threads at once; the session holds no state.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.

    Attributes:
        vocabulary: V, the number of tokens.
        integer: True when activations are quantized as they come, so that results depend on what shares a run.

    Raises:
        DeviceUnavailable: when ONNX Runtime does not offer the device.
        GraphRefused: when the file is no graph, or not one of `runtime/graph.py`.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "cpu") -> None:
        if device not in devices():
            raise DeviceUnavailable(device, devices())
        self.path, self.threads, self.device = path, threads, device
        try:
            self._session = onnxruntime.InferenceSession(str(path), _options(threads), providers=_providers(device))
        except _OPEN_FAULTS as fault:
            raise GraphRefused(path, [str(fault)]) from fault
        if device != "cpu" and _PROVIDERS[device] not in self._session.get_providers():
            raise DeviceUnavailable(device, ["cpu"])
        signature, issues = read_signature(self._session.get_inputs(), self._session.get_outputs())
        if issues:
            raise GraphRefused(path, issues)
        self.vocabulary = signature.vocabulary
        self._states = signature.states
        self.integer = self._session.get_modelmeta().custom_metadata_map.get(PRECISION) == "int8"

    def zero_state(self, batch: int) -> State:
        """The state before a text: zeros, float32 (1, B, H) each."""
        return {name: np.zeros((1, batch, width), np.float32) for name, width in self._states}

    def run(
        self,
        tokens: Integers,
        targets: Integers,
        lengths: NDArray[np.int32],
        state: State,
        want: Sequence[str] = (TOKEN_LOG_PROBS,),
    ) -> tuple[dict[str, Array], State]:
        """Runs the graph once.

        Args:
            tokens: int64 (T, B).
            targets: int64 (T, B), the token asked for after each of `tokens`; any valid one in padding.
            lengths: int32 (B,), each from 1 to T.
            state: as `zero_state` gives it, or as the last run returned it.
            want: the outputs to move out of the runtime.

        Returns:
            The wanted outputs by name, and the state after each sequence's last step.

        Raises:
            TokenOutOfRange: when a token or target is not of the vocabulary.
            ValueError: when a length is not between 1 and T.
        """
        for ids in (tokens, targets):
            check_range(ids, self.vocabulary)
        if lengths.size and (lengths - 1).view(np.uint32).max() >= len(tokens):
            raise ValueError(f"lengths must lie between 1 and {len(tokens)}: {lengths.min()} to {lengths.max()}")
        feed = {TOKENS: tokens, TARGETS: targets, LENGTHS: lengths, **state}
        names = [*want, *(name + STATE_OUT for name, _ in self._states)]
        results = self._session.run(names, feed)
        outputs = dict(zip(want, results, strict=False))
        after = {name: value for (name, _), value in zip(self._states, results[len(want) :], strict=True)}
        return outputs, after


def check_range(ids: Integers, vocabulary: int) -> None:
    """Refuses ids outside the vocabulary; the graph itself would read a negative one from the end.

    Raises:
        TokenOutOfRange: naming the first such id.
    """
    # Seen as unsigned a negative id is a huge one: a single pass, which counts when a step takes a tenth of a millisecond.
    if ids.size and ids.view(np.uint64).max() >= vocabulary:
        wrong = ids[(ids < 0) | (ids >= vocabulary)]
        raise TokenOutOfRange(int(wrong.flat[0]), vocabulary)


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors; a warning of the graph optimizer is nobody's business here
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers(device: str) -> list[str]:
    """The device first; operators that it lacks run on the CPU."""
    return list(dict.fromkeys([_PROVIDERS[device], _PROVIDERS["cpu"]]))
