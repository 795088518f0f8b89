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

from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.names import DECODER, EMBEDDING
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Arrays, InputMatrix, NetworkAxes, PreActivation
from isslim.compress.pruning.narrow import BOTTLENECK, insert, may_narrow_softmax
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession
from isslim.types.axis_names import is_units

ROUNDS = 2000
"""Rounds of coordinate descent."""
TRUSTED, UNSTEADY = 0.15, 0.075
"""Largest relative error on its own measurements for which a curve is used instead of a count of
multiply-adds; and where the clock was not steady, so that the fit is all that there is to go by."""
STEADY = 0.75
"""Share of the measurements that are steady where the clock is said to be."""
CACHED = 1_500_000
"""Weights of a recurrence that a processor's own cache holds in int8: more are read again from
memory at every step."""
FIXED = "fixed"
BASELINE = "0.6"
"""The measured network that all others are timed against."""


@dataclass(frozen=True)
class LatencyCurve:
    """The time of a run as a function of sizes.

    Attributes:
        rates: milliseconds for each term's unit.
        error: the largest relative error on the measured networks.
        steady: whether their times were steady.
    """

    rates: Mapping[str, float]
    error: float
    steady: bool = True

    @property
    def is_trusted(self) -> bool:
        """Whether the curve fits what was measured."""
        return self.error <= (TRUSTED if self.steady else UNSTEADY)

    def milliseconds(self, declaration: NetworkAxes) -> float:
        """The predicted time of a run of a network of these sizes."""
        return sum(self.rates.get(term, 0.0) * each for term, each in _terms(declaration).items())


def fit(
    declarations: Sequence[NetworkAxes], milliseconds: Sequence[float], *, steady: bool = True
) -> LatencyCurve:
    """Fits a curve to measured networks.

    Args:
        declarations: axes of M networks.
        milliseconds: the time of each, (M,), positive.
        steady: whether these can be relied on.

    Raises:
        ValueError: when there is nothing to fit, or a time is not positive.
    """
    times = np.array(milliseconds, dtype=np.float64)
    if len(times) == 0 or len(times) != len(declarations) or not (times > 0).all():
        raise ValueError(
            f"expected a positive time for each of {len(declarations)} networks, got "
            f"{times.tolist()}"
        )
    amounts = [_terms(each) for each in declarations]
    terms = list(dict.fromkeys(term for each in amounts for term in each))
    design = np.array([[each.get(term, 0.0) for term in terms] for each in amounts])  # (M, F)
    scale = np.maximum(design.max(axis=0), 1e-30)
    # Relative errors: the time of a small network matters as much as that of the original.
    rates = _not_negative(design / scale / times[:, None], np.ones(len(times))) / scale
    error = float(np.abs(design @ rates / times - 1).max())
    return LatencyCurve(dict(zip(terms, rates.tolist(), strict=True)), error, steady)


def measure_curve(  # noqa: PLR0913 - a network, a run, and how it is timed
    network: LanguageModel,
    folder: Path,
    progress: Callable[[float, str], None] = lambda done, message: None,
    *,
    steps: int,
    batch: int,
    int8: bool = True,
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
        pairs: rounds of the comparison; None: as many as the clock needs.
    """
    declarations: dict[str, NetworkAxes] = {}
    sessions: dict[str, LanguageSession] = {}
    source, target = folder / "curve.onnx", folder / "curve-int8.onnx"
    samples = _samples(network)
    try:
        for name, arrays, declaration in samples:
            export(network.rebuilt(arrays), source)
            smaller = int8 and bool(quantize(source, target).parts)
            sessions[name] = LanguageSession(target if smaller else source, threads=1)
            declarations[name] = declaration
            progress(0.5 * len(sessions) / len(samples), f"latency curve: a graph of size {name}")
        timed = compare(sessions, steps=steps, batch=batch, pairs=pairs, baseline=BASELINE)
    finally:
        for path in (source, target):
            path.unlink(missing_ok=True)
    # The machine's speed drifts between rounds, hardly within one: so ratios are kept.
    unit = timed[BASELINE].milliseconds
    steady = np.mean([timed[name].steady for name in declarations]) >= STEADY
    return fit(
        list(declarations.values()),
        [unit / timed[name].speedup for name in declarations],
        steady=bool(steady),
    )


def _samples(network: LanguageModel) -> list[tuple[str, dict[str, axes.Array], NetworkAxes]]:
    """Networks to time: all axes at some shares, one alone at a smaller one, and narrow layers."""
    declaration = network.declaration()
    units = [axis for axis in declaration.axes if axis != EMBEDDING]
    base = dict.fromkeys(declaration.axes, 0.6)
    shares = {
        "1": dict.fromkeys(declaration.axes, 1.0),
        BASELINE: base,
        "0.35": dict.fromkeys(declaration.axes, 0.35),
        **{f"{axis} 0.2": base | {axis: 0.2} for axis in dict.fromkeys((*units[:1], *units[-1:]))},
    }
    if EMBEDDING in declaration.axes:
        shares[f"{EMBEDDING} 0.2"] = base | {EMBEDDING: 0.2}
    plain = network.arrays()
    found = [(name, *_cut(plain, declaration, share)) for name, share in shares.items()]
    if isinstance(network, StackedLanguageModel) and may_narrow_softmax(declaration):
        arrays, wider = insert(plain, declaration, BOTTLENECK)
        for width in (0.3, 0.1):
            name = f"{BOTTLENECK.axis} {width}"
            found.append((name, *_cut(arrays, wider, base | {BOTTLENECK.axis: width})))
    return found


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
    of what of each exceeds the processor's cache, and of recurrences that run as a Scan; units;
    and numbers of products and of Scans.
    """
    found = {FIXED: 1.0, "units": 0.0, "products": 0.0}
    narrow = {place.name for place in declaration.narrow if not _is_recurrent(place.axis)}
    for axis, size in declaration.axes.items():
        if is_units(axis):
            found["units"] += size
    for site in declaration.sites:
        for reader in site.readers:
            term = _term(declaration, site, reader)
            work = math.prod(axes.shape(declaration, reader.parameter))
            found[term] = found.get(term, 0.0) + work
            if term == "recurrent" and work > CACHED:
                found["uncached"] = found.get("uncached", 0.0) + work - CACHED
            if term == "scan" and is_units(str(_axis(declaration, reader.parameter, 0))):
                found["scans"] = found.get("scans", 0.0) + 1
        found["products"] += site.name.startswith(DECODER) or site.name in narrow
    return found


def _term(declaration: NetworkAxes, site: PreActivation, reader: InputMatrix) -> str:
    """The kind of a product."""
    rows, columns = (_axis(declaration, reader.parameter, dimension) for dimension in (0, 1))
    if site.name == DECODER or (site.name.startswith(f"{DECODER}.") and rows is None):
        return "decoder"
    if _is_recurrent(rows) or _is_recurrent(columns):
        return "scan"
    return "recurrent" if rows == columns else "product"


def _is_recurrent(axis: str | None) -> bool:
    """Whether an axis is the rank of a recurrence, which then runs as a Scan."""
    return axis is not None and axis.endswith(".recurrent")


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
