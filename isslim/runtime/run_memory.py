"""The memory of one run of a model with recurrent layers, besides its weights."""

from __future__ import annotations

from isslim.types.manifest import Manifest

_FLOATS_OF_A_UNIT = 8
"""Values per recurrent unit in a graph: itself, its gates, and up to three products that a later
layer reads."""


def bytes_of_units(manifest: Manifest, steps: int, batch: int) -> int:
    """Approximate bytes for the units of one run, for the variant that has most of them.

    Args:
        manifest: of the model.
        steps: tokens of each sequence.
        batch: sequences in the batch.
    """
    return (
        4
        * steps
        * batch
        * _FLOATS_OF_A_UNIT
        * max(sum(variant.units) for variant in manifest.variants)
    )
