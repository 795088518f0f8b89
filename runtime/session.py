"""One variant of a language model, opened: what goes in, what comes out.

Legend: B batch, T steps, V vocabulary, H units of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import GraphRefused, TokenOutOfRange
from runtime.graph import LENGTHS, STATE_OUT, TARGETS, TOKEN_LOG_PROBS, TOKENS, read_signature
from runtime.opening import OpenedGraph

Array = NDArray[Any]
Integers = NDArray[np.int64]
State = dict[str, NDArray[np.float32]]


class VariantSession(OpenedGraph):
    """A scoring graph ready to run; the session holds no state. See `OpenedGraph`.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.

    Attributes:
        vocabulary: V, the number of tokens.

    Raises:
        DeviceUnavailable: when ONNX Runtime does not offer the device.
        GraphRefused: when the file is no graph, or not a scoring graph of `runtime/graph.py`.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "cpu") -> None:
        super().__init__(path, threads=threads, device=device)
        signature, issues = read_signature(*self._ports())
        if issues:
            raise GraphRefused(path, issues)
        self.vocabulary = signature.vocabulary
        self._states = signature.states

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
