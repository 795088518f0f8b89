"""The settings of the command line `isslim`, from `ISS_*` environment variables.

A model of plain pydantic: the client is installed without the packages that read settings, and its
options read the variables by themselves.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from isslim.types.units import Unit, Url


class ClientSettings(BaseModel):
    """The command line `isslim`; the address is an option of its commands as well."""

    url: Url = Field(default="http://127.0.0.1:8000", description="address of the service")
    api_key: Annotated[SecretStr | None, Unit("text")] = Field(
        default=None,
        description="key that is sent to a service which asks for one; `--key-file`, before the "
        "command, reads it from a file. No option takes the key itself: all users of a machine see "
        "the command lines of all processes",
    )
