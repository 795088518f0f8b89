"""Who may call which method over gRPC: the keys and scopes of HTTP, sent as metadata.

Browsers cannot call gRPC, so that where no keys are asked for there is nothing to refuse.
"""

from __future__ import annotations

from isslim.service.access.control import AccessControl
from isslim.service.access.permissions import GRPC
from isslim.service.inference_protocol.grpc_calls import Call

_NAMES = ("authorization", "x-api-key")


def admit(control: AccessControl, method: str, call: Call) -> None:
    """Refuses a call that may not be made.

    Args:
        control: the rules.
        method: that is called.
        call: of it; each message of a stream is checked, since its key may be withdrawn meanwhile.

    Raises:
        RequestError: when it is refused.
    """
    sent = dict.fromkeys(_NAMES, b"")
    for name, value in call.invocation_metadata() or ():
        if name in sent and not sent[name]:
            sent[name] = value.encode() if isinstance(value, str) else value
    scopes = GRPC[method]
    if scopes:
        authorization, key = (sent[name] for name in _NAMES)
        control.admit(control.caller(authorization, key, remote_of(call)), scopes)


def remote_of(call: Call) -> str:
    """The address of who calls, without its port."""
    peer: str = call.peer()  # such as ipv4:127.0.0.1:4711
    _, _, address = peer.partition(":")
    return address.rpartition(":")[0].strip("[]")
