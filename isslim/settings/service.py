"""The service's settings, from `ISS_*` environment variables."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from isslim.settings.access import AccessSettings, is_loopback
from isslim.settings.cores import processors
from isslim.settings.logs import LogSettings
from isslim.settings.recipes import RecipeSettings
from isslim.settings.timing import TimingSettings
from isslim.store.settings import StoreSettings
from isslim.types.units import Bytes, Count, DefaultText, Seconds, Unit

MAX_PROCESSES = 256


def _count_or_auto(value: object) -> object:
    text = str(value)
    if text == "auto":
        return value
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_PROCESSES:
        return int(text)
    raise ValueError(f"expected `auto` or a whole number from 1 to {MAX_PROCESSES}")


class ServiceSettings(StoreSettings, TimingSettings, LogSettings, AccessSettings, RecipeSettings):
    """The service: where it listens, and the limits of one request."""

    host: Annotated[str, Unit("address")] = Field(
        default="127.0.0.1", description="address to listen on"
    )
    port: Annotated[int, Field(ge=1, le=65535), Unit("port")] = Field(
        default=8000, description="port to listen on"
    )
    ui: Annotated[bool, Unit("true or false")] = Field(
        default=True, description="whether the page for people is served at `/ui/`"
    )
    grpc_port: Annotated[int | None, Field(ge=1, le=65535), Unit("port")] = Field(
        default=None,
        description="port of the Open Inference Protocol over gRPC; none: not offered. Needs "
        "`pip install 'isslim[grpc]'`",
    )
    processes: Annotated[
        int | Literal["auto"], BeforeValidator(_count_or_auto), Unit("count or `auto`")
    ] = Field(
        default=1,
        description="service processes behind the one port. `auto`: one for each `ISS_THREADS` "
        "physical cores that the container may use, with at least 512 MiB of "
        "`ISS_MEMORY_LIMIT_BYTES` for each",
    )
    hang_seconds: Annotated[float, Field(ge=2, le=86400), Unit("seconds")] = Field(
        default=30.0,
        description="after which one of several service processes whose event loop stands still "
        "is killed and replaced; each shows every second that it goes on",
    )
    body_limit_bytes: Bytes = Field(
        default=8 << 20,
        description="largest body of a request that is neither an upload nor a run of a graph",
    )
    memory_limit_bytes: Bytes = Field(
        default=4 << 30,
        description="size of open graphs above which the least recently used model is closed; "
        "divided among the processes",
    )
    threads: Annotated[Count, Field(le=1024)] = Field(
        default=1, description="threads of one inference run"
    )
    runs_at_once: Annotated[Count, DefaultText("the number of processors")] = Field(
        default_factory=processors,
        description="inference runs in parallel; divided among the processes, at least one each",
    )
    waiting_limit: Annotated[int, Field(ge=0, le=1_000_000_000), Unit("count")] = Field(
        default=64,
        description="requests that may wait for a run, divided among the processes; more are "
        "refused with 503",
    )
    texts_limit: Count = Field(default=256, description="texts of one request")
    tokens_limit: Count = Field(default=200_000, description="tokens of one request")
    characters_limit: Count = Field(
        default=2_000_000,
        description="characters of one request; splitting a text takes some hundred bytes of "
        "memory per character",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Unit("name")] = Field(
        default="WARNING",
        description="`INFO` logs every request; `WARNING` only problems",
    )
    entries_limit: Count = Field(
        default=500_000,
        description="log-probabilities of one answer, those of `top_k` included; numbers of a "
        "graph's outputs as JSON",
    )
    question_tokens_limit: Count = Field(default=200, description="tokens of one question")
    context_tokens_limit: Count = Field(
        default=50_000, description="tokens of all contexts of one request"
    )
    array_bytes_limit: Bytes = Field(
        default=64 << 20,
        description="memory of the inputs of one run of a graph, which its body may hold, and of "
        "the outputs of one answer",
    )
    graph_memory_bytes: Bytes = Field(
        default=2 << 30, description="memory of a run of a graph, in its own process"
    )
    tensor_run_bytes: Bytes = Field(
        default=256 << 20,
        description="memory of a run of a language model on a caller's tensors (Open Inference "
        "Protocol), in addition to the weights",
    )
    inspect_wait_seconds: Seconds = Field(
        default=60.0,
        description="how long `POST /inspect` waits for its result before it returns the "
        "address to poll",
    )
    latency_limit_bytes: Bytes = Field(
        default=128 << 20,
        description="memory of one run of a latency comparison, in addition to the weights",
    )
    json_values_limit: Count = Field(
        default=500_000,
        description="numbers and lists in the inputs of a graph as JSON; larger inputs can be "
        "sent as npz",
    )
    score_seconds: Seconds = Field(
        default=300.0, description="time limit of a `POST /score`, waiting included"
    )
    generate_seconds: Seconds = Field(
        default=300.0, description="time limit of a `POST /generate` or `POST /v1/completions`"
    )
    generated_limit: Count = Field(
        default=4096, description="tokens that one request may generate, over all its texts"
    )
    state_seconds: Seconds = Field(
        default=3600.0, description="how long a text can be continued with its `state`"
    )
    state_key: Annotated[SecretStr | None, Field(min_length=16), Unit("text")] = Field(
        default=None,
        description="key that signs states, the same for all processes that answer under one "
        "address; none: one that is kept in `ISS_HOME`",
    )
    default_model: Annotated[str | None, Unit("name")] = Field(
        default=None,
        description="model that `/tokenize`, `/detokenize` and `/tokenizer_info` answer for; "
        "none: the only language model",
    )
    qa_seconds: Seconds = Field(default=300.0, description="time limit of a `POST /qa`")
    run_seconds: Seconds = Field(
        default=60.0,
        description="time limit of a `POST /models/{model}/run` or a run of the Open Inference "
        "Protocol, after which its process is ended",
    )
    latency_seconds: Seconds = Field(
        default=300.0, description="time limit of a latency comparison"
    )
    shutdown_seconds: Annotated[int, Field(ge=1, le=86400), Unit("seconds")] = Field(
        default=5, description="how long a shutdown waits for requests to end"
    )

    @field_validator("grpc_port")
    @classmethod
    def _is_installed(cls, port: int | None) -> int | None:
        if port is not None and find_spec("grpc") is None:
            raise ValueError("gRPC is not installed: pip install 'isslim[grpc]'")
        return port

    @property
    def exposure(self) -> str | None:
        """What is wrong with listening beyond this machine without keys; None: nothing."""
        if self.api_keys_file is not None or is_loopback(self.host):
            return None
        return (
            f"listening on {self.host} without keys: whoever reaches this address may use, change "
            "and delete everything; set ISS_API_KEYS_FILE (`isslim keys new NAME`), or let nobody "
            "else reach it"
        )

    def share(self, index: int, processes: int) -> Self:
        """The settings of one of several processes: what all may take together is divided.

        Args:
            index: which of them, from 0.
            processes: how many they are.
        """

        def part(limit: int, least: int) -> int:
            # Rounded up for some and down for others: together they are the limit.
            return max(least, (limit + index) // processes)

        return self.model_copy(
            update={
                "processes": processes,
                "memory_limit_bytes": part(self.memory_limit_bytes, 1),
                "runs_at_once": part(self.runs_at_once, 1),
                "waiting_limit": part(self.waiting_limit, 0),
            }
        )
