"""One opened variant of a language model: its inputs and outputs.

Legend: B batch, T steps, R positions, V vocabulary, H units of a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.bound_runs import Array, BoundRuns
from isslim.runtime.contract import (
    LENGTHS,
    LOG_PROBS,
    STATE_OUT,
    TARGETS,
    TOKEN_LOG_PROBS,
    TOKENS,
    read_language_signature,
)
from isslim.runtime.errors import GraphRefused, TokenOutOfRange
from isslim.runtime.graphs.recorded_inputs import described
from isslim.runtime.opening import OrtSession

Integers = NDArray[np.int64]
State = dict[str, NDArray[np.float32]]
NOWHERE: Integers = np.empty((0, 2), np.int64)
FEW = 64
"""Up to this many numbers are checked faster one by one than by a call of NumPy, three of which a
step of one token would need."""


class LanguageSession(OrtSession):
    """A scoring graph ready to run; the session holds no state. See `OrtSession`.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.

    Attributes:
        vocabulary: V, the number of tokens.
        positions: how the graph calls the input `positions`.
        inputs: types and shapes, see `GraphInterface`.
        outputs: the same.

    Raises:
        DeviceUnavailable: when ONNX Runtime does not offer the device.
        GraphRefused: when the file is no graph, or not a scoring graph of
            `isslim/runtime/contract.py`.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "cpu") -> None:
        super().__init__(path, threads=threads, device=device)
        given, made = self._ports()
        signature, issues = read_language_signature(given, made)
        if issues:
            raise GraphRefused(path, issues)
        self.vocabulary, self.positions = signature.vocabulary, signature.positions
        self.inputs, self.outputs = described(given), described(made)
        self._states = signature.states
        self._names = [name for name, _ in signature.states]
        self._wanted = [TOKEN_LOG_PROBS, LOG_PROBS, *(name + STATE_OUT for name in self._names)]
        self._inputs = [TOKENS, TARGETS, LENGTHS, signature.positions, *self._names]
        # On a GPU arrays would have to be bound there.
        self._bound = (
            BoundRuns(self._session, self._inputs, self._wanted) if device == "cpu" else None
        )

    def zero_state(self, batch: int) -> State:
        """The state before a text: zeros, float32 (1, B, H) each."""
        return {name: np.zeros((1, batch, width), np.float32) for name, width in self._states}

    def run(
        self,
        tokens: Integers,
        targets: Integers,
        lengths: NDArray[np.int32],
        state: State,
        positions: Integers = NOWHERE,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """Runs the graph once.

        Args:
            tokens: int64 (T, B).
            targets: int64 (T, B), the token to score after each of `tokens`; any valid one in
                padding.
            lengths: int32 (B,), each from 1 to T.
            state: as `zero_state` makes it, or as the last run returned it.
            positions: int64 (R, 2), the steps and sequences at which the log-probability of every
                token is requested.

        Returns:
            float32 (T, B) of the targets, float32 (R, V) at the positions, and the state after each
            sequence's last step.

        Raises:
            TokenOutOfRange: when a token or target is not of the vocabulary.
            ValueError: when a length is not between 1 and T.
        """
        # One look at both suffices for a few that are right.
        if tokens.size + targets.size > FEW or not _within(
            tokens.ravel().tolist() + targets.ravel().tolist(), 0, self.vocabulary - 1
        ):
            check_range(tokens, self.vocabulary)
            check_range(targets, self.vocabulary)
        if not _within(lengths.tolist(), 1, len(tokens)):
            raise ValueError(
                f"lengths must lie between 1 and {len(tokens)}: {lengths.min()} to {lengths.max()}"
            )
        arrays: list[Array] = [
            tokens,
            targets,
            lengths,
            positions,
            *[state[name] for name in self._names],
        ]
        of_targets, at_positions, *after = self._outputs(arrays)
        return of_targets, at_positions, dict(zip(self._names, after, strict=True))

    def run_tensors(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the graph once on all of its inputs by name, as they are; see `LanguageTensors`."""
        found = self._outputs([tensors[name] for name in self._inputs])
        return dict(zip(self._wanted, found, strict=True))

    def _outputs(self, arrays: Sequence[Array]) -> Sequence[Array]:
        if self._bound is None:
            return self._run(self._wanted, dict(zip(self._inputs, arrays, strict=True)))
        if self._control is None:
            return self._bound.run(arrays)
        return self._controlled(self._bound.run, arrays)


def _within(values: Sequence[int], least: int, most: int) -> bool:
    """Whether all values are within bounds; for a few it takes a third of the time of a loop."""
    return not values or (min(values) >= least and max(values) <= most)


def check_range(ids: Integers, vocabulary: int) -> None:
    """Refuses ids outside the vocabulary; the graph itself would read a negative one from the end.

    Args:
        ids: int64, of any shape.
        vocabulary: V.

    Raises:
        TokenOutOfRange: naming the first such id.
    """
    few = ids.size <= FEW
    # Viewed as unsigned, a negative id is a huge one: a single pass suffices.
    if not (
        _within(ids.ravel().tolist(), 0, vocabulary - 1)
        if few
        else ids.view(np.uint64).max() < vocabulary
    ):
        wrong = ids[(ids < 0) | (ids >= vocabulary)]
        raise TokenOutOfRange(int(wrong.flat[0]), vocabulary)
