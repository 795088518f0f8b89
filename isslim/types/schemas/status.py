"""Body of `/status`: what the service sees of itself, its workers and its disk."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ServiceStatus(BaseModel):
    """How the service is, for people and monitors that may read it."""

    version: str = Field(description="of the software", examples=["1.2.3"])
    versions: dict[str, str] = Field(
        description="of what it runs on", examples=[{"ONNX Runtime": "1.32.0"}]
    )
    workers: int = Field(description="that live", examples=[1])
    jobs: dict[str, int] = Field(
        description="how many jobs are in each state", examples=[{"queued": 0, "running": 1}]
    )
    oldest_queued_seconds: float = Field(
        description="how long the oldest waiting job has waited; 0: none waits", examples=[12.5]
    )
    models: int = Field(description="published models", examples=[3])
    models_in_memory: int = Field(
        description="models that the answering process has open", examples=[1]
    )
    memory_bytes: int = Field(
        description="bytes of their graphs, in the answering process", examples=[25800000]
    )
    disk_bytes: int = Field(
        description="size of the disk that takes uploads", examples=[512000000000]
    )
    disk_free_bytes: int = Field(description="of it free", examples=[128000000000])
    devices: list[str] = Field(
        description="that models can run on in the answering process", examples=[["cpu"]]
    )
    storage: str = Field(description="kind of storage that bundles lie in", examples=["a folder"])
    database: str = Field(description="kind of database that jobs are in", examples=["SQLite"])
    warnings: list[str] = Field(
        default=[], description="what an operator should look at", examples=[[]]
    )
