"""Inputs of a graph: recorded runs in an npz file, and one run by the names of its inputs.

An npz holds one run as `<input>`, or several as `0/<input>`, `1/<input>` and so on; it is read
without pickles, and never into more memory than is allowed. Recorded runs may hold targets of
outputs as well, `target:<output>` (`0/target:<output>`). A bundle's `samples.npz` holds the runs
on which its latency was measured, the primary one first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.contract import Port
from isslim.runtime.errors import InputsRefused, RunStopped
from isslim.runtime.opening import OrtSession
from isslim.types.arrays import MAX_BYTES, BadArrays, dump_npz, read_npz

SAMPLES = "samples.npz"
TARGET = "target:"
"""Before the name of an output: the array is not an input, but what that output should be."""
_NUMBERED = re.compile("[0-9]{1,9}/")
NamedArrays = dict[str, NDArray[Any]]

KINDS: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
}
"""NumPy types by ONNX Runtime's names."""


Ports = dict[str, tuple[str, list[int | str | None]]]


def described(ports: Sequence[Port]) -> Ports:
    """Types and shapes of a graph's inputs or outputs by name, as `GraphInterface` has them."""
    return {port.name: (port.type, list(port.shape or [])) for port in ports}


class GraphInterface:
    """The inputs and outputs of a graph.

    Attributes:
        inputs: name to (type as ONNX Runtime calls it, shape); numbers are fixed, names free.
        outputs: the same.
        may_be_empty: names of inputs that may hold nothing.
    """

    inputs: Ports
    outputs: Ports
    may_be_empty: frozenset[str] = frozenset()

    def checked(self, inputs: Mapping[str, Any]) -> NamedArrays:
        """The inputs as arrays of the graph's types.

        Args:
            inputs: by name; arrays, or nested lists of numbers.

        Raises:
            InputsRefused: with everything that is missing, unknown, or of another type or shape.
        """
        issues = [f"input '{name}' is missing" for name in self.inputs.keys() - inputs.keys()]
        strange = sorted(inputs.keys() - self.inputs.keys())
        issues += [f"there is no input '{name}'" for name in strange]
        arrays: NamedArrays = {}
        for name in self.inputs.keys() & inputs.keys():
            kind, shape = self.inputs[name]
            try:
                arrays[name] = typed(inputs[name], kind)
            except (ValueError, TypeError, ArithmeticError) as error:
                issues.append(f"input '{name}' is no {kind}: {error}")
                continue
            found = arrays[name].shape
            fixed = [size for size in shape if isinstance(size, int)]
            fits = len(found) == len(shape) and all(
                not isinstance(wanted, int) or wanted == size
                for wanted, size in zip(shape, found, strict=True)
            )
            if (shape or fixed) and not fits:
                issues.append(
                    f"input '{name}' has the shape {list(found)}, the graph reads {shape}"
                )
            elif 0 in found and name not in self.may_be_empty:
                # ONNX Runtime's LSTM and GRU end the whole process on no steps or no batch.
                issues.append(f"input '{name}' is empty: its shape is {list(found)}")
        if issues:
            hint = ["number several runs: '0/<input>', '1/<input>', and so on"]
            raise InputsRefused(
                [*(hint if any("/" in name for name in strange) else []), *sorted(issues)]
            )
        return {name: arrays[name] for name in self.inputs}

    def named(self, names: Sequence[str]) -> list[str]:
        """The names of the requested outputs; all if none is named.

        Raises:
            InputsRefused: when there is no such output.
        """
        there = ", ".join(self.outputs)
        issues = [
            f"there is no output '{name}'; there is: {there}"
            for name in names
            if name not in self.outputs
        ]
        if issues:
            raise InputsRefused(issues)
        return list(names or self.outputs)


class GraphSession(OrtSession, GraphInterface):
    """A graph with any inputs and outputs, ready to run. See `OrtSession` and `GraphInterface`.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.
        optimized: see `OrtSession`.
    """

    def __init__(
        self, path: Path, *, threads: int = 1, device: str = "cpu", optimized: bool = True
    ) -> None:
        super().__init__(path, threads=threads, device=device, optimized=optimized)
        self.inputs, self.outputs = map(described, self._ports())

    def run(
        self, inputs: NamedArrays, names: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Runs the graph once.

        Args:
            inputs: as `checked` returns them.
            names: of the outputs that are wanted; all by default.

        Raises:
            InputsRefused: when the graph cannot be run on them.
            RunStopped: when the control ended the run.
        """
        wanted = list(self.outputs if names is None else names)
        try:
            return dict(zip(wanted, self._run(wanted, inputs), strict=True))
        except RunStopped:
            raise
        except Exception as fault:  # ONNX Runtime's errors have no common base class
            raise InputsRefused(
                [f"ONNX Runtime cannot run the graph on these inputs: {fault}"]
            ) from fault


def read_runs(content: bytes, largest: int = MAX_BYTES) -> list[NamedArrays]:
    """The runs of an npz file's content, in order; see `read_numbered_runs`.

    Args:
        content: of the file.
        largest: bytes that all arrays together may take in memory.
    """
    return list(read_numbered_runs(content, largest).values())


def read_numbered_runs(content: bytes, largest: int = MAX_BYTES) -> dict[int, NamedArrays]:
    """The runs of an npz file by number, in order; a file without numbers holds run 0.

    Args:
        content: of the file.
        largest: bytes that all arrays together may take in memory.

    Raises:
        InputsRefused: when it is not an npz of arrays, is too large, mixes names with and without
            numbers, or has two arrays of one name for a run.
    """
    try:
        arrays = read_npz(content, largest)
    except BadArrays as error:
        raise InputsRefused([str(error)]) from error
    if not arrays:
        raise InputsRefused(["the npz holds no array"])
    numbered = {name: name.split("/", 1) for name in arrays if _NUMBERED.match(name)}
    if not numbered:
        return {0: arrays}
    if len(numbered) < len(arrays):
        strange = sorted(arrays.keys() - numbered.keys())
        raise InputsRefused(
            [f"some arrays are of numbered runs and these are not: {', '.join(strange)}"]
        )
    runs: dict[int, NamedArrays] = {}
    for name, (number, own) in numbered.items():
        if own in runs.setdefault(int(number), {}):
            raise InputsRefused(
                [f"'{name}' is '{own}' of run {int(number)} once more: give every run its number"]
            )
        runs[int(number)][own] = arrays[name]
    return {number: runs[number] for number in sorted(runs)}


def split_targets(run: NamedArrays, inputs: Collection[str]) -> tuple[NamedArrays, NamedArrays]:
    """The inputs of a run, and its targets by the names of outputs.

    Args:
        run: as it was recorded.
        inputs: names of the graph's inputs; what has such a name is one.
    """
    names = {name for name in run if name.startswith(TARGET) and name not in inputs}
    return (
        {name: array for name, array in run.items() if name not in names},
        {name.removeprefix(TARGET): run[name] for name in run if name in names},
    )


def write_runs(path: Path, runs: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Writes runs in the format that `read_runs` reads.

    Args:
        path: the npz file.
        runs: the arrays of each run by the names of the inputs.
    """
    arrays = {
        f"{number}/{name}": array for number, run in enumerate(runs) for name, array in run.items()
    }
    path.write_bytes(dump_npz(arrays))


def typed(value: Any, kind: str) -> NDArray[Any]:
    """Values as an array of a type, where none of them changes but by the precision of floats.

    Args:
        value: an array, or nested lists.
        kind: as ONNX Runtime calls the type.

    Raises:
        ValueError: when the lists are of unequal lengths.
        TypeError: when they hold something else.
        ArithmeticError: when a number does not fit.
    """
    if kind not in KINDS:
        raise TypeError(f"{kind} cannot be given from outside")
    wanted, plain = (
        np.dtype(KINDS[kind]),
        isinstance(value, np.ndarray | np.generic) and value.dtype.kind != "O",
    )
    array = np.asarray(value) if plain else _from_lists(value)
    if array.dtype.kind not in "biufUO" or (
        array.size and (array.dtype.kind in "UO") != (wanted.kind == "U")
    ):
        raise TypeError("found texts" if array.dtype.kind in "UO" else f"found {array.dtype}")
    if wanted.kind in "iub" and array.dtype.kind == "f":
        raise TypeError("found numbers with a decimal point")
    if wanted.kind in "iu" and array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise OverflowError(f"found numbers outside {limits.min} to {limits.max}")
    with np.errstate(over="raise"):
        return array.astype(np.object_ if wanted.kind == "U" else wanted)


def _from_lists(value: Any) -> NDArray[Any]:
    """Converts nested lists to an array of numbers or of texts.

    Texts go through an object array: otherwise a single long one would widen all others.
    """
    objects: NDArray[Any] = np.asarray(value, np.object_)
    found = set(map(type, objects.ravel().tolist()))
    if found == {str}:
        return objects
    if list in found:
        raise ValueError("its lists are of unequal lengths, or too deep")
    if not found <= {int, float, bool}:
        raise TypeError(f"found {', '.join(sorted(each.__name__ for each in found))}")
    if float in found:
        return objects.astype(np.float64)
    return objects.astype(np.int64 if min(objects.ravel().tolist(), default=0) < 0 else np.uint64)
