"""Compares a language model as it was read with an ONNX export of it, on random tokens.

An export has no names or layout that could be relied on. Tokens are its integer inputs; states are
its float inputs of two or three dimensions, and begin at zero; scores are the output whose last
dimension is the vocabulary. Whether steps or sequences come first is found by trying both.

Legend: T steps, B sequences, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isslim.compress.errors import CheckFailed, CheckUnusable
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.runtime.errors import GraphRefused, InputsRefused
from isslim.runtime.graphs.recorded_inputs import KINDS, GraphSession, NamedArrays
from isslim.runtime.language.text import TextCodec
from isslim.types.inspection import CheckResult

TOLERANCE = 1e-3
"""Largest difference of a log-probability, in nats. Float32 sums in different orders give less than
a tenth of it."""
STEPS, SEQUENCES = 12, 2
LIKELY = -14.0
"""Log-probability below which a probability in float32 is too coarse to be compared."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Layout:
    """One way to pass tokens to a graph, and to read its scores.

    Attributes:
        tokens: the name of the input.
        steps: T of one run.
        sequences: B.
        steps_first: whether the input is (T, B), and not (B, T).
    """

    tokens: str
    steps: int
    sequences: int
    steps_first: bool

    def given(self, ids: NDArray[np.int64], dimensions: int) -> NDArray[np.int64]:
        """Ids as the graph reads them: (T, B), (B, T), or (T,) of the first sequence.

        Args:
            ids: (T, B), int64.
            dimensions: of the graph's input; 1: it takes one sequence.
        """
        if dimensions == 1:
            return ids[:, 0]
        return ids if self.steps_first else np.ascontiguousarray(ids.T)

    def scores(self, array: NDArray[Any], vocabulary: int) -> Floats | None:
        """An output as (T, B, V), or (1, B, V) where it holds the last step only.

        Args:
            array: the output.
            vocabulary: V.

        Returns:
            None where the output is something else.
        """
        if array.dtype.kind != "f" or not array.ndim or array.shape[-1] != vocabulary:
            return None
        rows, wanted = array.size // vocabulary, (self.steps, self.sequences)
        if self.steps > 1 and rows == self.sequences:
            return array.reshape(1, rows, vocabulary).astype(np.float64)
        if rows != self.steps * self.sequences:
            return None
        order = wanted if self.steps_first else wanted[::-1]
        if (
            array.ndim == 3
            and array.shape[:2] in (wanted, wanted[::-1])
            and self.steps != self.sequences
        ):
            order = array.shape[:2]  # the graph may transpose them on the way
        shaped = array.reshape(*order, vocabulary).astype(np.float64)
        is_turned = not self.steps_first if self.steps == self.sequences else order != wanted
        return shaped.swapaxes(0, 1) if is_turned else shaped


@dataclass(frozen=True)
class _Difference:
    """The largest difference of two runs.

    Attributes:
        largest: in nats.
        place: step, sequence and token.
        exported: the export's log-probability there.
        read: that of the model as it was read.
        first: the first step with a difference above the tolerance.
    """

    largest: float
    place: tuple[int, int, int]
    exported: float
    read: float
    first: int


def compared_with_export(
    network: LanguageModel, path: Path, codec: TextCodec, seed: int
) -> CheckResult:
    """Runs both on random tokens and compares their log-probabilities.

    Args:
        network: the model as it was read, in evaluation mode.
        path: the export, an ONNX file.
        codec: for the names of tokens in messages.
        seed: of the tokens.

    Raises:
        CheckUnusable: when the export cannot be run on tokens, or gives no scores of the
            vocabulary.
        CheckFailed: when a log-probability differs by more than `TOLERANCE`.
    """
    try:
        graph = GraphSession(path)
    except GraphRefused as refused:
        raise CheckUnusable(f"ONNX Runtime cannot open `check_graph`: {refused}") from refused
    issues, found = list[str](), list[_Difference]()
    for layout in _layouts(graph):
        try:
            found.append(_compared(network, graph, layout, seed))
        except InputsRefused as refused:
            issues += refused.issues[:2]
    if not found:
        ports = [f"input '{name}': {kind} {shape}" for name, (kind, shape) in graph.inputs.items()]
        ports += [
            f"output '{name}': {kind} {shape}" for name, (kind, shape) in graph.outputs.items()
        ]
        raise CheckUnusable(
            "`check_graph` cannot be compared: it should read token ids (and states), and give a "
            "score of each of the "
            f"{network.vocabulary:,} tokens for every step",
            [*ports, *dict.fromkeys(issues)],
        )
    best = min(found, key=lambda each: each.largest)
    if not best.largest <= TOLERANCE:
        step, sequence, token = best.place
        raise CheckFailed(
            "the model as it was read is not the one of `check_graph`: the log-probability of "
            f"'{codec.token(token)}' after step {step + 1} of sequence {sequence + 1} is "
            f"{best.read:.4f} as read and "
            f"{best.exported:.4f} by the export; this is the largest difference "
            f"({best.largest:.3g}), and {TOLERANCE:g} is "
            "allowed",
            [f"they differ from step {best.first + 1} on, on random tokens from the zero state"],
        )
    return CheckResult(
        name="log-probabilities by `check_graph`",
        expected="those of the export",
        found=f"largest difference {best.largest:.1e}",
        tolerance=f"{TOLERANCE:g}",
    )


def _layouts(graph: GraphSession) -> Iterator[_Layout]:
    """Ways in which the graph may read tokens; sizes that it fixes are kept."""
    whole = {
        name: shape
        for name, (kind, shape) in graph.inputs.items()
        if kind in ("tensor(int64)", "tensor(int32)")
    }
    tables = [name for name in whole if len(whole[name]) == 2 and "mask" not in name.lower()]
    rows = [name for name in whole if len(whole[name]) == 1 and "len" not in name.lower()]
    batch = next(
        (shape[-2] for kind, shape in graph.inputs.values() if _is_state(kind, shape)), None
    )
    for name in tables or rows:
        shape = whole[name]
        if len(shape) == 1:
            yield _Layout(name, _size(shape[0], STEPS), 1, steps_first=True)
            continue
        for steps_first in (True, False):
            steps, sequences = shape if steps_first else shape[::-1]
            most = _size(sequences, batch if isinstance(batch, int) else SEQUENCES)
            yield _Layout(name, _size(steps, STEPS), most, steps_first)


def _is_state(kind: str, shape: Sequence[object]) -> bool:
    """Whether an input may be a state: (B, H), or (layers, B, H), its last size known."""
    return (
        KINDS.get(kind, np.int64)().dtype.kind == "f"
        and len(shape) in (2, 3)
        and isinstance(shape[-1], int)
    )


def _size(declared: object, otherwise: int) -> int:
    return declared if isinstance(declared, int) else otherwise


def _given(
    graph: GraphSession, layout: _Layout, ids: NDArray[np.int64], states: NamedArrays
) -> NamedArrays:
    """Every input of the graph: tokens, states, full lengths, masks of ones."""
    found: NamedArrays = {}
    for name, (kind, shape) in graph.inputs.items():
        type_ = np.dtype(KINDS[kind]) if kind in KINDS else None
        if type_ is None or (type_.kind == "f" and not _is_state(kind, shape)):
            raise InputsRefused([f"input '{name}' ({kind} {shape}) is neither tokens nor a state"])
        if name == layout.tokens:
            found[name] = layout.given(ids, len(shape)).astype(type_)
        elif type_.kind == "f":
            sizes = [_size(size, layout.sequences) for size in shape]
            found[name] = states.get(name, np.zeros(sizes, type_))
        elif len(shape) == 2:
            found[name] = np.ones_like(layout.given(ids, 2)).astype(type_)
        else:
            found[name] = np.full([layout.sequences] * len(shape), layout.steps, type_)
    return graph.checked(found)


@torch.no_grad()
def _compared(
    network: LanguageModel, graph: GraphSession, layout: _Layout, seed: int
) -> _Difference:
    """Runs both on the same random tokens; a graph of one step step by step, with carried states.

    Raises:
        InputsRefused: when the graph does not read tokens in this way, or gives no scores.
    """
    generator = torch.Generator().manual_seed(seed)
    runs = STEPS if layout.steps == 1 else 1
    ids = torch.randint(
        network.vocabulary, (runs * layout.steps, layout.sequences), generator=generator
    )
    states: NamedArrays = {}
    parts = list[Floats]()
    for chunk in torch.split(ids, layout.steps):
        outputs = graph.run(_given(graph, layout, chunk.numpy(), states))
        scores = {name: layout.scores(array, network.vocabulary) for name, array in outputs.items()}
        name = next((name for name, each in scores.items() if each is not None), None)
        if name is None or (found := scores[name]) is None:
            raise InputsRefused(
                [f"no output of the graph holds scores of {network.vocabulary:,} tokens"]
            )
        parts.append(found)
        states = _carried(graph, {each: array for each, array in outputs.items() if each != name})
    exported = _log_probs(np.concatenate(parts))
    logits, _ = network(ids, network.zero_state(layout.sequences))
    read = logits.double().log_softmax(dim=-1).numpy()
    if len(exported) < len(read):
        read = read[-len(exported) :]  # the graph gives the last step only
    return _difference(exported, read, first=len(ids) - len(read))


def _carried(graph: GraphSession, outputs: NamedArrays) -> NamedArrays:
    """The states for the next step: each input takes the first output that fits its shape."""
    left, found = dict(outputs), NamedArrays()
    for name, (kind, shape) in graph.inputs.items():
        if _is_state(kind, shape):
            fits = (
                each
                for each, array in left.items()
                if array.ndim == len(shape) and array.shape[-1] == shape[-1]
            )
            chosen = next(fits, None)
            if chosen is not None:
                found[name] = left.pop(chosen)
    return found


def _log_probs(scores: Floats) -> Floats:
    """Log-probabilities of logits, log-probabilities or probabilities (T, B, V)."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=-1), 1, atol=1e-3):
        return np.where(scores > np.exp(LIKELY), np.log(np.maximum(scores, 1e-30)), np.nan)
    highest = scores.max(axis=-1, keepdims=True)
    found: Floats = scores - highest - np.log(np.exp(scores - highest).sum(axis=-1, keepdims=True))
    return found


def _difference(exported: Floats, read: Floats, first: int) -> _Difference:
    """Where two arrays (T, B, V) differ the most.

    NaN in `exported` is not compared; all else that is not finite differs infinitely.
    """
    with np.errstate(invalid="ignore"):
        apart = np.where(np.isnan(exported), 0.0, np.abs(exported - read))
    apart = np.where(np.isnan(apart), np.inf, apart)
    step, sequence, token = (
        int(each) for each in np.unravel_index(int(apart.argmax()), apart.shape)
    )
    differing = np.flatnonzero(apart.max(axis=(1, 2)) > TOLERANCE)
    return _Difference(
        float(apart.max()),
        (first + step, sequence, token),
        float(exported[step, sequence, token]),
        float(read[step, sequence, token]),
        first + int(differing[0]) if len(differing) else 0,
    )
