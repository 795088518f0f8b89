"""The card's words on what quality was judged by, or on."""

from __future__ import annotations

from collections.abc import Mapping

from store.manifest import Manifest, Task
from store.quality import scale_of

_MEANINGS = {
    "output_change": "the root mean square of the difference to the original's output, relative to that output's standard "
    "deviation",
    "argmax": "the share of places where the largest entry of the last dimension is the same (of single numbers, the same side "
    "of 0.5)",
    "mean_squared_error": "the mean squared difference to the original's output",
    "cosine": "the mean cosine similarity with the original's output along the last dimension",
}
"""Metrics of a graph's outputs."""


def judged(manifest: Manifest, scores: Mapping[Task, str]) -> str:
    """A paragraph under the table of variants.

    Args:
        manifest: of the bundle.
        scores: how metrics of a task are called, where there are several.
    """
    origin, scale = manifest.provenance, scale_of(manifest.metric)
    if origin.evaluation is not None:
        return (
            f"Quality was judged by the {origin.evaluation}: *{scale.name}* is the number that it printed for each variant's "
            f"file, and the {scale.change_name} is relative to the original's. What the command does is not part of this bundle. "
            f"Proof and latency are of {origin.held_out}."
        )
    named = f"{scale.name[0].upper()}{scale.name[1:]} is"
    measured = f"{scores.get(manifest.task, named)} measured on {origin.held_out}"
    if manifest.metric not in _MEANINGS:
        return f"{measured}."
    outputs = manifest.recipe.outputs
    counted = (
        f"the outputs {', '.join(f'`{name}`' for name in outputs)}" if outputs else "all outputs but carried states"
    )
    return (
        f"{measured}, over {counted}: {_MEANINGS[manifest.metric]}; the worst output counts. Every run begins from its recorded "
        "inputs: where a caller carries states from run to run, changes add up over the stream, so try the small model there as "
        "well."
    )
