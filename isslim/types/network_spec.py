"""The JSON beside the weights of a network: its architecture and its sizes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from isslim.types.kinds.registry import ArchitectureName
from isslim.types.recipe import StrictModel

FORMAT = 3
"""Version of the form, in the JSON and in the header of the safetensors file."""
Size = int | bool | tuple[int, ...] | None


class NetworkSpec(StrictModel):
    """What a network is built from, before its weights are loaded."""

    isslim: Literal[3] = Field(description="version of this form", examples=[3])
    architecture: ArchitectureName = Field(
        description="architecture of the network", examples=["lstm-language-model"]
    )
    spec: dict[str, Size] = Field(
        description="the architecture's sizes by name; of a list one number a layer, direction or "
        "block of the softmax",
        examples=[
            {
                "vocabulary": 10000,
                "embedding": 25,
                "units": [187, 187],
                "tied": False,
                "bottleneck": None,
            }
        ],
    )

    @property
    def tied(self) -> bool | None:
        """Whether the decoder's matrix is the embedding's; None: it has no such choice."""
        tied = self.spec.get("tied")
        return tied if isinstance(tied, bool) else None
