"""Writes a bundle's card: `README.md` with its two plots."""

from __future__ import annotations

from pathlib import Path

from isslim.card.card import card
from isslim.compress.training.saved_network import COMPRESSED
from isslim.runtime.graphs.recorded_inputs import SAMPLES, read_runs
from isslim.types.kinds.description import ExampleInput
from isslim.types.manifest import Manifest
from isslim.types.report import Report

SHOWN = 64
"""Numbers that an example in the card may have; with more it is a file."""


def write_card(folder: Path, manifest: Manifest, report: Report) -> None:
    """Writes `README.md`, `curve.svg` and `variants.svg` into a bundle's folder, not yet sealed.

    Args:
        folder: the bundle's files.
        manifest: complete but for `files`.
        report: the trade-off curve and the verdict.
    """
    # Imported here, since it loads matplotlib for a second, which a job needs at its end alone.
    from isslim.compress.card.plots import plot_curve
    from isslim.compress.card.tradeoff import plot_tradeoff

    plot_curve(report, manifest, folder / "curve.svg")
    plot_tradeoff(manifest, folder / "variants.svg", report.verdict)
    has_weights = (folder / COMPRESSED.weights).exists()
    text = card(manifest, report, example_inputs(folder), has_weights=has_weights)
    (folder / "README.md").write_text(text, encoding="utf-8")


def example_inputs(folder: Path) -> list[ExampleInput]:
    """The inputs of the recorded run that was timed; none where the bundle holds no runs."""
    if not (folder / SAMPLES).exists():
        return []
    run = read_runs((folder / SAMPLES).read_bytes())[0]
    is_small = sum(array.size for array in run.values()) <= SHOWN
    return [
        ExampleInput(name, str(array.dtype), array.shape, array.tolist() if is_small else None)
        for name, array in run.items()
    ]
