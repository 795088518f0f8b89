"""Path and query parameters that several routes share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query

from isslim.service.serving.admission import TIMEOUT_HEADER
from isslim.types.schemas.common import DEVICE, VARIANTS, Variants
from isslim.types.schemas.graphs import OUTPUTS

ModelName = Annotated[str, Path(description="id, alias or name of a model", examples=["demo"])]
JobId = Annotated[
    str, Path(description="as `POST /compress` answered it", examples=["419642ce19b52b52119a"])
]
InspectionId = Annotated[
    str,
    Path(
        description="as `Location` of `POST /inspect` names it", examples=["419642ce19b52b52119a"]
    ),
]
SweepId = Annotated[
    str, Path(description="as `POST /sweeps` answered it", examples=["7d0a2b9f3c1e4a5b6c7d"])
]
FilePath = Annotated[
    str, Path(description="plain relative path of a file in the bundle", examples=["curve.svg"])
]
QueryVariants = Annotated[
    Variants,
    Query(description=f"of an npz body: {VARIANTS}", examples=[["original", "compressed-int8"]]),
]
QueryOutputs = Annotated[
    list[str], Query(description=f"of an npz body: {OUTPUTS}", examples=[["logits"]])
]
QueryDevice = Annotated[str, Query(description=f"of an npz body: {DEVICE}", examples=["cpu"])]
TIMEOUT: dict[str, Any] = {
    "parameters": [
        {
            "name": TIMEOUT_HEADER,
            "in": "header",
            "description": "milliseconds after which the sender needs no answer any more, counted "
            "from when the request was there; below the service's own limit. It is then answered "
            "with 504, and not run where its turn had not come",
            "schema": {"type": "integer", "minimum": 1, "examples": [30_000]},
        }
    ]
}
"""The documentation of the header that every route that runs models reads."""
