"""How long variants are timed against each other, from an `ISS_*` environment variable."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from isslim.store.settings import FROM_ENVIRONMENT
from isslim.types.units import Seconds


class TimingSettings(BaseSettings):
    """Latency comparisons, in a job and in the response to `GET /models/{model}/latency`."""

    model_config = FROM_ENVIRONMENT

    comparison_seconds: Seconds = Field(
        default=3.0,
        description="how long variants are timed in turn, beyond the minimum number of rounds; "
        "more time gives narrower intervals. Twice as long on a busy host, which is waited for as "
        "long again, or for 3 seconds if that is less",
    )
