"""The model card: a bundle's `README.md`, for a person who decides whether to use the small model."""

from __future__ import annotations

from pathlib import Path

from compress.markdown import table
from compress.plots import plot_curve, plot_variants
from compress.tradeoff import curve_section, learning_sections
from compress.usage import use_section
from store.manifest import Manifest, Provenance, Report, Task, VariantRecord
from store.quality import SCALES
from store.recipe import Budget
from store.wording import RANDOM, one_run

_EIGHT_BIT: dict[Task, tuple[str, ...]] = {
    "language-model": ("embedding", "recurrent layers", "softmax"),
    "question-answering": ("recurrent layers", "matrix products"),
    "graph": ("recurrent layers", "matrix products"),
}
_STEPS: dict[Task, str] = {
    "language-model": "token (step)",
    "question-answering": "token (step)",
    "graph": "step in the recurrent layers and in what reads them (the rest of the graph is not counted)",
}
_MASKED = "The masked reference is the full-size model, repaired, with the removed units held at zero."
_REFERENCES: dict[Task, str] = {
    "language-model": _MASKED,
    "question-answering": _MASKED,
    "graph": "The first reference is the uploaded file with the removed units' weights overwritten by zeros, made without the "
    "code that cuts. A difference is relative to the largest entry of its output where that is above 1.",
}


def write_card(folder: Path, manifest: Manifest, report: Report) -> None:
    """Writes `README.md`, `curve.svg` and `variants.svg` into a bundle's folder, before it is sealed.

    Args:
        folder: the bundle's files.
        manifest: complete but for `files`.
        report: the trade-off curve and the verdict.
    """
    plot_curve(report, manifest, folder / "curve.svg")
    plot_variants(manifest, folder / "variants.svg")
    sections = [
        f"# {manifest.name}",
        f"**{report.verdict[0].upper()}{report.verdict[1:]}.**",
        *_warning(manifest),
        _variants(manifest, report),
        _structure(manifest),
        *_left_alone(report),
        _work(manifest),
        _latency(manifest),
        curve_section(manifest, report),
        *learning_sections(report),
        _proof(manifest),
        _origin(manifest),
        use_section(folder, manifest),
    ]
    (folder / "README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _warning(manifest: Manifest) -> list[str]:
    """Loud, where nothing of the quality is known."""
    if not manifest.provenance.random_inputs:
        return []
    return [
        f"> **Judged on RANDOM inputs.** No inputs were sent, so everything here was observed, judged and timed on {RANDOM}. "
        "Send some (`calibration`, an npz of recorded inputs) before you use the small model."
    ]


def _variants(manifest: Manifest, report: Report) -> str:
    scale = SCALES[manifest.metric]
    rows = [
        [
            f"`{variant.name}`",
            f"{variant.parameters:,}",
            f"{variant.size_bytes / 1e6:.2f} MB",
            scale.value(variant.metrics[manifest.metric]),
            scale.loss(variant.loss),
            f"{variant.sentence.median_ms:.2f} ms",
            f"{variant.sentence.speedup:.1f}x",
        ]
        for variant in manifest.variants
    ]
    head = ["variant", "parameters", "file", scale.name, scale.loss_name, _spoken(manifest), "speed-up"]
    text = f"## The variants\n\n{table(head, rows)}\n\n![latency and quality](variants.svg)"
    text += _eight_bit(manifest)
    if report.left_out:
        text += "\n\nNot published:\n\n" + "\n".join(f"- {line}" for line in report.left_out)
    return text + f"\n\n{scale.name[0].upper()}{scale.name[1:]} is measured on {manifest.provenance.held_out}."


def _eight_bit(manifest: Manifest) -> str:
    """What int8 means here, where it does not mean all of the weights."""
    for variant in manifest.variants:
        eight, rest = variant.eight_bit, [part for part in _EIGHT_BIT[manifest.task] if part not in variant.eight_bit]
        if eight and rest:
            return (
                f"\n\nIn int8 variants the weights of {' and '.join(eight)} take 8 bits; "
                f"{' and '.join(rest)} stay float32."
            )
    return ""


def _pair(manifest: Manifest) -> tuple[VariantRecord, VariantRecord]:
    """The original and a compressed variant: the same structure, whatever its precision."""
    compressed = next(variant for variant in manifest.variants if variant.name.startswith("compressed"))
    return manifest.variants[0], compressed


def _structure(manifest: Manifest) -> str:
    before, after = _pair(manifest)
    rows = [
        [
            old.name,
            *((f"{old.width:,}", f"{new.width:,}", _less(old.width, new.width)) if old.width else ("", "", "")),
            *(f"{old.parameters:,}", f"{new.parameters:,}", _less(old.parameters, new.parameters)),
        ]
        for old, new in zip(before.parts, after.parts, strict=True)
    ]
    old_all, new_all = before.parameters, after.parameters
    rows.append(["**all**", "", "", "", f"{old_all:,}", f"{new_all:,}", _less(old_all, new_all)])
    head = ["part", "units before", "after", "removed", "parameters before", "after", "removed"]
    text = f"## What was removed\n\n{table(head, rows)}"
    if manifest.task == "language-model":
        text += "\n\nThe embedding's units are its columns, those of the softmax the tokens of the vocabulary, which all stay."
    if before.tied:
        text += " Embedding and softmax share one matrix, which is counted once, as embedding."
    return text


def _left_alone(report: Report) -> list[str]:
    """What could not shrink, and why; nothing where all could."""
    if not report.notes:
        return []
    return ["## What was left alone\n\n" + "\n".join(f"- {note}" for note in report.notes)]


def _work(manifest: Manifest) -> str:
    before, after = _pair(manifest)
    rows = [
        [
            old.name,
            *(f"{old.mult_adds:,}", f"{old.mult_adds / before.mult_adds:.0%}"),
            *(f"{new.mult_adds:,}", f"{new.mult_adds / after.mult_adds:.0%}"),
            _less(old.mult_adds, new.mult_adds),
        ]
        for old, new in zip(before.parts, after.parts, strict=True)
    ]
    old_all, new_all = before.mult_adds, after.mult_adds
    rows.append(["**all**", f"{old_all:,}", "100%", f"{new_all:,}", "100%", _less(old_all, new_all)])
    head = ["part", "multiply-adds before", "share", "after", "share", "removed"]
    return (
        f"## Where the work goes\n\n{table(head, rows)}\n\n"
        f"Multiply-adds of one {_STEPS[manifest.task]}: work, not time. A large matrix that has to come from memory takes longer "
        "than its share, a small one leaves the processor idle, and a look-up costs none; what all of it takes on the clock is "
        "measured in the next section."
    )


def _less(before: int, after: int) -> str:
    return f"{1 - after / before:.0%}" if before else "-"


def _latency(manifest: Manifest) -> str:
    rows = [
        [
            one_run(manifest.task, each.steps, each.batch, manifest.provenance),
            f"`{variant.name}`",
            f"{each.median_ms:.3f}",
            f"{each.p90_ms:.3f}",
            f"{each.speedup:.2f}x",
            f"{each.speedup_low:.2f} to {each.speedup_high:.2f}",
        ]
        for index in range(len(manifest.variants[0].latency))
        for variant in manifest.variants
        for each in variant.latency[index : index + 1]
    ]
    head = ["run", "variant", "median ms", "9 of 10 below, ms", "speed-up", "95 % interval"]
    return (
        "## Latency\n\nONNX Runtime, one thread, all variants interleaved round by round on the worker's machine; the "
        "speed-up is the median of the rounds' ratios to the original."
        f"{_eight_bit_speed(manifest.provenance)}\n\n{table(head, rows)}"
    )


def _eight_bit_speed(origin: Provenance) -> str:
    """What the processor does for int8."""
    if origin.int8_instructions is None:
        return ""
    if origin.int8_instructions:
        found = ", ".join(origin.int8_instructions)
        return f" The processor multiplies 8-bit numbers fast ({found}); on one that does not, int8 gains less."
    if "x86" in origin.machine or "AMD64" in origin.machine:
        return " Measured on x86 without VNNI: int8 gains little in batches there, and more where there is VNNI."
    return " The processor has no instructions for 8-bit numbers: int8 gains little in batches there."


def _proof(manifest: Manifest) -> str:
    rows = [[check.name, check.detail, f"{check.error:.1e}", f"{check.tolerance:.0e}"] for check in manifest.checks]
    return (
        "## The proof\n\n"
        + table(["check", "on", "largest error", "tolerance"], rows)
        + f"\n\n{_REFERENCES[manifest.task]}"
    )


def _origin(manifest: Manifest) -> str:
    origin, recipe = manifest.provenance, manifest.recipe
    lines = [
        f"upload: SHA-256 `{origin.upload_sha256}`, recognised as {origin.layout}",
        f"asked for: {_budget(manifest, recipe.budget)}; mode `{recipe.mode}`, seed {recipe.seed}",
        f"calibration: {origin.calibration}",
        f"fine-tune: {origin.finetune or 'none'}",
        f"made {manifest.created_at:%Y-%m-%d %H:%M} UTC on {origin.machine} with "
        + ", ".join(f"{name} {number}" for name, number in origin.versions.items()),
        "time: " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in origin.seconds.items()),
    ]
    return "## The recipe\n\n" + "\n".join(f"- {line}" for line in lines)


def _budget(manifest: Manifest, budget: Budget) -> str:
    if budget.size_ratio is not None:
        return f"at most {100 * budget.size_ratio:g} % of the parameters"
    if budget.speedup is not None:
        return f"at least {budget.speedup:g} times as fast (float32, {_spoken(manifest)}, one thread)"
    if budget.f1_fall is not None:
        return f"a fall of F1 by at most {budget.f1_fall:g} points"
    if budget.output_change is not None:
        scale = SCALES[manifest.metric]
        return f"a {scale.loss_name} of at most {scale.loss(budget.output_change).removeprefix('+')}"
    return f"a rise of perplexity by at most {100 * (budget.perplexity_rise or 0.0):g} %"


def _spoken(manifest: Manifest) -> str:
    """The latency that is spoken of, in words."""
    spoken = manifest.variants[0].sentence
    return one_run(manifest.task, spoken.steps, spoken.batch, manifest.provenance)
