"""How long variants are timed against each other, from an `ISS_*` environment variable."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from isslim.store.settings import PREFIX
from isslim.types.units import Seconds


class TimingSettings(BaseSettings):
    """Comparisons of latency, in a job and in answer to `POST /models/<id>/latency`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    comparison_seconds: Seconds = Field(
        default=3.0,
        description="how long variants are timed in turn, beyond the rounds that there are at "
        "least; more time gives narrower intervals. On a busy host twice",
    )
