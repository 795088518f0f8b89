"""What one run of a model with recurrent layers takes beside its weights."""

from __future__ import annotations

from isslim.types.manifest import Manifest

_FLOATS_OF_A_UNIT = 8
"""Of a recurrent unit in a graph: itself, its gates, and up to three products that a later layer
reads."""


def bytes_of_units(manifest: Manifest, steps: int, batch: int) -> int:
    """About what the units of one run take, of the variant that has most, in bytes.

    Args:
        manifest: of the model.
        steps: tokens of each sequence.
        batch: sequences side by side.
    """
    return (
        4
        * steps
        * batch
        * _FLOATS_OF_A_UNIT
        * max(sum(variant.units) for variant in manifest.variants)
    )
