"""The worker's settings, from `ISS_*` environment variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from isslim.settings.logs import LogSettings
from isslim.settings.memory import memory_bytes
from isslim.settings.recipes import RecipeSettings
from isslim.settings.timing import TimingSettings
from isslim.store.settings import StoreSettings
from isslim.types.recipe import EVALUATION_NAME, StrictModel
from isslim.types.units import MOST_DAYS, Bytes, Count, DefaultText, Hours, Seconds, Unit

MOST_MEMORY = "nine tenths of what machine and container have"
MODEL_PLACE = "{model}"
"""Placeholder in a command for the path of the ONNX file."""


def _has_place(command: list[str]) -> list[str]:
    if not any(MODEL_PLACE in part for part in command):
        raise ValueError(
            f"no part of the command holds {MODEL_PLACE}, where the graph's path belongs"
        )
    return command


class Evaluation(StrictModel):
    """A command of the worker's operator that prints one number last: the quality of a graph.

    Attributes:
        command: program and arguments, run without a shell; some hold `{model}`.
        better: whether `lower` or `higher` numbers are better.
        seconds: time limit of one run.
        memory_mb: memory limit of each of its processes.
    """

    command: Annotated[list[str], Field(min_length=1), AfterValidator(_has_place)]
    better: Literal["lower", "higher"] = "lower"
    seconds: float = Field(default=600.0, gt=0)
    memory_mb: int = Field(default=4096, ge=64)


Evaluations = Mapping[str, Evaluation]


class WorkerSettings(StoreSettings, TimingSettings, LogSettings, RecipeSettings):
    """The worker, and the child processes in which it runs jobs and inspections."""

    executor_id: Annotated[str, Unit("name")] = Field(
        default="",
        description="this worker's name; empty: the first free one of `<host>-0`, `<host>-1`, ...",
    )
    child_command: Annotated[
        list[str], Field(min_length=1), Unit("JSON list"), DefaultText("the worker's own child")
    ] = Field(
        default_factory=lambda: [sys.executable, "-P", "-m", "isslim.compress.worker.child"],
        description="command that runs a job; the job's folder is appended",
    )
    worker_metrics_port: Annotated[int | None, Field(ge=1, le=65535), Unit("port")] = Field(
        default=None,
        description="port of the worker's own metrics, `GET /metrics`; none: not offered. Each "
        "worker of a host needs its own",
    )
    worker_metrics_host: Annotated[str, Unit("address")] = Field(
        default="127.0.0.1", description="address to listen on for the worker's own metrics"
    )
    torchrun: Annotated[list[str], Unit("JSON list")] = Field(
        default=[],
        description="arguments of `torchrun` with which jobs of the mode `learn` are trained by "
        'several processes, such as `["--standalone", "--nproc-per-node=2"]`; none: by one '
        "(`docs/deploy.md`)",
    )
    queue_poll_seconds: Seconds = Field(
        default=0.2, description="interval at which the queues are polled"
    )
    job_memory_bytes: Annotated[
        int, Field(ge=0, le=1 << 60), Unit("bytes"), DefaultText(MOST_MEMORY)
    ] = Field(
        default_factory=lambda: memory_bytes() * 9 // 10,
        description="memory that a job's or inspection's processes may take together; 0: no limit",
    )
    stage_seconds: Seconds = Field(
        default=7 * 86400.0,
        description="time that a job may spend in one stage, such as `search` or `learn`",
    )
    still_seconds: Seconds = Field(
        default=3600.0, description="time after which a job of which nothing is heard is ended"
    )
    storage_wait_seconds: Seconds = Field(
        default=3600.0,
        description="how long a job waits for remote storage that does not answer, with its files "
        "or its finished bundle, before it fails",
    )
    share_seconds: Seconds = Field(
        default=60.0,
        description="where uploads and bundles lie in remote storage: how long apart at least, the "
        "checkpoints of a job are put there, from which a worker on another machine goes on",
    )
    keep_jobs_days: Annotated[float, Field(ge=0, le=MOST_DAYS), Unit("days")] = Field(
        default=0.0,
        description="after how many days the record of a job that has ended is removed, its model "
        "apart; 0: never",
    )
    keep_uploads_hours: Hours = Field(
        default=1.0,
        description="for how long uploads are kept that no job or inspection needs, and the parts "
        "of bundles that were not completed",
    )
    keep_inspections_hours: Hours = Field(
        default=24.0, description="for how long the result of an inspection is kept"
    )
    inspections_at_once: Count = Field(
        default=2, description="inspections run in parallel, in addition to the one job"
    )
    inspection_seconds: Seconds = Field(
        default=300.0,
        description="time that one inspection may take, its process's start and the fetching of "
        "its files included",
    )
    reading_seconds: Seconds = Field(
        default=40.0,
        description="time that reading an upload may take, in an inspection and at the beginning "
        "of a job, in addition to a second for every 2 MiB of its files; what the host gives to "
        "others meanwhile is added, up to twice as much",
    )
    inspection_memory_bytes: Bytes = Field(
        default=1 << 30,
        description="memory that reading an upload may take, in an inspection and at the beginning "
        "of a job, in addition to eight times the size of its files",
    )
    evaluations: Annotated[
        dict[Annotated[str, Field(pattern=f"^{EVALUATION_NAME}$")], Evaluation],
        Unit("JSON object"),
    ] = Field(
        default={},
        description="commands that evaluate graphs, by the name under which a recipe's "
        '`metric` may request them as `command:<name>`, such as `{"wer": '
        '{"command": ["python", "wer.py", "{model}"], "better": "lower", '
        '"seconds": 600, "memory_mb": 4096}}`',
    )
