"""What a recipe may ask of the workers, from `ISS_*` environment variables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from isslim.store.settings import FROM_ENVIRONMENT
from isslim.types.units import Unit


class RecipeSettings(BaseSettings):
    """What a recipe may ask for; more is refused (`recipe-too-long`). The defaults refuse nothing.

    The same for service and workers: these distil for no longer where a recipe names no minutes.
    """

    model_config = FROM_ENVIRONMENT

    epochs_limit: Annotated[float, Field(gt=0, le=1e6), Unit("epochs")] = Field(
        default=1000.0, description="most `learn_epochs` of a recipe in the mode `learn`"
    )
    minutes_limit: Annotated[float, Field(ge=0, le=1e6), Unit("minutes")] = Field(
        default=1440.0,
        description="most `minutes` of distillation of a recipe in the mode `calibrate`; 0: the "
        "closed form alone",
    )
