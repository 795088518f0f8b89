"""What `isslim doctor` finds on a machine, and what the processes that look tell each other."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Finding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str = Field(description="what was looked at", examples=["database"])
    state: Literal["ok", "note", "wrong"] = Field(
        description="`wrong`: something does not work; `note`: something is not there, and need "
        "not be",
        examples=["ok"],
    )
    detail: str = Field(description="what was found", examples=["SQLite, data/jobs.sqlite"])
    advice: str = Field(
        default="", description="what to do; empty: nothing", examples=["isslim serve"]
    )


FINDINGS = TypeAdapter(list[Finding])
