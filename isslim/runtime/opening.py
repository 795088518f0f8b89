"""Opens a graph in ONNX Runtime: device, settings, and the errors of files that it refuses.

The caller sets the number of threads; it is never derived from the machine, so that latencies are
well defined. Several threads do not spin while they wait: a service shares its cores with its own
HTTP workers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, Self

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from isslim.runtime.contract import PRECISION, Port
from isslim.runtime.errors import DeviceUnavailable, GraphRefused, RunStopped
from isslim.runtime.run_control import RunControl

_PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
}
"""Execution providers and options by device. TF32, a GPU's default, keeps ten bits of every factor:
its results would differ from those that were proven."""

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
"""ONNX Runtime's errors for a file that it cannot open; they have no common base class."""


def runtime_version() -> str:
    """The version of ONNX Runtime."""
    return str(onnxruntime.__version__)


def devices() -> list[str]:
    """The devices that ONNX Runtime offers on this machine: `cpu`, then `cuda` if it is there."""
    offered = onnxruntime.get_available_providers()
    return [device for device, (provider, _) in _PROVIDERS.items() if provider in offered]


class OrtSession:
    """A graph ready to run, from several threads in parallel; runs leave no state behind.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.
        optimized: False runs the operators as they are in the file; for proofs.

    Attributes:
        integer: True when activations are quantized at run time, so that results depend on what
            shares a run.

    Raises:
        DeviceUnavailable: when ONNX Runtime does not offer the device.
        GraphRefused: when the file is no graph.
    """

    def __init__(
        self, path: Path, *, threads: int = 1, device: str = "cpu", optimized: bool = True
    ) -> None:
        if device not in devices():
            raise DeviceUnavailable(device, devices())
        self.path, self.threads, self.device = path, threads, device
        self._control: RunControl | None = None
        if device == "cuda":
            _load_cuda()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), _options(threads, optimized), providers=_providers(device)
            )
        except _OPEN_FAULTS as fault:
            # Where the file lies here is nobody's business: whoever sent it knows it by its name.
            told = " ".join(str(fault).replace(str(path), path.name).split())
            raise GraphRefused(path, [told]) from fault
        if device != "cpu" and _PROVIDERS[device][0] not in self._session.get_providers():
            raise DeviceUnavailable(device, ["cpu"])
        self.integer = self._session.get_modelmeta().custom_metadata_map.get(PRECISION) == "int8"

    def bound(self, control: RunControl) -> Self:
        """The same open graph, as a session whose runs `control` can stop with `RunStopped`."""
        # As `copy.copy` does it, in a quarter of the time: every run of a request passes here.
        session = object.__new__(type(self))
        session.__dict__.update(self.__dict__)
        session._control = control
        return session

    def _run(self, outputs: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
        """Runs the graph.

        Args:
            outputs: names of the requested outputs.
            feed: arrays by the names of the inputs.

        Raises:
            RunStopped: when the control ended the run.
        """
        return list(self._controlled(self._session.run, outputs, feed))

    def _controlled(self, run: Callable[..., Sequence[Any]], *arguments: object) -> Sequence[Any]:
        """Every run of the graph goes through here.

        Args:
            run: called with the arguments and the options of ONNX Runtime.
            *arguments: all but the options.

        Raises:
            RunStopped: when the control ended the run.
        """
        if self._control is None:
            return run(*arguments, None)
        try:
            return run(*arguments, self._control.options)
        except Exception as fault:  # ONNX Runtime's errors have no root of their own
            if self._control.stopped:
                raise RunStopped from fault
            raise

    def _ports(self) -> tuple[Sequence[Port], Sequence[Port]]:
        """The graph's inputs and outputs, to be checked against a contract."""
        return self._session.get_inputs(), self._session.get_outputs()


@cache
def _load_cuda() -> None:
    """Loads CUDA and cuDNN from where pip puts them, where the system's loader does not look."""
    with redirect_stdout(sys.stderr):  # it prints what it does not find
        onnxruntime.preload_dlls()


def _options(threads: int, optimized: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Errors are raised; printed as well, they would break the service's log of JSON lines.
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers(device: str) -> list[tuple[str, dict[str, str]]]:
    """The device first; operators that it lacks run on the CPU."""
    return [_PROVIDERS[each] for each in dict.fromkeys([device, "cpu"])]
