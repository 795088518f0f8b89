"""The card's sentences on the metric and the data of the evaluation."""

from __future__ import annotations

from isslim.types.graph_metrics import ON_TARGETS
from isslim.types.kinds.metric_format import MetricFormat
from isslim.types.kinds.registry import kind_named, metric_format_of
from isslim.types.manifest import Manifest


def metric_section(manifest: Manifest) -> str:
    """A paragraph under the table of variants."""
    origin, scale = manifest.provenance, metric_format_of(manifest.metric)
    if origin.evaluation is not None:
        return (
            f"Quality was evaluated by the {origin.evaluation}: *{scale.name}* is the number that "
            f"it printed for each variant's file, and the {scale.change_name} is relative to the "
            "original's. What the command does is not part of this bundle. Proof and latency are "
            f"of {origin.held_out}."
        )
    phrase = kind_named(manifest.task).metric_phrase
    named = phrase or f"{scale.name[0].upper()}{scale.name[1:]} is"
    measured = f"{named} measured on {origin.held_out}"
    if not scale.meaning:
        return f"{measured}."
    if origin.not_evaluated is not None:
        return f"No figure of quality is given: {origin.not_evaluated}."
    counted = ", ".join(
        f"`{name}`{_along(place)}" for name, place in origin.evaluated_outputs.items()
    )
    one = manifest.metric in ON_TARGETS  # they are of one output
    worst = "" if one else "; the worst output counts"
    text = f"{measured}, over {counted}: {scale.meaning}{worst}."
    streams = any(variant.states and variant.states.stream for variant in manifest.variants)
    if not streams:
        return text
    return f"{text} Every run starts from its recorded inputs. {_streams(manifest, scale)}"


def _along(place: int | None) -> str:
    if place is None:
        return ""
    if place < 0:
        return f" (along dimension {place}, counted from the last)"
    return f" (along dimension {place}, counted from 0)"


def _streams(manifest: Manifest, scale: MetricFormat) -> str:
    """How variants behave whose caller carries states from run to run."""
    losses = []
    for variant in manifest.variants:
        if variant.states is not None and variant.states.stream is not None:
            stream = variant.states.stream
            loss = scale.loss(stream.loss).removeprefix("+")
            end = scale.loss(stream.end_loss).removeprefix("+")
            losses.append(f"`{variant.name}` {loss}, at its end {end}")
            runs = stream.runs
    return (
        f"Over a stream of {runs} of these runs, each variant continuing from its own states: "
        f"{'; '.join(losses)}."
    )
