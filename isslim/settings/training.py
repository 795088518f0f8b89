"""The settings of `python -m isslim.compress train`, from `ISS_*` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from isslim.store.settings import FROM_ENVIRONMENT
from isslim.types.units import Unit


class TrainingSettings(BaseSettings):
    """Training from scratch (`python -m isslim.compress train`) and the benchmarks."""

    model_config = FROM_ENVIRONMENT

    data: Annotated[Path | None, Unit("path")] = Field(
        default=None, description="folder of the corpora that have a name, such as `ptb`"
    )
