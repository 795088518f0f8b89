"""What becomes of the states that a graph gives back to its caller, as a bundle records it."""

from __future__ import annotations

from pydantic import Field

from isslim.types.recipe import StrictModel


class StreamRecord(StrictModel):
    """A graph run after run from its own states, against the original from its own."""

    runs: int = Field(description="one after the other", ge=1, examples=[16])
    loss: float = Field(description="over all of them, in the manifest's metric", examples=[0.021])
    end_loss: float = Field(
        description="over the last of them, where changes have added up", examples=[0.024]
    )


class StatesRecord(StrictModel):
    """What becomes of states that a graph gives back to its caller."""

    returned: dict[str, float] = Field(
        description="outputs in which removed units are zero: their change, relative to their "
        "spread",
        examples=[{"hn": 0.41, "cn": 0.44}],
    )
    stream: StreamRecord | None = Field(
        description="null: its caller carries no state from call to call"
    )
