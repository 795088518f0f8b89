"""The settings of the command line `isslim`, from `ISS_*` environment variables.

A model of plain pydantic: the client is installed without the packages that read settings, and its
options read the variables by themselves.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from isslim.types.units import Url


class ClientSettings(BaseModel):
    """The command line `isslim`; each is an option of its commands as well."""

    url: Url = Field(default="http://127.0.0.1:8000", description="address of the service")
