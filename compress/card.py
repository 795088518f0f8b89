"""The model card: a bundle's `README.md`, for a person who decides whether to use the small model."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from compress.plots import plot_curve, plot_variants
from store.manifest import Manifest, Part, Report, VariantRecord


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
        _variants(manifest, report),
        _structure(manifest),
        _places(manifest),
        _latency(manifest),
        _curve(report),
        _proof(manifest),
        _origin(manifest),
        _use(manifest),
    ]
    (folder / "README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _variants(manifest: Manifest, report: Report) -> str:
    rows = [
        [
            f"`{variant.name}`",
            f"{variant.breakdown.parameters:,}",
            f"{variant.size_bytes / 1e6:.2f} MB",
            f"{variant.perplexity:.2f}",
            f"{variant.perplexity_rise:+.2%}",
            *_sentence(variant),
        ]
        for variant in manifest.variants
    ]
    head = ["variant", "parameters", "file", "perplexity", "rise", "30 steps x 1", "speed-up"]
    text = f"## The variants\n\n{_table(head, rows)}\n\n![latency and perplexity](variants.svg)"
    text += _eight_bit(manifest)
    if report.left_out:
        text += "\n\nNot published:\n\n" + "\n".join(f"- {line}" for line in report.left_out)
    return text + f"\n\nPerplexity is measured on {manifest.provenance.held_out}."


def _eight_bit(manifest: Manifest) -> str:
    """What int8 means here, where it does not mean all of the weights."""
    for variant in manifest.variants:
        eight, rest = variant.eight_bit, [part for part in get_args(Part) if part not in (variant.eight_bit or ())]
        if eight and rest:
            return (
                f"\n\nIn int8 variants the weights of {' and '.join(eight)} take 8 bits; "
                f"{' and '.join(rest)} stay float32."
            )
    return ""


def _structure(manifest: Manifest) -> str:
    rows = [
        [f"`{axis.name}`", str(axis.original), str(axis.kept), f"{1 - axis.kept / axis.original:.0%}"]
        for axis in manifest.axes
    ]
    return "## What was removed\n\n" + _table(["axis", "before", "after", "removed"], rows)


def _places(manifest: Manifest) -> str:
    rows = []
    for variant in manifest.variants:
        if variant.precision == "float32":
            parts = variant.breakdown
            for name, parameters, work in (
                ("embedding", parts.embedding_parameters, 0),
                ("recurrent layers", parts.recurrent_parameters, parts.recurrent_mult_adds),
                ("softmax", parts.softmax_parameters, parts.softmax_mult_adds),
            ):
                share = f"{parameters / parts.parameters:.0%}"
                rows.append(
                    [f"`{variant.name}`", name, f"{parameters:,}", share, f"{work:,}", f"{work / parts.mult_adds:.0%}"]
                )
    head = ["variant", "part", "parameters", "share", "multiply-adds per token", "share"]
    return (
        "## Where the parameters and the time go\n\n"
        + _table(head, rows)
        + "\n\nThe embedding is a look-up and costs no multiply-adds. A tied matrix is counted once, as embedding."
    )


def _latency(manifest: Manifest) -> str:
    rows = [
        [
            f"{each.steps} x {each.batch}",
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
    head = ["steps x batch", "variant", "median ms", "90 % ms", "speed-up", "95 % interval"]
    return (
        "## Latency\n\nONNX Runtime, one thread, all variants interleaved round by round on the worker's machine; the "
        "speed-up is the median of the rounds' ratios to the original.\n\n" + _table(head, rows)
    )


def _curve(report: Report) -> str:
    rows = [
        [
            f"{point.removed_share:.0%}",
            f"{point.embedding}, {', '.join(map(str, point.units))}",
            f"{point.parameters:,}",
            f"{point.mult_adds:,}",
            f"{point.perplexity:.2f}",
            f"{point.perplexity_rise:+.1%}",
            "yes" if point.within_budget else "no",
        ]
        for point in report.curve
    ]
    head = ["removed", "embedding, units", "parameters", "multiply-adds", "perplexity", "rise", "within budget"]
    return f"## The trade-off\n\n![trade-off curve](curve.svg)\n\n{_table(head, rows)}\n\nBefore any fine-tuning."


def _proof(manifest: Manifest) -> str:
    rows = [[check.name, check.detail, f"{check.error:.1e}", f"{check.tolerance:.0e}"] for check in manifest.checks]
    return "## The proof\n\n" + _table(["check", "on", "largest error (nats)", "tolerance"], rows)


def _origin(manifest: Manifest) -> str:
    origin, recipe = manifest.provenance, manifest.recipe
    budget = ", ".join(f"{name} {value:g}" for name, value in recipe.budget.model_dump(exclude_none=True).items())
    lines = [
        f"upload: SHA-256 `{origin.upload_sha256}`, recognised as {origin.layout}",
        f"recipe: mode `{recipe.mode}`, budget {budget}, seed {recipe.seed}",
        f"calibration: {origin.calibration}",
        f"fine-tune: {origin.finetune or 'none'}",
        f"made {manifest.created_at:%Y-%m-%d %H:%M} UTC on {origin.machine} with "
        + ", ".join(f"{name} {number}" for name, number in origin.versions.items()),
        "seconds: " + ", ".join(f"{stage} {seconds:g}" for stage, seconds in origin.seconds.items()),
    ]
    return "## The recipe\n\n" + "\n".join(f"- {line}" for line in lines)


def _use(manifest: Manifest) -> str:
    text = manifest.text
    start = f"`{text.start_token!r}`" if text.start_token else "nothing: the first token is given, not scored"
    unknown = f"becomes `{text.unknown_token}`" if text.unknown_token else "is refused"
    return (
        "## How texts are read\n\n"
        f"One token is a {text.unit} of {text.vocabulary:,}; before the first stands {start}; what is not in the vocabulary "
        f"{unknown}. Perplexity is exp of the mean negative natural log-probability of all scored tokens.\n\n"
        "```\n"
        "curl -s localhost:8000/score -H 'content-type: application/json' \\\n"
        f'  -d \'{{"model": "{manifest.name}", "texts": ["..."], "variants": '
        f"[{', '.join(chr(34) + variant.name + chr(34) for variant in manifest.variants)}]}}'\n"
        "```"
    )


def _sentence(variant: VariantRecord) -> list[str]:
    for each in variant.latency:
        if (each.steps, each.batch) == (30, 1):
            return [f"{each.median_ms:.2f} ms", f"{each.speedup:.1f}x"]
    return ["", ""]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
