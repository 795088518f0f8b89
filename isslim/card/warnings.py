"""What a reader has to know first: quality was not evaluated, or only on random inputs."""

from __future__ import annotations

from isslim.types.manifest import Manifest
from isslim.types.provenance import Provenance
from isslim.types.wording import QUALITY_UNKNOWN, RANDOM


def warning_lines(manifest: Manifest) -> list[str]:
    """The warnings, a line for each, as the terminal shows them."""
    origin = manifest.provenance
    done = "Evaluated" if origin.evaluation is None else "Calibrated and timed"
    lines = [f"{done} on {RANDOM}."] if origin.random_inputs else []
    lines += [] if origin.not_evaluated is None else [f"{QUALITY_UNKNOWN}: {origin.not_evaluated}."]
    for variant in manifest.variants:
        if variant.states is not None and variant.states.returned:
            names = ", ".join(
                f"{name} (off by {off:.1%})" for name, off in variant.states.returned.items()
            )
            lines.append(f"{variant.name} returns states with the removed units at zero: {names}.")
    return lines


def warning_sections(manifest: Manifest) -> list[str]:
    """Block quotes at the top of a card, where little or nothing is known about the quality."""
    origin, found = manifest.provenance, list[str]()
    if origin.not_evaluated is not None:
        reason = f"{origin.not_evaluated[0].upper()}{origin.not_evaluated[1:]}"
        found.append(
            f"> **{QUALITY_UNKNOWN}.** {reason}. What the small model does on other inputs is not "
            "known: send some (`held_out`) before you use it."
        )
    if origin.random_inputs:
        found.append(_random(origin))
    return found


def _random(origin: Provenance) -> str:
    send = "Send some (`calibration`, an npz of recorded inputs) before you use the small model."
    if origin.evaluation is not None:
        return (
            "> **Calibrated on random inputs.** No inputs were sent, so units were chosen, "
            f"verified and timed on {RANDOM}. Only the quality is that of the evaluation. {send}"
        )
    return (
        "> **Evaluated on random inputs.** No inputs were sent, so the small model was calibrated, "
        f"evaluated and timed on {RANDOM}. {send}"
    )
