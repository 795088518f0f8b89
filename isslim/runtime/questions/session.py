"""One opened variant of a question-answering model: its inputs and outputs.

Legend: B batch, T tokens of a context or a question, E width of a word vector, W characters of a
token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isslim.runtime.contract import (
    CHARACTERS,
    CONTEXT,
    END_LOG_PROBS,
    END_TOTALS,
    OF_EACH,
    QUESTION,
    START_LOG_PROBS,
    START_TOTALS,
    VECTORS,
    read_question_signature,
)
from isslim.runtime.errors import GraphRefused
from isslim.runtime.opening import OrtSession

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TokenBatch:
    """Contexts, or their questions, as a question graph reads them.

    Attributes:
        vectors: float32 (T, B, E).
        characters: int64 (T, B, W).
        lengths: int32 (B,), each from 1 to T; later tokens are padding and change nothing.
    """

    vectors: Floats
    characters: NDArray[np.int64]
    lengths: NDArray[np.int32]

    @classmethod
    def of_one(cls, vectors: Floats, characters: NDArray[np.int64]) -> TokenBatch:
        """The batch of a single text.

        Args:
            vectors: float32 (T, E).
            characters: int64 (T, W).
        """
        return cls(vectors[:, None], characters[:, None], np.array([len(vectors)], np.int32))

    @classmethod
    def joined(cls, batches: Sequence[TokenBatch]) -> TokenBatch:
        """Several batches as one, each text filled up to the longest."""
        if len(batches) == 1:
            return batches[0]
        texts = sum(len(each.lengths) for each in batches)
        steps = max(len(each.vectors) for each in batches)
        letters = max(each.characters.shape[2] for each in batches)
        vectors = np.zeros((steps, texts, batches[0].vectors.shape[2]), np.float32)
        characters = np.zeros((steps, texts, letters), np.int64)
        first = 0
        for each in batches:
            own = slice(first, first + len(each.lengths))
            vectors[: len(each.vectors), own] = each.vectors
            characters[: len(each.vectors), own, : each.characters.shape[2]] = each.characters
            first = own.stop
        return cls(vectors, characters, np.concatenate([each.lengths for each in batches]))


@dataclass(frozen=True)
class SpanScores:
    """Where answers begin and end.

    Attributes:
        start_log_probs: float32 (B, T), natural logarithms over each context's tokens; at most
            -1e30 in padding.
        end_log_probs: the same for an answer's last token.
        start_totals: float32 (B,); `start_log_probs + start_totals` are the logits.
        end_totals: the same for `end_log_probs`.
    """

    start_log_probs: Floats
    end_log_probs: Floats
    start_totals: Floats
    end_totals: Floats

    def of(self, index: int, tokens: int) -> SpanScores:
        """Those of one context, a batch of one.

        Args:
            index: of the context.
            tokens: T, its length.
        """
        own = slice(index, index + 1)
        return SpanScores(
            self.start_log_probs[own, :tokens],
            self.end_log_probs[own, :tokens],
            self.start_totals[own],
            self.end_totals[own],
        )


_OUTPUTS = (START_LOG_PROBS, END_LOG_PROBS, START_TOTALS, END_TOTALS)


class QuestionSession(OrtSession):
    """A question graph ready to run. See `OrtSession`.

    Args:
        path: the graph's file.
        threads: how many threads one run may use, 1 or more.
        device: one of `devices()`.

    Attributes:
        width: E, of the word vectors that it reads.

    Raises:
        DeviceUnavailable: when ONNX Runtime does not offer the device.
        GraphRefused: when the file is no graph, or not a question graph of
            `isslim/runtime/contract.py`.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "cpu") -> None:
        super().__init__(path, threads=threads, device=device)
        self.width, issues = read_question_signature(*self._ports())
        if issues:
            raise GraphRefused(path, issues)

    def run(self, context: TokenBatch, question: TokenBatch) -> SpanScores:
        """Runs the graph once.

        Args:
            context: T tokens of each text.
            question: J tokens of each question, as many as there are contexts.

        Raises:
            ValueError: when shapes disagree, or a length is not between 1 and T.
        """
        feed: dict[str, NDArray[Any]] = {}
        for name, side in ((CONTEXT, context), (QUESTION, question)):
            steps, batch, width = side.vectors.shape
            if (
                side.characters.shape[:2] != (steps, batch)
                or side.lengths.shape != (batch,)
                or width != self.width
            ):
                raise ValueError(
                    f"{name}: vectors {side.vectors.shape}, characters {side.characters.shape} "
                    "and lengths "
                    f"{side.lengths.shape} are not (T, B, {self.width}), (T, B, W) and (B,)"
                )
            if batch and not 1 <= side.lengths.min() <= side.lengths.max() <= steps:
                raise ValueError(
                    f"{name}: lengths must lie between 1 and {steps}: {side.lengths.tolist()}"
                )
            feed |= {
                name + VECTORS: side.vectors,
                name + CHARACTERS: side.characters,
                name + OF_EACH: side.lengths,
            }
        return SpanScores(*self._run(_OUTPUTS, feed))
