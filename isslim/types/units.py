"""Annotations of a setting besides its type: unit, bounds, and a default in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True)
class Unit:
    """The unit or nature of a setting's value, for the page of settings."""

    name: str


@dataclass(frozen=True)
class DefaultText:
    """The default of a setting in words, where it differs from machine to machine."""

    text: str


YEARS = 100
"""Longest time of a setting: what the system's timers and calendars can hold."""
Bytes = Annotated[int, Field(ge=1, le=1 << 60), Unit("bytes")]
Seconds = Annotated[float, Field(gt=0, le=YEARS * 365 * 86400.0), Unit("seconds")]
Hours = Annotated[float, Field(gt=0, le=YEARS * 365 * 24.0), Unit("hours")]
MOST_DAYS = YEARS * 365.0
Count = Annotated[int, Field(ge=1, le=1_000_000_000), Unit("count")]
Url = Annotated[str, Unit("URL")]
OptionalUrl = Annotated[str | None, Unit("URL")]
