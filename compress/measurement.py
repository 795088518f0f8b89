"""Exports the variants of a bundle, verifies each graph, and measures quality, size and latency through `runtime`.

What is measured here is the code that the service answers with. A compressed variant outside the budget is left out
and the report says why: each is judged by its rise of perplexity, the float32 one by its speed (the median at
`SENTENCE`). `original` and `original-int8` are always measured, as the baselines that pruning must beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from compress.axes import Declaration
from compress.export import export
from compress.networks.contract import LanguageModel
from compress.quantize import quantize
from compress.sizes import breakdown, embedding_width, is_tied, layer_units, recurrent_layers
from compress.verification import verify_graph
from runtime.latency import compare
from runtime.scoring import perplexity
from runtime.session import VariantSession
from runtime.text import TextCodec
from store.manifest import SENTENCE, Budget, CheckRecord, LatencyRecord, Part, VariantName, VariantRecord

SHAPES = ((30, 10), SENTENCE, (1, 1))
"""The paper's, one sentence, and streaming."""


class StageReport(Protocol):
    """The pipeline's view of progress."""

    def enter(self, name: str, message: str) -> None:
        """Begins a stage."""

    def tell(self, done: float, message: str) -> None:
        """Progress inside it."""


@dataclass(frozen=True)
class Exported:
    """A torch model to export under a name, in float32 and int8."""

    name: Literal["original", "compressed"]
    network: LanguageModel


@dataclass(frozen=True)
class Measured:
    """The variants worth publishing, the checks they passed, what was left out and why."""

    variants: list[VariantRecord]
    checks: list[CheckRecord]
    left_out: list[str]
    verdict: str


def measure(
    graphs: list[Exported],
    codec: TextCodec,
    held_out: Tensor,
    budget: Budget,
    folder: Path,
    stages: StageReport,
) -> Measured:
    """Writes `<name>.onnx` and `<name>-int8.onnx` into `folder` for each candidate and measures all.

    Raises:
        VerificationFailed: when a float32 graph does not equal its torch model.
    """
    networks: dict[VariantName, LanguageModel] = {}
    eight_bit: dict[str, list[Part]] = {}
    checks = []
    for graph in graphs:
        source, target = folder / f"{graph.name}.onnx", folder / f"{graph.name}-int8.onnx"
        export(graph.network, source)
        checks.append(verify_graph(VariantSession(source), graph.network, held_out, graph.name))
        eight_bit[target.stem] = quantize(source, target)
        networks[graph.name] = graph.network
        networks["original-int8" if graph.name == "original" else "compressed-int8"] = graph.network
    stages.enter("measure", "perplexity of every variant")
    ids = held_out.tolist()
    sessions: dict[str, VariantSession] = {}
    found: dict[str, float] = {}
    for index, name in enumerate(networks):
        sessions[name] = VariantSession(folder / f"{name}.onnx")
        found[name] = perplexity(sessions[name], ids, codec.start_id)
        stages.tell(0.7 * (index + 1) / len(networks), f"{name}: perplexity {found[name]:.2f}")
    timed: dict[str, list[LatencyRecord]] = {name: [] for name in networks}
    for index, (steps, batch) in enumerate(SHAPES):
        for variant, latency in compare(sessions, steps=steps, batch=batch).items():
            timed[variant].append(latency)
        stages.tell(0.7 + 0.1 * (index + 1), f"latency at {steps} steps x {batch}")
    variants: list[VariantRecord] = []
    left_out: list[str] = []
    for name, network in networks.items():
        rise = found[name] / found["original"] - 1
        file = folder / f"{name}.onnx"
        record = _record(name, network.declaration(), file, eight_bit.get(name, []), found[name], rise, timed[name])
        fault = _outside(record, budget)
        if fault is None:
            variants.append(record)
        else:
            left_out.append(f"{name}: {fault}")
            (folder / record.file).unlink()
    return Measured(variants, checks, left_out, verdict_of(variants))


def _outside(variant: VariantRecord, budget: Budget) -> str | None:
    """How a compressed variant breaks the budget; None when it keeps to it. A size budget was kept by counting."""
    if not variant.name.startswith("compressed"):
        return None
    if budget.perplexity_rise is not None and variant.perplexity_rise > budget.perplexity_rise:
        return f"perplexity rises by {variant.perplexity_rise:.2%}, the budget allows {budget.perplexity_rise:.2%}"
    measured = variant.sentence
    if budget.speedup is not None and variant.precision == "float32" and measured.speedup < budget.speedup:
        return (
            f"measured {measured.speedup:.2f} times as fast as the original "
            f"({measured.speedup_low:.2f} to {measured.speedup_high:.2f}), the budget asks for {budget.speedup:g}"
        )
    return None


def _record(
    name: VariantName,
    declaration: Declaration,
    file: Path,
    eight_bit: list[Part],
    perplexity: float,
    rise: float,
    latency: list[LatencyRecord],
) -> VariantRecord:
    return VariantRecord(
        name=name,
        file=file.name,
        precision="int8" if name.endswith("int8") else "float32",
        eight_bit=eight_bit,
        embedding=embedding_width(declaration),
        units=layer_units(declaration),
        tied=is_tied(declaration),
        size_bytes=file.stat().st_size,
        breakdown=breakdown(declaration),
        layers=recurrent_layers(declaration),
        perplexity=perplexity,
        perplexity_rise=rise,
        latency=latency,
    )


def verdict_of(variants: list[VariantRecord]) -> str:
    """One sentence: the best compressed variant against the original, and against int8 alone."""
    by_name = {variant.name: variant for variant in variants}
    pruned = [variant for variant in variants if variant.name.startswith("compressed")]
    if not pruned:
        return "not worth pruning: no compressed variant keeps to the budget"
    plain = by_name["original-int8"]
    best = _best(pruned)
    found, alone = best.sentence, plain.sentence
    told = (
        f"{best.name} is {found.speedup:.1f}x as fast as the original (30 steps x 1, one thread) and "
        f"{by_name['original'].size_bytes / best.size_bytes:.1f}x smaller, at {best.perplexity_rise:+.2%} perplexity; "
        f"int8 alone gives {alone.speedup:.1f}x and {by_name['original'].size_bytes / plain.size_bytes:.1f}x "
        f"at {plain.perplexity_rise:+.2%}"
    )
    if alone.median_ms / found.median_ms < 1.1 and best.size_bytes > 0.9 * plain.size_bytes:
        return f"not worth pruning beyond int8: {told}"
    return told


def _best(variants: list[VariantRecord]) -> VariantRecord:
    """The smallest file among those that no other is surely faster than: whose interval overlaps the fastest's."""
    fastest = max(variants, key=lambda variant: variant.sentence.speedup)
    rivals = [each for each in variants if each.sentence.speedup_high >= fastest.sentence.speedup_low]
    return min(rivals, key=lambda variant: variant.size_bytes)
