"""The contract between a scoring graph and its runtime: the names, types and shapes of its inputs and outputs.

    inputs    tokens            int64    (T, B)
              targets           int64    (T, B)     the token whose log-probability is asked for at each step
              lengths           int32    (B,)       steps of each sequence, at least 1; what lies behind is padding
              <state>           float32  (1, B, H)  every other input: hidden_0, cell_0, hidden_1, ...
    outputs   token_log_probs   float32  (T, B)     natural log of the probability of `targets`
              log_probs         float32  (T, B, V)  of every token; moved out of the runtime only when asked for
              <state>_out       float32  (1, B, H)  the state after each sequence's last step
    metadata  precision         "int8" when activations are quantized as they come; absent: float32

Padding (steps at or behind a sequence's length) never changes a result before it or a state; the outputs there mean
nothing. The runtime finds the states by their names and knows nothing of LSTMs: another recurrent model serves as
well if its graph keeps to this page.

Legend: B batch, T steps, V vocabulary, H units of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

TOKENS = "tokens"
TARGETS = "targets"
LENGTHS = "lengths"
TOKEN_LOG_PROBS = "token_log_probs"
LOG_PROBS = "log_probs"
STATE_OUT = "_out"
PRECISION = "precision"

_INPUTS = {TOKENS: "tensor(int64)", TARGETS: "tensor(int64)", LENGTHS: "tensor(int32)"}
_FLOAT = "tensor(float)"


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
class GraphSignature:
    """What the runtime needs to know of a graph.

    Attributes:
        vocabulary: V, the number of tokens.
        states: name and width H of every state input, in the graph's order.
    """

    vocabulary: int
    states: tuple[tuple[str, int], ...]


def read_signature(inputs: Sequence[Port], outputs: Sequence[Port]) -> tuple[GraphSignature, list[str]]:
    """Checks a graph's inputs and outputs against the contract.

    Args:
        inputs: the graph's inputs.
        outputs: the graph's outputs.

    Returns:
        The signature, and everything that breaks the contract, one line each (then the signature means nothing).
    """
    given, made = {port.name: port for port in inputs}, {port.name: port for port in outputs}
    issues: list[str] = []
    for name, kind in _INPUTS.items():
        _check(given, "input", name, kind, issues)
    for name in (TOKEN_LOG_PROBS, LOG_PROBS):
        _check(made, "output", name, _FLOAT, issues)
    vocabulary = _last(made.get(LOG_PROBS))
    if LOG_PROBS in made and vocabulary is None:
        issues.append(f"output '{LOG_PROBS}' does not fix its last dimension, the vocabulary")
    states: list[tuple[str, int]] = []
    for name in given:
        if name in _INPUTS:
            continue
        _check(given, "input", name, _FLOAT, issues)
        _check(made, "output", name + STATE_OUT, _FLOAT, issues)
        width, shape = _last(given[name]), given[name].shape
        if width is None or shape is None or len(shape) != 3 or shape[0] != 1:
            issues.append(f"state '{name}' has the shape {shape} instead of (1, B, H) with a fixed H")
        else:
            states.append((name, width))
    expected = {TOKEN_LOG_PROBS, LOG_PROBS, *(name + STATE_OUT for name in given if name not in _INPUTS)}
    issues += [f"output '{name}' is not of the contract" for name in made if name not in expected]
    return GraphSignature(vocabulary or 0, tuple(states)), issues


def _check(ports: dict[str, Port], what: str, name: str, kind: str, issues: list[str]) -> None:
    """Adds an issue when the port is missing or of another type."""
    if name not in ports:
        issues.append(f"{what} '{name}' is missing")
    elif ports[name].type != kind:
        issues.append(f"{what} '{name}' is a {ports[name].type} instead of a {kind}")


def _last(port: Port | None) -> int | None:
    """The last dimension when it is fixed."""
    if port is None or not port.shape or not isinstance(port.shape[-1], int) or port.shape[-1] < 1:
        return None
    return port.shape[-1]
