"""The contracts between graph and runtime: names, types and shapes of inputs and outputs.

A scoring graph (language models):

    inputs    tokens            int64    (T, B)
              targets           int64    (T, B)     the token whose log-probability is requested
              lengths           int32    (B,)       steps of each sequence, at least 1; the rest is
                                                    padding
              positions         int64    (R, 2)     step and sequence of where the log-probability
                                                    of every token is asked for; R may be 0;
                                                    `places` in graphs of bundle format 2
              <state>           float32  (1, B, H)  every other input: hidden_0, cell_0, ...
    outputs   token_log_probs   float32  (T, B)     natural log of the probability of `targets`
              log_probs         float32  (R, V)     of every token at `positions`; all of
                                                    (T, B, V) never leaves the runtime
              <state>_out       float32  (1, B, H)  the state after each sequence's last step
    metadata  precision         "int8" when activations are quantized at run time; absent: float32

A question graph (question answering):

    inputs    context_vectors      float32  (T, B, E)  word vectors, looked up outside of the graph;
                                                       unknown: zeros
              context_characters   int64    (T, B, W)  of each token; 0 is padding, 1 an unknown
                                                       character
              context_lengths      int32    (B,)       tokens of each context, at least 1; the rest
                                                       is padding
              question_vectors     float32  (J, B, E)
              question_characters  int64    (J, B, W)  its W need not be that of the context
              question_lengths     int32    (B,)
    outputs   start_log_probs      float32  (B, T)     natural log of the probability that the
                                                       answer begins with this token; over the
                                                       context's tokens, in the padding at most
                                                       -1e30
              end_log_probs        float32  (B, T)     the same for its last token
              start_totals         float32  (B,)       log of the sum that `start_log_probs` were
                                                       divided by: both added are a token's logit,
                                                       by which windows of one text compare
              end_totals           float32  (B,)       the same for `end_log_probs`
    metadata  precision            as above

Padding (steps at or behind a sequence's length) never changes a result before it, or a state; the
outputs there mean nothing. The runtime finds the states by their names and knows nothing about
LSTMs: a model of any other origin can be served if its graph keeps to this page.

Legend: B batch, T steps, R positions, V vocabulary, H units of a state, J tokens of a question, E
width of a word vector, W characters of a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

TOKENS = "tokens"
TARGETS = "targets"
LENGTHS = "lengths"
POSITIONS = "positions"
EARLIER_POSITIONS = "places"
"""The same input in graphs of bundle format 2."""
TOKEN_LOG_PROBS = "token_log_probs"
LOG_PROBS = "log_probs"
STATE_OUT = "_out"
PRECISION = "precision"

CONTEXT = "context"
QUESTION = "question"
VECTORS = "_vectors"
CHARACTERS = "_characters"
OF_EACH = "_lengths"
START_LOG_PROBS = "start_log_probs"
END_LOG_PROBS = "end_log_probs"
START_TOTALS = "start_totals"
END_TOTALS = "end_totals"

_FLOAT = "tensor(float)"
_INPUTS = {
    TOKENS: "tensor(int64)",
    TARGETS: "tensor(int64)",
    LENGTHS: "tensor(int32)",
}
_SIDE = {VECTORS: _FLOAT, CHARACTERS: "tensor(int64)", OF_EACH: "tensor(int32)"}
_QUESTION_INPUTS = {
    side + suffix: kind for side in (CONTEXT, QUESTION) for suffix, kind in _SIDE.items()
}
_QUESTION_OUTPUTS = (START_LOG_PROBS, END_LOG_PROBS, START_TOTALS, END_TOTALS)


class Port(Protocol):
    """One input or output as ONNX Runtime describes it."""

    @property
    def name(self) -> str:
        """Its name in the graph."""

    @property
    def type(self) -> str:
        """Such as `tensor(float)`."""

    @property
    def shape(self) -> Sequence[int | str | None] | None:
        """A number for a fixed dimension, a name or None for a free one; None when unknown."""


@dataclass(frozen=True)
class LanguageSignature:
    """The facts about a scoring graph that the runtime needs.

    Attributes:
        vocabulary: V, the number of tokens.
        states: name and width H of every state input, in the graph's order.
        positions: how the graph calls the input `positions`.
    """

    vocabulary: int
    states: tuple[tuple[str, int], ...]
    positions: str = POSITIONS


def read_language_signature(
    inputs: Sequence[Port], outputs: Sequence[Port]
) -> tuple[LanguageSignature, list[str]]:
    """Checks a graph's inputs and outputs against the contract of a scoring graph.

    Args:
        inputs: the graph's inputs.
        outputs: the graph's outputs.

    Returns:
        The signature, and everything that breaks the contract, one line each (then the signature
        means nothing).
    """
    ports = _PortChecks(inputs, outputs)
    earlier = EARLIER_POSITIONS in ports.given and POSITIONS not in ports.given
    positions = EARLIER_POSITIONS if earlier else POSITIONS
    expected = {**_INPUTS, positions: "tensor(int64)"}
    ports.require_inputs(expected)
    ports.require_outputs((TOKEN_LOG_PROBS, LOG_PROBS))
    vocabulary = _last(ports.made.get(LOG_PROBS))
    if LOG_PROBS in ports.made and vocabulary is None:
        ports.issues.append(f"output '{LOG_PROBS}' does not fix its last dimension, the vocabulary")
    states: list[tuple[str, int]] = []
    others = [name for name in ports.given if name not in expected]
    for name in others:
        ports.require_inputs({name: _FLOAT})
        ports.require_outputs([name + STATE_OUT])
        width, shape = _last(ports.given[name]), ports.given[name].shape
        if width is None or shape is None or len(shape) != 3 or shape[0] != 1:
            ports.issues.append(
                f"state '{name}' has the shape {shape} instead of (1, B, H) with a fixed H"
            )
        else:
            states.append((name, width))
    ports.forbid_other_outputs({TOKEN_LOG_PROBS, LOG_PROBS, *(name + STATE_OUT for name in others)})
    return LanguageSignature(vocabulary or 0, tuple(states), positions), ports.issues


def read_question_signature(
    inputs: Sequence[Port], outputs: Sequence[Port]
) -> tuple[int, list[str]]:
    """Checks a graph's inputs and outputs against the contract of a question graph.

    Args:
        inputs: the graph's inputs.
        outputs: the graph's outputs.

    Returns:
        E, and everything that breaks the contract, one line each (then E means nothing).
    """
    ports = _PortChecks(inputs, outputs)
    ports.require_inputs(_QUESTION_INPUTS)
    ports.require_outputs(_QUESTION_OUTPUTS)
    ports.issues += [
        f"input '{name}' is not of the contract"
        for name in ports.given
        if name not in _QUESTION_INPUTS
    ]
    ports.forbid_other_outputs(set(_QUESTION_OUTPUTS))
    widths = {side: _last(ports.given.get(side + VECTORS)) for side in (CONTEXT, QUESTION)}
    if None in widths.values() or len(set(widths.values())) > 1:
        ports.issues.append(f"the width of a word vector is not one fixed number: {widths}")
    return widths[CONTEXT] or 0, ports.issues


class _PortChecks:
    """The ports of a graph by name, and the issues found with them."""

    def __init__(self, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        self.given, self.made = (
            {port.name: port for port in inputs},
            {port.name: port for port in outputs},
        )
        self.issues: list[str] = []

    def require_inputs(self, kinds: Mapping[str, str]) -> None:
        for name, kind in kinds.items():
            self._require(self.given, "input", name, kind)

    def require_outputs(self, names: Sequence[str]) -> None:
        for name in names:
            self._require(self.made, "output", name, _FLOAT)

    def forbid_other_outputs(self, expected: set[str]) -> None:
        self.issues.extend(
            f"output '{name}' is not of the contract" for name in self.made if name not in expected
        )

    def _require(self, ports: Mapping[str, Port], what: str, name: str, kind: str) -> None:
        """Adds an issue when the port is missing or of another type."""
        if name not in ports:
            self.issues.append(f"{what} '{name}' is missing")
        elif ports[name].type != kind:
            self.issues.append(f"{what} '{name}' is a {ports[name].type} instead of a {kind}")


def _last(port: Port | None) -> int | None:
    """The last dimension when it is fixed."""
    if port is None or not port.shape or not isinstance(port.shape[-1], int) or port.shape[-1] < 1:
        return None
    return port.shape[-1]
