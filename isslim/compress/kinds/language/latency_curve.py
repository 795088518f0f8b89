"""The latency of a network on this host as a function of its sizes, fitted to a few measurements.

Multiply-adds predict latency poorly: the decoder streams one large matrix, a recurrent product
waits for the step before it, and a look-up has none. So networks of a few sizes are timed, and the
time of any other is interpolated by the cost of each site:

    milliseconds = fixed + sum over sites of rate_s * (multiply-adds of site s)

with rates that are not negative, fitted to the relative errors. A removal is then valued by the
milliseconds that it saves on this host. Predictions are never published: every candidate of a speed
budget is timed (`search`). On a busy machine the times are CPU times (`isslim/runtime/clock.py`); a
curve that does not fit its own measurements is not used.

Legend: S sites, M measured networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.pruning import axes
from isslim.compress.pruning.axes import Keep, NetworkAxes
from isslim.compress.pruning.blocks import DECODER, block_sizes, site_of
from isslim.runtime.language.latency import compare
from isslim.runtime.language.session import LanguageSession
from isslim.types.manifest import PRIMARY_SHAPE

SHARES = (0.75, 0.5, 0.25)
"""Shares of all axes together that are measured; each axis alone is measured at half."""
ROUNDS = 2000
"""Rounds of coordinate descent."""
TRUSTED = 0.15
"""Largest relative error on its own measurements for which a curve is used instead of a count of
multiply-adds."""


@dataclass(frozen=True)
class LatencyCurve:
    """The time of a run as a function of sizes.

    Attributes:
        fixed: milliseconds that no removal saves.
        rates: milliseconds per multiply-add of each site.
        error: the largest relative error on the measured networks.
    """

    fixed: float
    rates: dict[str, float]
    error: float

    @property
    def is_trusted(self) -> bool:
        """Whether the curve fits its measurements."""
        return self.error <= TRUSTED

    def milliseconds(self, declaration: NetworkAxes) -> float:
        """The predicted time of a run of a network of these sizes.

        A narrow layer, which was not measured, has the rate of the site that it stands before, and
        a block of the decoder that of the whole.
        """
        rates = dict(self.rates)
        for block in range(len(block_sizes(declaration))):
            rates.setdefault(site_of(block), rates.get(DECODER, 0.0))
        for place in reversed(declaration.narrow):
            rates.setdefault(place.name, rates[place.site])
        return self.fixed + sum(rates[site] * work for site, work in _work(declaration).items())


def fit(declarations: Sequence[NetworkAxes], milliseconds: Sequence[float]) -> LatencyCurve:
    """Fits a curve to measured networks.

    Args:
        declarations: axes of M networks that differ in sizes only.
        milliseconds: the time of each, (M,), positive.

    Raises:
        ValueError: when there is nothing to fit, or a time is not positive.
    """
    times = np.array(milliseconds, dtype=np.float64)
    if len(times) == 0 or len(times) != len(declarations) or not (times > 0).all():
        raise ValueError(
            f"expected a positive time for each of {len(declarations)} networks, got "
            f"{times.tolist()}"
        )
    sites = list(_work(declarations[0]))
    design = np.array([[1.0, *_work(each).values()] for each in declarations])  # (M, 1 + S)
    scale = design.max(axis=0)
    # Relative errors: the time of a small network matters as much as that of the original.
    rates = _not_negative(design / scale / times[:, None], np.ones(len(times))) / scale
    error = float(np.abs(design @ rates / times - 1).max())
    return LatencyCurve(float(rates[0]), dict(zip(sites, rates[1:].tolist(), strict=True)), error)


def measure_curve(
    network: LanguageModel,
    folder: Path,
    progress: Callable[[float, str], None] | None = None,
    pairs: int = 9,
) -> LatencyCurve:
    """Times networks of a few sizes and fits a curve to them.

    Each is timed at `PRIMARY_SHAPE` with one thread, interleaved with the original.

    Args:
        network: the original; the smaller ones are cut from it, since weights do not matter.
        folder: for the graphs, which are deleted afterwards.
        progress: called with the share done and a message.
        pairs: rounds of each comparison.
    """
    declaration, steps, batch = network.declaration(), *PRIMARY_SHAPE
    export(network, folder / "curve-original.onnx")
    first = LanguageSession(folder / "curve-original.onnx", threads=1)
    kept = _samples(declaration)
    declarations, ratios, originals = [declaration], [1.0], list[float]()
    for index, keep in enumerate(kept):
        arrays, smaller = axes.select_components(network.arrays(), declaration, keep)
        export(network.rebuilt(arrays), folder / "curve.onnx")
        sessions = {"original": first, "smaller": LanguageSession(folder / "curve.onnx", threads=1)}
        timed = compare(sessions, steps=steps, batch=batch, pairs=pairs)
        declarations.append(smaller)
        # The machine's speed drifts between comparisons, hardly within one. So ratios are kept, and
        # multiplied by one time of the original.
        ratios.append(1 / timed["smaller"].speedup)
        originals.append(timed["original"].milliseconds)
        if progress is not None:
            progress((index + 1) / len(kept), f"latency curve: {len(kept) - index - 1} sizes to go")
    whole = float(np.median(originals))
    for name in ("curve-original.onnx", "curve.onnx"):
        (folder / name).unlink(missing_ok=True)
    return fit(declarations, [whole * ratio for ratio in ratios])


def _samples(declaration: NetworkAxes) -> list[Keep]:
    """Networks to time beside the original: all axes at `SHARES`, and each axis alone at half."""
    together = [
        {axis: _first(size, share) for axis, size in declaration.axes.items()} for share in SHARES
    ]
    return [*together, *({axis: _first(size, 0.5)} for axis, size in declaration.axes.items())]


def _first(size: int, share: float) -> NDArray[np.int64]:
    return np.arange(max(1, round(size * share)))


def _work(declaration: NetworkAxes) -> dict[str, int]:
    """Multiply-adds of each site for one token."""
    return {
        site.name: sum(
            math.prod(axes.shape(declaration, reader.parameter)) for reader in site.readers
        )
        for site in declaration.sites
    }


def _not_negative(design: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares by coordinate descent; the problem is convex, so it converges.

    Args:
        design: (M, 1 + S).
        wanted: (M,).

    Returns:
        (1 + S,).
    """
    gram, right = design.T @ design, design.T @ wanted
    found = np.zeros(len(right))
    for _ in range(ROUNDS):
        for index in range(len(found)):
            rest = right[index] - gram[index] @ found + gram[index, index] * found[index]
            found[index] = max(0.0, rest / max(gram[index, index], 1e-30))
    return found
