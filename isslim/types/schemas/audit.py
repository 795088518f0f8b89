"""The audit trail as it is answered."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class AuditEntry(BaseModel):
    """A request that changed something, or was to."""

    id: int = Field(description="number of the entry; later ones have larger ones", examples=[17])
    at: datetime = Field(description="when it ended", examples=["2026-12-01T12:00:00Z"])
    key: str | None = Field(
        description="name of the key; null: the service asked for none", examples=["lab"]
    )
    remote: str = Field(description="address of the sender", examples=["192.0.2.7"])
    request_id: str = Field(
        description="as the answer's `x-request-id`", examples=["6f1f0c5b0c0d4a7f9c6f8f7f3d1b2a90"]
    )
    method: str = Field(description="of the request; `gRPC` of a call", examples=["DELETE"])
    path: str = Field(description="of the request, without its query", examples=["/models/mine"])
    subject: str | None = Field(
        description="what it made, where the answer names that; of a call over gRPC, what it named",
        examples=["/jobs/419642ce19b52b52"],
    )
    status: int = Field(
        description="HTTP status of the answer, or what that of a call is over HTTP; 499: its "
        "sender left before there was one",
        examples=[204],
    )
