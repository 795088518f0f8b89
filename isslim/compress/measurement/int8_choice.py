"""Chooses the int8 form in which a network is published, by each form's cost in quality.

The precision that a model needs cannot be seen in its weights: one scale for a matrix costs some
models nothing and others several percent of perplexity (`benchmarks.int8_forms`). So forms are
tried, the fastest first, until one costs next to nothing. The original's int8 form is chosen by the
same code as the compressed model's, from a graph in the same normal form: pruning is compared
with the best form of int8 alone.

Whether a layer is faster as a Scan of int8 products than as ONNX Runtime's operator (of a GRU or
RNN the float32 one, of a narrow recurrence that of the whole matrix) depends on its size and on the
processor (`benchmarks.int8_cells`): both graphs are timed on this host, at the shape of the
primary latency, before the forms are tried.

Convolutions take 8 bits last: where a comparison of the same kind finds the graph surely faster
with them, and it still keeps to the budget.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

from isslim.compress.contract import ModelTask
from isslim.compress.export.int8_forms import FORMS, EightBit, Form, Part, Ranges
from isslim.compress.measurement.scans import scans_are_faster, steady_comparison
from isslim.compress.pruning.network import Model
from isslim.types.kinds.registry import kind_named
from isslim.types.quality import compared_loss, metric_format_of

NOTHING = 1 / 20
"""Of the budget of quality: a form that costs no more is good enough."""
TOO_MUCH = 2 / 5
"""Of the budget of quality: where every form costs more, a part of the network may stay float32."""
AS_GOOD = 2.0
"""Short of that, a form that costs up to so many times what the best one does is taken for the time
that it saves."""
GAIN = 1.03
"""How many times as fast convolutions in 8 bits surely have to make a graph: they cost quality."""
_CHEAPEST_TO_KEEP = (
    Part.EMBEDDING, Part.HIGHWAYS, Part.SOFTMAX, Part.PRODUCTS, Part.RECURRENT,
)  # fmt: skip
"""A table in float32 takes no more time, only memory; recurrent layers take the most time."""

Option = TypeVar("Option")


@dataclass(frozen=True)
class Int8Choice:
    """An int8 graph.

    Attributes:
        form: how its weights take 8 bits; None where nothing can.
        eight_bit: what takes 8 bits and what does not.
        remark: what was tried of its convolutions; empty where there are none.
    """

    form: Form | None
    eight_bit: EightBit
    remark: str = ""

    @property
    def description(self) -> str | None:
        """The form, in words."""
        if self.form is None:
            return None
        return "; ".join(filter(None, (self.form.description, self.remark)))


@dataclass(frozen=True)
class _Written:
    form: Form
    eight_bit: EightBit
    path: Path


@dataclass(frozen=True)
class _Tried:
    written: _Written
    cost: float


def write_int8(
    task: ModelTask[Model], network: Model, source: Path, target: Path, original: Path
) -> Int8Choice:
    """Writes the int8 form of a network that serves it best.

    Args:
        task: what measures quality.
        network: of the task.
        source: its float32 graph, as `task.export` wrote it.
        target: the file to write; there is none afterwards where nothing takes 8 bits.
        original: the float32 graph of the original.

    Returns:
        The fastest form that costs at most `NOTHING` of the budget; without one, the fastest that
        costs no more than `TOO_MUCH` and `AS_GOOD` times the least; without one, that which costs
        least, unless the form with a scale per column gets below `TOO_MUCH` with one part in
        float32. Recurrent layers, of which most of the time is, are that part only where the whole
        budget would be spent. Where an evaluation takes too long (`task.quick_loss` is None), the
        most precise form. Int8 Scans are in all forms or in none, see `scans_are_faster`.
        Convolutions take 8 bits where that is faster by `GAIN` and keeps to the budget.
    """
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="int8-") as folder:
        paths = (Path(folder) / f"{number}.onnx" for number in count())

        def written(form: Form) -> _Written:
            path = next(paths)
            eight_bit = task.quantize(network, source, path, form)
            return _Written(replace(form, scans=eight_bit.scans), eight_bit, path)

        best = _best(task, source, _fastest(task, source, written), written)
        best, remark = _with_convolutions(task, (original, source), best, written)
        if not best.eight_bit.parts:
            return Int8Choice(None, best.eight_bit, remark)
        best.path.replace(target)
        return Int8Choice(best.form, best.eight_bit, remark)


def _fastest(task: ModelTask[Model], source: Path, written: Callable[[Form], _Written]) -> _Written:
    """The fastest form; with int8 Scans where they pay."""
    scans = written(replace(FORMS[0], scans=True))
    if not scans.form.scans:
        return scans
    operators = written(FORMS[0])
    path = operators.path if operators.eight_bit.parts else source
    return scans if scans_are_faster(task, path, scans.path) else operators


def _best(
    task: ModelTask[Model], source: Path, fastest: _Written, written: Callable[[Form], _Written]
) -> _Written:
    """The form to take: see `write_int8`."""
    base, scans = task.quick_loss(source), fastest.form.scans
    if base is None:
        return written(replace(FORMS[-1], scans=scans))
    budget = _budget(task)

    def tried(each: _Written) -> _Tried:
        return _tried(task, each, base)

    there = [
        part
        for part in _CHEAPEST_TO_KEEP
        if any(each.endswith(part) for each in fastest.eight_bit.parts)
    ]
    others = (
        tried(written(replace(form, scans=scans))) for form in FORMS[1:] if _differs(form, there)
    )
    best = choose_form(chain([tried(fastest)], others), budget, lambda each: each.cost)
    if best.cost > TOO_MUCH * budget and len(there) > 1:
        kept = [part for part in there if part != Part.RECURRENT or best.cost > budget]
        milder = (
            tried(written(replace(FORMS[-1], scans=scans, kept=frozenset({part})))) for part in kept
        )
        best = next((each for each in milder if each.cost <= TOO_MUCH * budget), best)
    return best.written


def _tried(task: ModelTask[Model], each: _Written, base: float) -> _Tried:
    """What a form costs in quality, against the float32 graph's quick loss."""
    found = task.quick_loss(each.path) if each.eight_bit.parts else base
    cost = math.inf if found is None else found - base
    return _Tried(each, math.inf if math.isnan(cost) else cost)


def _budget(task: ModelTask[Model]) -> float:
    """The budget of quality, or of another budget what is usual."""
    return task.recipe.budget.quality or kind_named(task.task).default_budget.quality or 0.0


def _with_convolutions(
    task: ModelTask[Model],
    floats: tuple[Path, Path],
    best: _Written,
    written: Callable[[Form], _Written],
) -> tuple[_Written, str]:
    """A form with its convolutions in 8 bits as well, if that pays, and a remark on what was tried.

    Args:
        task: what measures quality.
        floats: the float32 graphs of the original, and of the network.
        best: the form without.
        written: writes a form.
    """
    original, source = floats
    if Part.CONVOLUTIONS not in best.eight_bit.rest:
        return best, ""
    tries = (written(replace(best.form, convolutions=each)) for each in Ranges)
    first = next(tries)
    base = task.quick_loss(source) if first.eight_bit.convolutions else None
    if base is None:
        return best, ""
    before = best.path if best.eight_bit.parts else source
    found = steady_comparison(task, {"original": before, "convolutions": first.path})
    if found is None:
        return best, "whether convolutions are faster in 8 bits could not be timed"
    speed = found["convolutions"]
    gain = f"with convolutions in 8 bits {speed.speedup:.2f} times as fast"
    if speed.speedup_low < GAIN:
        return best, f"{gain}: they stay float32"
    limit = _budget(task)
    chosen = choose_form(
        (_tried(task, each, base) for each in chain([first], tries)), limit, lambda each: each.cost
    ).written
    loss = task.loss(task.measure(chosen.path), task.measure(original))
    budget, estimate = task.recipe.budget, task.estimate(chosen.path, original)
    if not compared_loss(budget, loss, estimate) <= limit:
        lost = f"{metric_format_of(task.metric).in_sentence(loss)}, beyond the budget"
        return best, f"{gain} {lost}: they stay float32"
    return chosen, f"{gain} as without"


def _differs(form: Form, there: list[Part]) -> bool:
    """Whether a form differs from those before it in `FORMS`, for a graph with these parts."""
    products = bool({Part.HIGHWAYS, Part.SOFTMAX, Part.PRODUCTS} & set(there))
    return form.recurrent <= (Part.RECURRENT in there) and form.products <= products


def choose_form(forms: Iterable[Option], budget: float, cost: Callable[[Option], float]) -> Option:
    """The form to take, of which there is at least one: see `write_int8`.

    Args:
        forms: the fastest first; no more are asked for than have to be.
        budget: of quality.
        cost: of a form, in the budget's terms; below zero where it happens to do better than
            float32.
    """
    seen = []
    for each in forms:
        if cost(each) <= NOTHING * budget:
            return each
        seen.append(each)
    least = min(map(cost, seen))
    good = (each for each in seen if cost(each) <= min(AS_GOOD * least, TOO_MUCH * budget))
    return next(good, min(seen, key=cost))
