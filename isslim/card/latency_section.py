"""The card's section on latency: every run of every variant, and how it was measured."""

from __future__ import annotations

from isslim.card.markdown import table
from isslim.card.variants import AS_INT8, AS_ORIGINAL
from isslim.types.kinds.registry import run_label
from isslim.types.manifest import LatencyRecord, Manifest
from isslim.types.provenance import Provenance
from isslim.types.wording import as_fast, as_fast_as_int8

_HEAD = [
    "run",
    "variant",
    "median ms",
    "9 of 10 below, ms",
    "CPU ms",
    AS_INT8,
    AS_ORIGINAL,
]


def latency_section(manifest: Manifest) -> str:
    """Every timed run, variant by variant."""
    rows = [
        _row(manifest.task, variant.name, each)
        for index in range(len(manifest.variants[0].latency))
        for variant in manifest.variants
        for each in variant.latency[index : index + 1]
    ]
    return (
        "## Latency\n\nONNX Runtime, one thread, all variants interleaved round by round on the "
        "worker's machine; a ratio is the median of the rounds' ratios. Int8 alone is "
        f"`original-int8`, with nothing removed.{_clock(manifest)}"
        f"{_eight_bit_speed(manifest.provenance)}\n\n{table(_HEAD, rows)}"
    )


def _row(task: str, variant: str, record: LatencyRecord) -> list[str]:
    return [
        run_label(task, record.steps, record.batch, record.run),
        f"`{variant}`",
        f"{record.median_ms:.3f}",
        f"{record.p90_ms:.3f}",
        "" if record.cpu_ms is None else f"{record.cpu_ms:.3f}",
        as_fast_as_int8(record),
        as_fast(record),
    ]


def _clock(manifest: Manifest) -> str:
    """The clock on which the ratios are based, where it is not the wall clock."""
    records = [each for variant in manifest.variants for each in variant.latency]
    text = ""
    if any(each.basis == "cpu" for each in records):
        text += (
            " The host was busy with other work, and wall-clock time includes the waiting, so "
            "ratios there compare CPU time, the minimum of each round."
        )
    if not all(each.steady for each in records):
        text += (
            " *Not steady*: the rounds disagree, or other work disturbed nearly every run; measure "
            "again on a quiet host."
        )
    return text


def _eight_bit_speed(origin: Provenance) -> str:
    """The processor's support for int8."""
    if origin.int8_instructions is None:
        return ""
    if origin.int8_instructions:
        found = ", ".join(origin.int8_instructions)
        return (
            f" The processor multiplies 8-bit numbers fast ({found}); on one that does not, int8 "
            "gains less."
        )
    if "x86" in origin.machine or "AMD64" in origin.machine:
        return (
            " Measured on x86 without VNNI: int8 gains little in batches there, and more where "
            "there is VNNI."
        )
    return (
        " The processor has no instructions for 8-bit numbers: int8 gains little in batches there."
    )
