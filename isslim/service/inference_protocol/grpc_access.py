"""Who may call which method over gRPC: the keys and scopes of HTTP, sent as metadata.

Browsers cannot call gRPC, so that where no keys are asked for there is nothing to refuse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from isslim.service.access.control import AccessControl
from isslim.service.access.permissions import GRPC, GRPC_CHANGES
from isslim.service.access.trail import LEFT, Trail
from isslim.service.inference_protocol.grpc_calls import Call, CallRecord
from isslim.service.inference_protocol.grpc_messages import SERVICE

_NAMES = ("authorization", "x-api-key")


def admit(control: AccessControl, call: Call, record: CallRecord) -> None:
    """Refuses a call that may not be made.

    Args:
        control: the rules.
        call: that is made; each message of a stream is checked, since its key may be withdrawn
            meanwhile.
        record: of it, which is told who calls.

    Raises:
        RequestError: when it is refused.
    """
    sent = dict.fromkeys(_NAMES, b"")
    for name, value in call.invocation_metadata() or ():
        if name in sent and not sent[name]:
            sent[name] = value.encode() if isinstance(value, str) else value
    scopes = GRPC[record.method]
    if scopes:
        authorization, key = (sent[name] for name in _NAMES)
        record.caller = control.caller(authorization, key, remote_of(call))
        control.admit(record.caller, scopes)


@asynccontextmanager
async def noted(trail: Trail, record: CallRecord) -> AsyncIterator[None]:
    """Leaves an entry in the trail at the end of the block, if the call changes something.

    Args:
        trail: of what is changed.
        record: of the call.
    """
    if record.method not in GRPC_CHANGES:
        yield
        return
    status = LEFT
    try:
        yield
        status = record.http_status
    finally:
        path = f"/{SERVICE}/{record.method}"
        await trail.note(record.caller, "gRPC", path, status, record.subject)


def remote_of(call: Call) -> str:
    """The address of who calls, without its port."""
    peer: str = call.peer()  # such as ipv4:127.0.0.1:4711
    _, _, address = peer.partition(":")
    return address.rpartition(":")[0].strip("[]")
