"""Inputs of a graph that is run as it stands: recorded runs in an npz file, and one run of a graph by names.

An npz holds one run as `<input>`, or several as `<run>/<input>` with whole numbers in front; it is read without pickles. The
first run of a bundle's `samples.npz` is what its latency is measured on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputsRefused
from runtime.opening import OpenedGraph

SAMPLES = "samples.npz"
Inputs = dict[str, NDArray[Any]]

KINDS: dict[str, Any] = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32, "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_, "tensor(string)": np.str_,
}  # fmt: skip
"""ONNX Runtime's names of types."""


class AnyGraph(OpenedGraph):
    """A graph of any inputs and outputs, ready to run. See `OpenedGraph`.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.
        optimized: see `OpenedGraph`.

    Attributes:
        inputs: name to (type as ONNX Runtime calls it, shape); numbers are fixed, names free.
        outputs: the same.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "cpu", optimized: bool = True) -> None:
        super().__init__(path, threads=threads, device=device, optimized=optimized)
        given, made = self._ports()
        self.inputs, self.outputs = (
            {port.name: (port.type, list(port.shape or [])) for port in ports} for ports in (given, made)
        )

    def checked(self, inputs: Mapping[str, Any]) -> Inputs:
        """The inputs as arrays of the graph's types.

        Args:
            inputs: by name; arrays, or nested lists of numbers.

        Raises:
            InputsRefused: with everything that is missing, too much, or of another type or shape.
        """
        issues = [f"input '{name}' is missing" for name in self.inputs.keys() - inputs.keys()]
        issues += [f"there is no input '{name}'" for name in inputs.keys() - self.inputs.keys()]
        arrays: Inputs = {}
        for name in self.inputs.keys() & inputs.keys():
            kind, shape = self.inputs[name]
            try:
                arrays[name] = _typed(inputs[name], kind)
            except (ValueError, TypeError, OverflowError) as error:
                issues.append(f"input '{name}' is no {kind}: {error}")
                continue
            found = arrays[name].shape
            fixed = [size for size in shape if isinstance(size, int)]
            fits = len(found) == len(shape) and all(
                not isinstance(wanted, int) or wanted == size for wanted, size in zip(shape, found, strict=True)
            )
            if (shape or fixed) and not fits:
                issues.append(f"input '{name}' has the shape {list(found)}, the graph reads {shape}")
        if issues:
            raise InputsRefused(sorted(issues))
        return arrays

    def run(self, inputs: Inputs, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Runs the graph once.

        Args:
            inputs: as `checked` gives them.
            names: of the outputs that are wanted; all by default.

        Raises:
            InputsRefused: when the graph cannot be run on them.
        """
        wanted = list(self.outputs if names is None else names)
        try:
            return dict(zip(wanted, self._session.run(wanted, inputs), strict=True))
        except Exception as fault:  # ONNX Runtime's errors have no root of their own
            raise InputsRefused([f"ONNX Runtime cannot run the graph on these inputs: {fault}"]) from fault


def read_runs(content: bytes) -> list[Inputs]:
    """The runs of an npz file's content, in order.

    Raises:
        InputsRefused: when it is no npz of arrays, or names runs and inputs in one.
    """
    try:
        with np.load(BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputsRefused([f"this is no npz of arrays: {error}"]) from error
    if not arrays:
        raise InputsRefused(["the npz holds no array"])
    numbered = {name: name.split("/", 1) for name in arrays if name.split("/", 1)[0].isdigit() and "/" in name}
    if not numbered:
        return [arrays]
    if len(numbered) < len(arrays):
        strange = sorted(arrays.keys() - numbered.keys())
        raise InputsRefused([f"some arrays are of numbered runs and these are not: {', '.join(strange)}"])
    runs: dict[int, Inputs] = {}
    for name, (number, own) in numbered.items():
        runs.setdefault(int(number), {})[own] = arrays[name]
    return [runs[number] for number in sorted(runs)]


def write_runs(path: Path, runs: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Writes runs in the form that `read_runs` reads."""
    arrays = {f"{number}/{name}": array for number, run in enumerate(runs) for name, array in run.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _typed(value: Any, kind: str) -> NDArray[Any]:
    if kind not in KINDS:
        raise TypeError(f"{kind} cannot be given from outside")
    wanted, array = np.dtype(KINDS[kind]), np.asarray(value)
    if array.dtype == object or (array.dtype.kind in "US") != (wanted.kind == "U"):
        raise TypeError(f"found {array.dtype}")
    if wanted.kind in "iub" and array.dtype.kind == "f":
        raise TypeError("found numbers with a decimal point")
    if wanted.kind in "iu" and array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise OverflowError(f"found numbers outside {limits.min} to {limits.max}")
    return array.astype(np.object_ if wanted.kind == "U" else wanted)
