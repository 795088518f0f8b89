"""Parameters of a run: where it runs, how long its sender waits, and which are not offered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isslim.service.problems import RequestError

TIMEOUT, DEVICE, BINARY = "timeout", "device", "binary_data_output"
MAX_MICROSECONDS = 10**15
_NOT_OFFERED = ("sequence_id", "sequence_start", "sequence_end")
"""Of Triton's: a service that ignored them would answer each request as the first one."""


@dataclass(frozen=True)
class RunParameters:
    """Parameters that a run heeds; others, such as a priority, are ignored.

    Attributes:
        device: where it runs.
        seconds: after which its sender wants no answer; None: not named.
        binary: whether outputs are answered as bytes unless they say otherwise.
    """

    device: str
    seconds: float | None
    binary: bool

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> RunParameters:
        """The parameters of a request.

        Args:
            given: by name.

        Raises:
            RequestError: (invalid-request) when one has no meaning here, or is not offered.
        """
        found = given or {}
        for name in _NOT_OFFERED:
            if found.get(name):
                raise _invalid(name, "sequences are not offered: send the states of the model")
        microseconds = found.get(TIMEOUT) or 0
        if type(microseconds) is not int or not 0 <= microseconds <= MAX_MICROSECONDS:
            raise _invalid(TIMEOUT, "send a whole number of microseconds; 0 is none")
        seconds = microseconds / 1e6 if microseconds else None
        return cls(str(found.get(DEVICE) or "cpu"), seconds, found.get(BINARY) is True)


def _invalid(name: str, detail: str) -> RequestError:
    issue = {"pointer": f"/body/parameters/{name}", "detail": detail}
    return RequestError("invalid-request", f"parameter '{name}': {detail}", [issue])


def message_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a message of gRPC.

    Args:
        parameters: its field.
    """
    kinds = {name: each.WhichOneof("parameter_choice") for name, each in parameters.items()}
    return {name: getattr(parameters[name], kind) for name, kind in kinds.items() if kind}
