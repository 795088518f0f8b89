"""The model card: a bundle's `README.md`, for a person who decides whether to use the small model."""

from __future__ import annotations

from pathlib import Path

from isslim.card.curve_section import curve_section, learning_sections
from isslim.card.markdown import table
from isslim.card.metric_section import metric_section
from isslim.card.samples_section import samples_section
from isslim.card.structure_section import left_alone_section, structure_section, work_section
from isslim.card.usage_section import usage_section
from isslim.compress.card.plots import plot_curve, plot_variants
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import LatencyRecord, Manifest, Task, VariantRecord
from isslim.types.provenance import Provenance
from isslim.types.quality import MetricFormat, metric_format_of
from isslim.types.recipe import Budget
from isslim.types.report import Report
from isslim.types.wording import NOT_JUDGED, NOTHING_JUDGED, RANDOM, as_fast, describe_run

_SCORES: dict[Task, str] = {
    "question-answering": "EM, the share of answers that are a golden one exactly, and F1, the mean overlap with the closest "
    "golden one in words, both in percent by SQuAD's rules, are",
}
_INTERVALS: dict[Task, str] = {
    "language-model": "The interval of a change is that of a bootstrap over blocks of the text, original and variant always on "
    "the same tokens. A text of over 20,000 tokens is scored in pieces side by side, each after the 128 tokens before it.",
    "question-answering": "The interval of a change is that of a bootstrap over contexts with all their questions, original and "
    "variant always on the same ones.",
    "graph": "The interval of a change says how far it may be off on other inputs of the same kind: Wilson's for a share of "
    "decisions, else that of a bootstrap over runs, or stretches of runs where there are few.",
}
_MASKED = (
    "The masked reference is the full-size model, repaired, with the removed units held at zero."
)
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
        *_warning(manifest),
        *_verdict(report),
        _variants(manifest, report),
        *samples_section(report),
        structure_section(manifest),
        *left_alone_section(report),
        work_section(manifest),
        _latency(manifest),
        curve_section(manifest, report),
        *learning_sections(manifest, report),
        _proof(manifest),
        _origin(manifest),
        usage_section(folder, manifest),
    ]
    (folder / "README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _verdict(report: Report) -> list[str]:
    """A line for each conclusion; of a report without any, the verdict as it is."""
    found = report.conclusions
    if found is None:
        return [f"**{report.verdict}**"]
    lines = [each for each in (found.speed, found.size, found.quality, *found.reservations) if each]
    return [f"**{found.advice}**", *(["\n".join(f"- {line}" for line in lines)] if lines else [])]


def _warning(manifest: Manifest) -> list[str]:
    """Loud, where nothing of the quality is known."""
    origin, found = manifest.provenance, list[str]()
    if origin.not_judged is not None:
        found.append(
            f"> **{NOTHING_JUDGED}.** {origin.not_judged[0].upper()}{origin.not_judged[1:]}. What the small model does on other "
            "inputs is not known: send some (`held_out`) before you use it."
        )
    if origin.random_inputs:
        found.append(_random(origin))
    return found


def _random(origin: Provenance) -> str:
    send = "Send some (`calibration`, an npz of recorded inputs) before you use the small model."
    if origin.evaluation is not None:
        return (
            f"> **Observed on RANDOM inputs.** No inputs were sent, so units were chosen, proven and timed on {RANDOM}. Only "
            f"the quality is that of the evaluation. {send}"
        )
    return (
        f"> **Judged on RANDOM inputs.** No inputs were sent, so everything here was observed, judged and timed on {RANDOM}. "
        f"{send}"
    )


def _variants(manifest: Manifest, report: Report) -> str:
    scale = metric_format_of(manifest.metric)
    further = {
        name: description
        for name, description in kind_named(manifest.task).extra_metrics.items()
        if name in manifest.variants[0].metrics
    }
    sampled = manifest.provenance.not_judged is None and any(
        variant.estimate is not None for variant in manifest.variants
    )
    rows = [
        [
            f"`{variant.name}`",
            f"{variant.parameters:,}",
            f"{variant.size_bytes / 1e6:.2f} MB",
            *(description.value(variant.metrics[name]) for name, description in further.items()),
            *_quality(manifest, variant, scale),
            *([_sure(scale, variant)] if sampled else []),
            f"{variant.primary_latency.milliseconds:.2f} ms",
            as_fast(variant.primary_latency),
        ]
        for variant in manifest.variants
    ]
    names = [description.name for description in further.values()]
    head = ["variant", "parameters", "file", *names, scale.name, scale.change_name]
    head += [
        *(["95 % interval, sample"] if sampled else []),
        _primary_latency(manifest),
        "speed-up (95 %)",
    ]
    text = f"## The variants\n\n{table(head, rows)}\n\n![latency and quality](variants.svg)"
    text += _eight_bit(manifest)
    if report.left_out:
        text += "\n\nNot published:\n\n" + "\n".join(f"- {line}" for line in report.left_out)
    text += f"\n\n{metric_section(manifest, _SCORES)}"
    return f"{text} {_INTERVALS[manifest.task]}" if sampled else text


def _sure(scale: MetricFormat, variant: VariantRecord) -> str:
    """The interval of a variant's change, and the sample that it stands on."""
    return "" if variant.estimate is None else scale.sample(variant.estimate).removeprefix("95 %: ")


def _quality(manifest: Manifest, variant: VariantRecord, scale: MetricFormat) -> tuple[str, str]:
    """The metric's value and its change; no figures where they say nothing of other data."""
    if manifest.provenance.not_judged is not None and variant.name != "original":
        return NOT_JUDGED, NOT_JUDGED
    return scale.value(variant.metrics[manifest.metric]), scale.change(variant.loss)


def _eight_bit(manifest: Manifest) -> str:
    """What int8 means here: which parts take 8 bits, in which form, and which do not; once, where all variants agree."""
    description: dict[str, list[str]] = {}
    for variant in manifest.variants:
        if variant.eight_bit:
            form = f": {variant.int8_form.removeprefix('8 bits, ')}" if variant.int8_form else ""
            rest = f"; {_listed(variant.float32)} stay float32" if variant.float32 else ""
            line = f"the weights of {_listed(variant.eight_bit)} take 8 bits{rest}{form}"
            description.setdefault(line, []).append(f"`{variant.name}`")
    return "".join(f"\n\nIn {_listed(names)} {line}." for line, names in description.items())


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _latency(manifest: Manifest) -> str:
    rows = [
        [
            describe_run(manifest.task, each.steps, each.batch, each.run),
            f"`{variant.name}`",
            f"{each.median_ms:.3f}",
            f"{each.p90_ms:.3f}",
            "" if each.cpu_ms is None else f"{each.cpu_ms:.3f}",
            as_fast(each),
            _beside_int8(each),
        ]
        for index in range(len(manifest.variants[0].latency))
        for variant in manifest.variants
        for each in variant.latency[index : index + 1]
    ]
    head = [
        "run",
        "variant",
        "median ms",
        "9 of 10 below, ms",
        "CPU ms",
        "speed-up (95 %)",
        "against int8 alone (95 %)",
    ]
    return (
        "## Latency\n\nONNX Runtime, one thread, all variants interleaved round by round on the worker's machine; a "
        "speed-up is the median of the rounds' ratios, here to the original and to int8 alone."
        f"{_clock(manifest)}{_eight_bit_speed(manifest.provenance)}\n\n{table(head, rows)}"
    )


def _beside_int8(latency: LatencyRecord) -> str:
    found = latency.against_int8
    if found is None:
        return ""
    return (
        f"{found.median:.2f}x ({found.low:.2f} to {found.high:.2f})"
        if latency.steady
        else "not steady"
    )


def _clock(manifest: Manifest) -> str:
    """Which clock the ratios are of, where it is not the plain one."""
    records = [each for variant in manifest.variants for each in variant.latency]
    description = ""
    if any(each.basis == "cpu" for each in records):
        description += (
            " The host was busy with other work: its clock on the wall counts the waiting, the more the longer a run is, so "
            "speed-ups there are of CPU time, the least of each round."
        )
    if not all(each.steady for each in records):
        description += " *Not steady*: the rounds disagree, or hardly a run was left alone; measure again on a quiet host."
    return description


def _eight_bit_speed(origin: Provenance) -> str:
    """What the processor does for int8."""
    if origin.int8_instructions is None:
        return ""
    if origin.int8_instructions:
        found = ", ".join(origin.int8_instructions)
        return f" The processor multiplies 8-bit numbers fast ({found}); on one that does not, int8 gains less."
    if "x86" in origin.machine or "AMD64" in origin.machine:
        return " Measured on x86 without VNNI: int8 gains little in batches there, and more where there is VNNI."
    return (
        " The processor has no instructions for 8-bit numbers: int8 gains little in batches there."
    )


def _proof(manifest: Manifest) -> str:
    rows = [
        [check.name, check.detail, f"{check.error:.1e}", f"{check.tolerance:.0e}"]
        for check in manifest.checks
    ]
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
        *([f"not used: {'; '.join(origin.left_out)}"] if origin.left_out else []),
        f"fine-tune: {origin.finetune or 'none'}",
        f"made {manifest.created_at:%Y-%m-%d %H:%M} UTC on {origin.machine} with "
        + ", ".join(f"{name} {number}" for name, number in origin.versions.items()),
        "time: "
        + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in origin.seconds.items()),
    ]
    return "## The recipe\n\n" + "\n".join(f"- {line}" for line in lines)


def _budget(manifest: Manifest, budget: Budget) -> str:
    if budget.size_ratio is not None:
        return f"at most {100 * budget.size_ratio:g} % of the parameters"
    if budget.speedup is not None:
        return f"at least {budget.speedup:g} times as fast (float32, {_primary_latency(manifest)}, one thread)"
    if budget.confident is not None:
        description = _budget(manifest, budget.model_copy(update={"confident": None}))
        return f"{description}, {'by the upper end of its 95 % interval' if budget.confident else 'as found, whatever the sample'}"
    if budget.f1_fall is not None:
        return f"a fall of F1 by at most {budget.f1_fall:g} {'point' if budget.f1_fall == 1 else 'points'}"
    if budget.output_change is not None:
        scale = metric_format_of(manifest.metric)
        return (
            f"a {scale.loss_name} of at most {scale.loss(budget.output_change).removeprefix('+')}"
        )
    return f"a rise of perplexity by at most {100 * (budget.perplexity_rise or 0.0):g} %"


def _primary_latency(manifest: Manifest) -> str:
    """The latency that is spoken of, in words."""
    spoken = manifest.variants[0].primary_latency
    return describe_run(manifest.task, spoken.steps, spoken.batch, spoken.run)
