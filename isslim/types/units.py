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


Bytes = Annotated[int, Field(ge=1), Unit("bytes")]
Seconds = Annotated[float, Field(gt=0), Unit("seconds")]
Hours = Annotated[float, Field(gt=0), Unit("hours")]
Count = Annotated[int, Field(ge=1), Unit("count")]
Url = Annotated[str, Unit("URL")]
OptionalUrl = Annotated[str | None, Unit("URL")]
