"""The card's sections on proofs, recipe and provenance."""

from __future__ import annotations

from isslim.card.markdown import table
from isslim.card.variants import primary_run
from isslim.types.kinds.registry import kind_named, metric_format_of
from isslim.types.manifest import Manifest
from isslim.types.recipe import Budget


def proof_section(manifest: Manifest) -> str:
    """Every verification that the bundle passed."""
    rows = [
        [check.name, check.detail, f"{check.error:.1e}", f"{check.tolerance:.0e}"]
        for check in manifest.checks
    ]
    head = ["check", "on", "largest error", "tolerance"]
    return f"## The proof\n\n{table(head, rows)}\n\n{kind_named(manifest.task).reference_note}"


def origin_section(manifest: Manifest) -> str:
    """The recipe, the data, the machine and the duration of every stage."""
    origin, recipe = manifest.provenance, manifest.recipe
    versions = ", ".join(f"{name} {number}" for name, number in origin.versions.items())
    seconds = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in origin.seconds.items())
    lines = [
        f"upload: SHA-256 `{origin.upload_sha256}`, recognised as {origin.layout}",
        f"requested: {_budget(manifest, recipe.budget)}; mode `{recipe.mode}`, seed {recipe.seed}",
        f"calibration: {origin.calibration}",
        *([f"not used: {'; '.join(origin.left_out)}"] if origin.left_out else []),
        f"training: {origin.finetune or 'none'}",
        f"made {manifest.created_at:%Y-%m-%d %H:%M} UTC on {origin.machine} with {versions}",
        f"time: {seconds}",
    ]
    return "## The recipe\n\n" + "\n".join(f"- {line}" for line in lines)


def _budget(manifest: Manifest, budget: Budget) -> str:
    if budget.size_ratio is not None:
        return f"at most {100 * budget.size_ratio:g} % of the parameters"
    if budget.speedup is not None:
        return (
            f"at least {budget.speedup:g} times as fast (float32, {primary_run(manifest)}, one "
            "thread)"
        )
    scale = metric_format_of(manifest.metric)
    phrase = kind_named(manifest.task).budget_phrase(budget.quality or 0.0, scale)
    if budget.confident is None:
        return phrase
    how = "by the upper end of its 95 % interval" if budget.confident else _AS_FOUND
    return f"{phrase}, {how}"


_AS_FOUND = "as found, whatever the sample"
