"""How compression changes the states that a graph returns to its caller, as a bundle records it."""

from __future__ import annotations

from pydantic import Field

from isslim.types.recipe import StrictModel


class StreamRecord(StrictModel):
    """A graph fed its own states run after run, compared with the original fed its own."""

    runs: int = Field(description="consecutive runs", ge=1, examples=[16])
    loss: float = Field(
        description="loss over all of them, in the manifest's metric", examples=[0.021]
    )
    end_loss: float = Field(
        description="loss over the last of them, where changes have accumulated", examples=[0.024]
    )


class StatesRecord(StrictModel):
    """How the states that a graph returns to its caller change."""

    returned: dict[str, float] = Field(
        description="outputs in which removed units are zero: their change, relative to their "
        "spread",
        examples=[{"hn": 0.41, "cn": 0.44}],
    )
    stream: StreamRecord | None = Field(
        description="the graph over a stream of runs; null: its caller carries no state "
        "between calls, or quality itself is that over streams or on targets"
    )
