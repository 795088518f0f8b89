"""The latency of a network on this host as a function of its sizes, fitted to a few measurements.

Multiply-adds predict latency poorly: the decoder streams one large matrix, a recurrent product
waits for the step before it, a look-up has none, and every operator costs its dispatch, however
narrow it is. So networks of a few sizes are timed in the form in which they are served, and the
time of any other is a sum over what it does:

    milliseconds = fixed + sum over terms of rate * amount

with rates that are not negative, fitted to the relative errors. A term is the multiply-adds of a
kind of product (`_terms`), the units of recurrent layers, or a number of operators. `fixed` holds
what no removal changes: the look-up, the log-softmax over the vocabulary, the runtime.

A recurrence of limited rank is no operator of ONNX: it runs as a Scan, whose steps each cost their
dispatch. So it has terms of its own, and below some size the plain layer is faster though it
multiplies more.

Predictions are never published. On a busy machine the times are CPU times
(`isslim/runtime/clock.py`); a curve that does not fit its own measurements is not used.

Legend: F terms, M measured networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isslim.compress.export.int8_forms import Form
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.export.int8 import quantize_network
from isslim.compress.kinds.language.export.stacked import Recurrence
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel
from isslim.compress.kinds.language.networks.names import DECODER, EMBEDDING
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.pruning import axes, blocks
from isslim.compress.pruning.axes import (
    Arrays,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
)
from isslim.compress.pruning.narrow import BOTTLENECK, insert, may_narrow_softmax
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession
from isslim.types.axis_names import is_units, units_of_recurrence
from isslim.types.wording import axis_name

ROUNDS = 2000
"""Rounds of coordinate descent."""
TRUSTED = 0.15
"""Largest relative error for which a curve is used instead of a count of multiply-adds."""
SERIES, PAIRS = 4, 11
"""How often all networks are timed at most, until two times agree, and in how many rounds each."""
LONG, FEW_PAIRS = 4e9, 5
"""Multiply-adds from which a run is long, and the rounds then."""
CACHED = 1_500_000
"""Weights of a recurrence that a processor's own cache holds in int8: more are read again from
memory at every step."""
FIXED = "fixed"
BASELINE = "all layers at 60% of their size"
"""The measured network that all others are timed against."""


@dataclass(frozen=True)
class LatencyCurve:
    """The time of a run as a function of sizes.

    Attributes:
        rates: milliseconds for each term's unit.
        error: the largest relative difference from what was measured, or between two measurements
            of one network.
    """

    rates: Mapping[str, float]
    error: float

    @property
    def is_trusted(self) -> bool:
        """Whether the times can be repeated, and the curve fits them."""
        return self.error <= TRUSTED

    def milliseconds(self, declaration: NetworkAxes) -> float:
        """The predicted time of a run of a network of these sizes."""
        return shortest([self], declaration)


def shortest(curves: Sequence[LatencyCurve], declaration: NetworkAxes) -> float:
    """The predicted time of a run in the form that is fastest at these sizes.

    Args:
        curves: of each form, in milliseconds.
        declaration: a network's axes, which are read once for all curves.
    """
    terms = _terms(declaration)
    return min(
        sum(curve.rates.get(term, 0.0) * each for term, each in terms.items()) for curve in curves
    )


def fit(declarations: Sequence[NetworkAxes], *series: Sequence[float]) -> LatencyCurve:
    """Fits a curve to measured networks.

    Args:
        declarations: axes of M networks.
        series: milliseconds of each, (M,), positive; once or several times.

    Raises:
        ValueError: when there is nothing to fit, or a time is not positive.
    """
    every = [np.array(times, dtype=np.float64) for times in series]
    if not declarations or any(
        len(times) != len(declarations) or not (times > 0).all() for times in every
    ):
        raise ValueError(
            f"expected a positive time for each of {len(declarations)} networks, got "
            f"{[times.tolist() for times in every]}"
        )
    times = np.mean(every, axis=0)
    amounts = [_terms(each) for each in declarations]
    terms = list(dict.fromkeys(term for each in amounts for term in each))
    design = np.array([[each.get(term, 0.0) for term in terms] for each in amounts])  # (M, F)
    scale = np.maximum(design.max(axis=0), 1e-30)
    # Relative errors: the time of a small network matters as much as that of the original.
    rates = _not_negative(design / scale / times[:, None], np.ones(len(times))) / scale
    missed = float(np.abs(design @ rates / times - 1).max())
    differing = float((np.max(every, axis=0) / np.min(every, axis=0) - 1).max())
    return LatencyCurve(dict(zip(terms, rates.tolist(), strict=True)), max(missed, differing))


def measure_curve(  # noqa: PLR0913 - a network, a run, and how it is timed
    network: LanguageModel,
    folder: Path,
    progress: Callable[[float, str], None] = lambda done, message: None,
    *,
    steps: int,
    batch: int,
    int8: bool = True,
    recurrence: Recurrence = "narrow",
    pairs: int | None = None,
) -> LatencyCurve:
    """Times networks of a few sizes and fits a curve to them, on one thread.

    Args:
        network: the original; the smaller ones are cut from it, since weights do not matter.
        folder: for the graphs, which are deleted afterwards.
        progress: called with the share done and a message.
        steps: tokens of each sequence of a run.
        batch: sequences of a run.
        int8: whether graphs are timed in int8, where they have such a form.
        recurrence: which layers are written as a Scan; see `export`.
        pairs: rounds of a comparison; None: `PAIRS`, or fewer of long runs.
    """
    declarations: list[NetworkAxes] = []
    sessions: dict[str, LanguageSession] = {}
    unit = 0.0
    if pairs is None:
        work = axes.mult_adds(network.declaration()) * steps * batch
        pairs = PAIRS if work < LONG else FEW_PAIRS
    source, target = folder / "curve.onnx", folder / "curve-int8.onnx"
    samples = _samples(network)
    try:
        form = _served(network, (source, target), steps, batch) if int8 else None
        for name, arrays, declaration in samples:
            cut = network.rebuilt(arrays)
            export(cut, source)
            smaller = form is not None and quantize_network(cut, source, target, form).parts
            sessions[name] = LanguageSession(target if smaller else source, threads=1)
            declarations.append(declaration)
            progress(0.5 * len(sessions) / len(samples), f"latency curve: a graph with {name}")
    finally:
        for path in (source, target):
            path.unlink(missing_ok=True)
    series: list[list[float]] = []
    best: LatencyCurve | None = None
    while len(series) < SERIES and (best is None or not best.is_trusted):
        timed = compare(sessions, steps=steps, batch=batch, pairs=pairs, baseline=BASELINE)
        # The machine's speed drifts between rounds, hardly within one: so ratios are kept.
        unit = unit or timed[BASELINE].milliseconds
        series.append([unit / timed[name].speedup for name in sessions])
        curves = [fit(declarations, series[-1], other) for other in series[:-1]]
        best = min([*([best] if best else []), *curves], key=lambda each: each.error, default=None)
        progress(0.5 + 0.5 * len(series) / SERIES, "latency curve: timing its graphs")
    return best or fit(declarations, *series)


def _served(network: LanguageModel, paths: tuple[Path, Path], steps: int, batch: int) -> Form:
    """The int8 form that is timed: with a GRU as a Scan where that of the original is faster.

    A narrow recurrence is timed as a Scan: without one, a rank saves no time.

    Args:
        network: the original.
        paths: of the graphs, which are replaced.
        steps: tokens of each sequence of a run.
        batch: sequences of a run.
    """
    scans, operators = Form(scans=True), Form()
    if not isinstance(network, GruLanguageModel):
        return scans
    source, target = paths
    export(network, source)
    sessions = {}
    for name, form in (("original", operators), ("scans", scans)):
        quantize_network(network, source, target, form)
        sessions[name] = LanguageSession(target)
    found = compare(sessions, steps=steps, batch=batch, pairs=PAIRS)
    return scans if found["scans"].speedup > 1 else operators


Sample = tuple[str, dict[str, axes.Array], NetworkAxes]
"""A network to time: in words what it is a network with, its arrays and its axes."""


def _samples(network: LanguageModel) -> list[Sample]:
    """Networks to time: all axes at some shares, one alone at a smaller one, and narrow layers."""
    declaration = network.declaration()
    units = [axis for axis in declaration.axes if axis != EMBEDDING]
    base = dict.fromkeys(declaration.axes, 0.6)
    shares = {
        "all layers at their full size": dict.fromkeys(declaration.axes, 1.0),
        BASELINE: base,
        "all layers at 35% of their size": dict.fromkeys(declaration.axes, 0.35),
    }
    embedding = [EMBEDDING] if EMBEDDING in declaration.axes else []
    for axis in (*units[:1], *units[-1:], *embedding):
        shares[f"{axis_name(axis)} at 20% of its size"] = base | {axis: 0.2}
    arrays = network.arrays()
    found = [(name, *_cut(arrays, declaration, share)) for name, share in shares.items()]
    return [*found, *_recurrent_samples(network), *_softmax_samples(network)]


def _recurrent_samples(network: LanguageModel) -> list[Sample]:
    """Networks with narrow layers between layers, and with recurrences of limited rank."""
    places = network.narrow_places()
    inputs = [place for place in places if not _is_recurrence(place.axis)]
    scans = [place for place in places if _is_recurrence(place.axis)]
    asked = [("narrow layers between layers", inputs, 0.6, 0.25)] if inputs else []
    if scans:
        asked += [
            (f"narrow recurrences and {share:.0%} of its units", scans, share, rank)
            for share, rank in ((1.0, 0.2), (0.6, 0.4), (0.35, 0.2))
        ]
    return [_narrow_sample(network, *each) for each in asked]


def _softmax_samples(network: LanguageModel) -> list[Sample]:
    """Networks with a narrow layer before the decoder, and with a decoder in two narrow blocks."""
    declaration = network.declaration()
    if not isinstance(network, StackedLanguageModel) or not may_narrow_softmax(declaration):
        return []
    found = [_narrow_sample(network, "a bottleneck before its softmax", [BOTTLENECK], 0.6, 0.2)]
    first = network.vocabulary // 4
    sizes, order = (first, network.vocabulary - first), np.arange(network.vocabulary)
    arrays, wider = blocks.split(network.arrays(), declaration, order, sizes)
    for block in range(len(sizes)):
        arrays, wider = insert(arrays, wider, blocks.place_of(block))
    shares = dict.fromkeys(wider.axes, 0.6) | {
        blocks.place_of(block).axis: rank for block, rank in enumerate((0.3, 0.1))
    }
    return [*found, ("its softmax in blocks", *_cut(arrays, wider, shares))]


def _narrow_sample(
    network: LanguageModel, name: str, places: Sequence[NarrowPlace], share: float, rank: float
) -> Sample:
    """A network with all axes at a share, and narrow layers at another of what they read."""
    arrays, declaration = network.arrays(), network.declaration()
    shares = dict.fromkeys(declaration.axes, share)
    for place in places:
        arrays, declaration = insert(arrays, declaration, place)
        shares[place.axis] = rank
    return name, *_cut(arrays, declaration, shares)


def _cut(
    arrays: Arrays, declaration: NetworkAxes, shares: Mapping[str, float]
) -> tuple[dict[str, axes.Array], NetworkAxes]:
    """A network with the first components of each axis, as many as its share says."""
    keep = {
        axis: np.arange(max(1, round(size * shares[axis])))
        for axis, size in declaration.axes.items()
    }
    return axes.select_components(arrays, declaration, keep)


def _terms(declaration: NetworkAxes) -> dict[str, float]:
    """What a network does for one token: by term, how much of it.

    Multiply-adds of products for all steps at once (`product`), of the decoder, of recurrences and
    of what of each exceeds the processor's cache, and of recurrences that run as a Scan; units of
    both kinds of recurrence; numbers of products and of Scans; whether a decoder is in blocks,
    whose logits are joined.
    """
    found = {FIXED: 1.0} | dict.fromkeys(("units", "products"), 0.0)
    recurrences = [place for place in declaration.narrow if _is_recurrence(place.axis)]
    scans = {units_of_recurrence(place.axis) for place in recurrences}
    for axis, size in declaration.axes.items():
        if is_units(axis):
            term = "scan units" if axis in scans else "units"
            found[term] = found.get(term, 0.0) + size
    if scans:
        found["scans"] = float(len(scans))
    if declaration.indices:
        found["blocks"] = 1.0
    for site in declaration.sites:
        for reader in site.readers:
            term = _term(declaration, site, reader)
            work = math.prod(axes.shape(declaration, reader.parameter))
            found[term] = found.get(term, 0.0) + work
            if term == "recurrent" and work > CACHED:
                found["uncached"] = found.get("uncached", 0.0) + work - CACHED
            found["products"] += term == "decoder"
    narrow = len(declaration.narrow) - len(recurrences)
    return found | {"products": found["products"] + narrow}


def _term(declaration: NetworkAxes, site: PreActivation, reader: InputMatrix) -> str:
    """The kind of a product."""
    rows, columns = (_axis(declaration, reader.parameter, dimension) for dimension in (0, 1))
    if site.name == DECODER or (site.name.startswith(f"{DECODER}.") and rows is None):
        return "decoder"
    if _is_recurrence(rows) or _is_recurrence(columns):
        return "scan"
    return "recurrent" if rows == columns else "product"


def _is_recurrence(axis: str | None) -> bool:
    """Whether an axis is the rank of a recurrence, which then runs as a Scan."""
    return axis is not None and units_of_recurrence(axis) is not None


def _axis(declaration: NetworkAxes, name: str, dimension: int) -> str | None:
    """The axis of an array's dimension; None where it has none."""
    return declaration.dimensions[name][dimension][0].axis


def _not_negative(design: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares by coordinate descent; the problem is convex, so it converges.

    Args:
        design: (M, F).
        wanted: (M,).

    Returns:
        (F,).
    """
    gram, right = design.T @ design, design.T @ wanted
    found = np.zeros(len(right))
    for _ in range(ROUNDS):
        for index in range(len(found)):
            rest = right[index] - gram[index] @ found + gram[index, index] * found[index]
            found[index] = max(0.0, rest / max(gram[index, index], 1e-30))
    return found
