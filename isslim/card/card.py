"""A bundle's whole card: Markdown for a person who decides whether to use the small model."""

from __future__ import annotations

from collections.abc import Sequence

from isslim.card.curve_section import curve_section, learning_sections
from isslim.card.head import head
from isslim.card.latency_section import latency_section
from isslim.card.markdown import defused
from isslim.card.origin_section import origin_section, proof_section
from isslim.card.program_section import program_section
from isslim.card.samples_section import samples_section
from isslim.card.structure_section import left_alone_section, structure_section, work_section
from isslim.card.usage_section import served_of, usage_section
from isslim.card.variants import variants_section
from isslim.card.warnings import warning_sections
from isslim.types.kinds.description import ExampleInput
from isslim.types.manifest import Manifest
from isslim.types.report import Report

PICTURES = ("curve.svg", "variants.svg")
"""What a card shows; it links to nothing else."""


def card(
    manifest: Manifest,
    report: Report,
    inputs: Sequence[ExampleInput] = (),
    *,
    has_weights: bool = False,
) -> str:
    """The text; it shows `curve.svg` and `variants.svg` from the same folder.

    Args:
        manifest: complete but for `files`.
        report: the trade-off curve and the verdict.
        inputs: of the recorded run that was timed; empty if the bundle holds none.
        has_weights: whether the bundle holds the compressed network's weights for PyTorch.
    """
    served = served_of(manifest, inputs, report.same_form, has_weights=has_weights)
    sections = [
        f"# {manifest.name}",
        *warning_sections(manifest),
        *_verdict(report),
        variants_section(manifest, report),
        *samples_section(report),
        structure_section(manifest),
        *left_alone_section(report),
        work_section(manifest),
        latency_section(manifest),
        curve_section(manifest, report),
        *learning_sections(manifest, report),
        proof_section(manifest),
        origin_section(manifest),
        usage_section(manifest.task, served),
        *program_section(manifest.task, served),
    ]
    body = defused("\n\n".join(sections), PICTURES)
    return f"{head(manifest)}\n\n{body}\n"


def _verdict(report: Report) -> list[str]:
    """A line for each conclusion; for a report without any, the verdict itself."""
    found = report.conclusions
    if found is None:
        return [f"**{report.verdict}**"]
    lines = "\n".join(f"- {line}" for line in found.lines)
    return [f"**{found.advice}**", *([lines] if lines else [])]
