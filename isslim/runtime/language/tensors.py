"""A language model's graph as it is: a caller's tokens, targets, lengths, positions and states.

It runs in this process, so everything that a graph does not check itself is checked here: it reads
a negative id from the end, and an LSTM does not survive lengths that are not its steps.

Legend: B batch, T steps, R positions, V vocabulary, H units of a state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from isslim.runtime.contract import LENGTHS, TARGETS, TOKENS
from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphInterface, NamedArrays
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.session import LanguageSession, check_range
from isslim.runtime.run_control import RunControl
from isslim.runtime.run_memory import bytes_of_units
from isslim.runtime.shape import Shape
from isslim.types.manifest import Manifest


class LanguageTensors(GraphInterface):
    """One variant of a language model as a graph of tensors.

    Args:
        session: the variant.
        manifest: of its bundle.
        memory_bytes: that a run may take besides the weights.
    """

    def __init__(self, session: LanguageSession, manifest: Manifest, memory_bytes: int) -> None:
        self._session, self._manifest, self._memory_bytes = session, manifest, memory_bytes
        self.may_be_empty = frozenset({session.positions})
        self.inputs, self.outputs = session.inputs, session.outputs

    def bound(self, control: RunControl) -> Self:
        """The same graph, whose runs `control` can stop."""
        return type(self)(self._session.bound(control), self._manifest, self._memory_bytes)

    def checked(self, inputs: Mapping[str, Any]) -> NamedArrays:
        """The inputs as arrays that the graph can run.

        Args:
            inputs: by name; arrays, or nested lists of numbers.

        Raises:
            InputsRefused: with everything that is missing, unknown, of another type, shape or
                range, or would take too much memory.
            TokenOutOfRange: when a token or target is not of the vocabulary.
        """
        arrays = super().checked(inputs)
        tokens, positions = arrays[TOKENS], arrays[self._session.positions]
        if tokens.ndim != 2 or positions.ndim != 2:
            raise InputsRefused(["tokens are of the shape (T, B), positions of the shape (R, 2)"])
        steps, batch = tokens.shape
        self._check_shapes(arrays, steps, batch)
        for name in (TOKENS, TARGETS):
            check_range(arrays[name], self._session.vocabulary)
        lengths, issues = arrays[LENGTHS], []
        if lengths.min() < 1 or lengths.max() > steps:
            issues.append(
                f"lengths must lie between 1 and {steps}: {lengths.min()} to {lengths.max()}"
            )
        if positions.size and (positions.min() < 0 or (positions >= [steps, batch]).any()):
            issues.append(
                f"positions are steps from 0 to {steps - 1} of sequences from 0 to {batch - 1}"
            )
        if issues:
            raise InputsRefused(issues)
        return arrays

    def _check_shapes(self, arrays: NamedArrays, steps: int, batch: int) -> None:
        """Compares the shapes with that of the tokens, and the memory of the run with its limit."""
        positions = len(arrays[self._session.positions])
        states = self._session.zero_state(batch)
        wanted: dict[str, tuple[int, ...]] = {
            TARGETS: (steps, batch),
            LENGTHS: (batch,),
            self._session.positions: (positions, 2),
            **{name: state.shape for name, state in states.items()},
        }
        issues = [
            f"input '{name}' has the shape {list(arrays[name].shape)}; with these tokens it is "
            f"{list(shape)}"
            for name, shape in wanted.items()
            if arrays[name].shape != shape
        ]
        needed = (
            LoadedLanguageModel.run_bytes(self._manifest, Shape(steps=steps, batch=batch))
            + bytes_of_units(self._manifest, steps, batch)
            + 4 * positions * self._session.vocabulary
        )
        if needed > self._memory_bytes:
            issues.append(
                f"a run of {steps:,} steps, {batch:,} sequences and {positions:,} positions takes "
                f"about {needed:,} bytes; at most {self._memory_bytes:,}: send fewer steps at a "
                "time, each run with the states of the one before"
            )
        if issues:
            raise InputsRefused(issues)

    def run(self, inputs: NamedArrays, names: Sequence[str]) -> tuple[dict[str, Any], float]:
        """Runs the graph once.

        Args:
            inputs: as `checked` gives them.
            names: of the requested outputs.

        Returns:
            Outputs by name, and the milliseconds that ONNX Runtime took.

        Raises:
            RunStopped: when the control ended the run.
        """
        began = time.perf_counter()
        found = self._session.run_tensors(inputs)
        milliseconds = 1e3 * (time.perf_counter() - began)
        return {name: found[name] for name in names}, milliseconds
