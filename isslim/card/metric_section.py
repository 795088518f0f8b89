"""The card's words on what quality was judged by, or on."""

from __future__ import annotations

from collections.abc import Mapping

from isslim.types.manifest import Manifest, Task
from isslim.types.quality import MetricFormat, metric_format_of

_MEANINGS = {
    "output_change": "the root mean square of the difference to the original's output, relative to that output's standard "
    "deviation",
    "argmax": "the share of decisions that are the same: the largest entry along the dimension of the classes; of single numbers "
    "the side of 0.5; of whole numbers each number",
    "mean_squared_error": "the mean squared difference to the original's output",
    "cosine": "the mean cosine similarity with the original's output along the dimension of its features",
}
"""Metrics of a graph's outputs."""


def metric_section(manifest: Manifest, scores: Mapping[Task, str]) -> str:
    """A paragraph under the table of variants.

    Args:
        manifest: of the bundle.
        scores: how metrics of a task are called, where there are several.
    """
    origin, scale = manifest.provenance, metric_format_of(manifest.metric)
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
    if origin.not_judged is not None:
        return f"No figure of quality is given: {origin.not_judged}."
    counted = ", ".join(f"`{name}`{_along(place)}" for name, place in origin.judged_by.items())
    streams = any(variant.states and variant.states.stream for variant in manifest.variants)
    text = f"{measured}, over {counted}: {_MEANINGS[manifest.metric]}; the worst output counts."
    return (
        f"{text} Every run begins from its recorded inputs. {_streams(manifest, scale)}"
        if streams
        else text
    )


def _along(place: int | None) -> str:
    return "" if place is None else f" (along dimension {place}, counted from 0)"


def _streams(manifest: Manifest, scale: MetricFormat) -> str:
    """What becomes of variants whose caller carries states from run to run."""
    description = []
    for variant in manifest.variants:
        if variant.states is not None and variant.states.stream is not None:
            stream = variant.states.stream
            end = scale.loss(stream.end_loss).removeprefix("+")
            description.append(
                f"`{variant.name}` {scale.loss(stream.loss).removeprefix('+')}, at its end {end}"
            )
            runs = stream.runs
    return f"Over a stream of {runs} of these runs, each variant going on from its own states: {'; '.join(description)}."
