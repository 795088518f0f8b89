"""Who takes part: networks made from the same trained model, and the engines that run them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import isslim
from benchmarks.baseline import Baseline, baseline
from benchmarks.peers import plain, pruners
from isslim.compress.errors import BudgetNotMet
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import (
    LstmLanguageModel,
    LstmSpec,
    declare,
    from_arrays,
)
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Arrays
from isslim.compress.training.plan import TrainingPlan

ENVIRONMENTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "onnxruntime": (("onnxruntime==1.32.0", "onnx==1.23.2"), False),
    "openvino": (("openvino==2026.4.1", "nncf==3.4.0"), False),
    "torch": ((), True),
}
"""By engine: what pip installs, and whether torch is shared with this environment."""


@dataclass(frozen=True)
class Contestant:
    """A row of the comparison.

    Attributes:
        tool: its name.
        engine: a key of `ENVIRONMENTS`.
        file: a graph, or the weights of `plain`; None: there is nothing to measure.
        int8: whether the engine's own tool quantizes it.
        note: what a reader of the row should know.
    """

    tool: str
    engine: str = "onnxruntime"
    file: Path | None = None
    int8: bool = False
    note: str = ""


@dataclass(frozen=True)
class Ours:
    """What isslim made of the model.

    Attributes:
        contestants: its graphs.
        mult_adds: of the compressed network, per token.
        seconds: that it took.
    """

    contestants: list[Contestant]
    mult_adds: int
    seconds: float


def contestants(
    dense: Baseline, folder: Path, train_small: Callable[[int], Baseline]
) -> Iterator[Contestant]:
    """Makes every network, and yields its rows.

    Args:
        dense: the trained model.
        folder: for files.
        train_small: the same training at a smaller width.
    """
    whole = axes.mult_adds(dense.network.declaration())
    graph, weights = folder / "original.onnx", folder / "original.npz"
    export(dense.network, graph)
    arrays = plain_arrays(dense.network)
    plain.save(weights, arrays)
    yield Contestant("original", file=graph, note="float32, ONNX Runtime")
    yield Contestant("ONNX Runtime int8", file=graph, int8=True, note="quantize_dynamic")
    yield Contestant("OpenVINO", "openvino", graph, note="float32")
    yield Contestant("OpenVINO int8", "openvino", graph, True, "nncf.quantize")
    yield Contestant("torch", "torch", weights, note="float32")
    yield Contestant("torch int8", "torch", weights, True, "quantize_dynamic")
    ours = compressed(dense, folder)
    yield from ours.contestants
    fewer = f"{whole / ours.mult_adds:.2f}x fewer multiply-adds"
    width = same_work(dense.network.spec, ours.mult_adds)
    small = folder / "small.onnx"
    export(train_small(width).network, small)
    note = f"2 layers of {width}, trained from scratch for as many epochs as the original, {fewer}"
    yield from _as_graph("smaller dense", small, note)
    try:
        share = 1 - width / dense.network.spec.units[0]
        pruned = pruners.torch_ao(plain.from_arrays(arrays), share)
        steps = plain.tune(pruned, dense.train.numpy(), ours.seconds)
    except Exception as error:  # another tool may raise anything: its row says what
        yield Contestant("torch.ao pruner", note=f"{type(error).__name__}: {error}")
    else:
        small = folder / "torch-ao.onnx"
        export(from_arrays(own_arrays(plain.arrays_of(pruned)), tied=False), small)
        note = (
            f"LSTMSaliencyPruner, {share:.0%} of the units of each layer, then {steps} steps of "
            f"training: the {ours.seconds:.0f} s that isslim took"
        )
        yield from _as_graph("torch.ao pruner", small, note)
    yield Contestant(
        "TinyNeuralNetwork pruner",
        note="not measured: it is published as source alone, and pip has no package of it",
    )


def compressed(dense: Baseline, folder: Path) -> Ours:
    """What `isslim.compress` makes of the model, with its default options.

    Args:
        dense: the trained model.
        folder: for files.
    """
    model = plain.from_arrays(plain_arrays(dense.network))
    began = time.monotonic()
    try:
        found = isslim.compress(
            model,
            dense.train,
            held_out=dense.valid,
            vocabulary=dense.words,
            form="free",
            folder=folder / "isslim",
        )
    except BudgetNotMet as answer:
        smallest = axes.mult_adds(dense.network.declaration()) // 2
        return Ours([Contestant("isslim", note=str(answer))], smallest, time.monotonic() - began)
    seconds = time.monotonic() - began
    report, rows = found.report, []
    advice = report.verdict if report.conclusions is None else report.conclusions.advice
    for name in found.variants:
        if name != "original":
            path = found.to_onnx(folder / f"isslim-{name}.onnx", name)
            note = "int8 alone" if name.startswith("original") else f"{advice} ({seconds:.0f} s)"
            rows.append(Contestant(f"isslim: {name}", file=path, note=note))
    return Ours(rows, found.variants["compressed"].mult_adds, seconds)


def same_work(spec: LstmSpec, mult_adds: int) -> int:
    """The width at which a network of equal widths has about this many multiply-adds.

    Args:
        spec: of the original.
        mult_adds: per token.
    """

    def off(width: int) -> int:
        small = LstmSpec(spec.vocabulary, width, (width,) * len(spec.units))
        return abs(axes.mult_adds(declare(small)) - mult_adds)

    return min(range(1, spec.units[0] + 1), key=off)


def smaller(corpus: str, recipe: TrainingPlan) -> Callable[[int], Baseline]:
    """The training of a baseline at any width.

    Args:
        corpus: as `baseline` takes it.
        recipe: of the original.
    """
    return lambda width: baseline(corpus, width, recipe=recipe)


def plain_arrays(network: LstmLanguageModel) -> Arrays:
    """The arrays of a network whose layers have one size, by the names of `plain`."""
    return {_plain_name(name): array for name, array in network.arrays().items()}


def own_arrays(arrays: Arrays) -> Arrays:
    """The same back: the names of `LstmLanguageModel`."""
    found = {}
    for name, array in arrays.items():
        if name.startswith("lstm."):
            kind, _, layer = name.removeprefix("lstm.").rpartition("_l")
            name = f"layers.{layer}.{kind}_l0"
        found[name] = array
    return found


def _plain_name(name: str) -> str:
    """`layers.1.weight_ih_l0` -> `lstm.weight_ih_l1`."""
    if not name.startswith("layers."):
        return name
    _, layer, kind = name.split(".")
    return f"lstm.{kind.removesuffix('0')}{layer}"


def _as_graph(tool: str, graph: Path, note: str) -> Iterator[Contestant]:
    yield Contestant(tool, file=graph, note=f"{note}; float32, ONNX Runtime")
    yield Contestant(f"{tool}, int8", file=graph, int8=True, note="quantize_dynamic")
