"""How far a graph's outputs are from the original's, as a loss that can be differentiated.

Each output has the loss of its kind (`output_kinds`): a squared error, or a divergence of Kullback
and Leibler. All are shares of what the best constant answer would lose, so that outputs of several
kinds and scales add up: 0 is equal, 1 as bad as a constant.

Legend: C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from isslim.compress.kinds.graphs.comparing import Outputs
from isslim.compress.kinds.graphs.distilling.output_kinds import OutputKind

LEAST = 1e-7
"""Of a probability: float32 knows none nearer to 1."""
LEAST_LOG = -100.0
"""Of a logarithm of one."""
LEAST_SPREAD = 1e-4
"""Of what a constant would lose, in nats, for distributions that hardly vary."""


@dataclass(frozen=True)
class Sums:
    """Losses of one output over some entries.

    Attributes:
        total: their sum, a scalar.
        count: of rows, or of single numbers.
    """

    total: Tensor
    count: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.total + other.total, self.count + other.count)


@dataclass(frozen=True)
class OutputLosses:
    """The losses of a graph's outputs.

    Attributes:
        kinds: of the outputs that count.
        scales: by output what the best constant answer loses, per row or number.
    """

    kinds: Mapping[str, OutputKind]
    scales: Mapping[str, float]

    @classmethod
    def of(cls, kinds: Mapping[str, OutputKind], wanted: Iterable[Outputs]) -> OutputLosses:
        """Losses in terms of how much the original's answers vary.

        Args:
            kinds: of the outputs that count.
            wanted: the original's outputs of every run.
        """
        runs = list(wanted)
        scales = {
            name: _spread([_tensor(run[name]) for run in runs], kind)
            for name, kind in kinds.items()
        }
        return cls(dict(kinds), scales)

    def sums(self, found: Mapping[str, Tensor], wanted: Outputs) -> dict[str, Sums]:
        """The losses of one run, by output.

        Args:
            found: a network's outputs.
            wanted: the original's, of the same shapes.
        """
        made = {}
        for name, kind in self.kinds.items():
            made[name] = _MEASURES[kind.family](
                found[name].float(), _tensor(wanted[name]), kind.axis
            )
        return made

    def mean(self, sums: Mapping[str, Sums]) -> Tensor:
        """The loss over all outputs, a scalar: the mean of their shares."""
        shares = [
            each.total / max(each.count, 1) / self.scales[name] for name, each in sums.items()
        ]
        return torch.stack(shares).mean()


def added(one: Mapping[str, Sums], other: Mapping[str, Sums]) -> dict[str, Sums]:
    """Losses of two runs together.

    Args:
        one: by output.
        other: of the same outputs; or none yet.
    """
    return {name: one[name] + each if name in one else each for name, each in other.items()}


def state_error(found: Tensor, wanted: Tensor) -> Tensor:
    """The squared error of a state that is returned, as a share of its variance; a scalar.

    Args:
        found: with zeros where units are gone, which count for nothing.
        wanted: the original's, of the same shape.
    """
    there = found.detach() != 0
    if not there.any():
        return found.sum() * 0.0
    errors, values = torch.square(found - wanted)[there], wanted[there]
    return errors.mean() / torch.clamp(torch.square(values - values.mean()).mean(), min=1e-12)


def _tensor(array: object) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32).copy())


def _squares(found: Tensor, wanted: Tensor, axis: int) -> Sums:
    """Squared differences of single numbers; minus infinity, as a mask, counts for nothing."""
    finite = torch.isfinite(wanted)
    differences = torch.where(finite, found - torch.where(finite, wanted, 0.0), 0.0)
    return Sums(torch.square(differences).sum(), int(finite.sum()))


def _divergence(found: Tensor, wanted: Tensor, axis: int) -> Sums:
    """Between distributions over classes, per row."""
    logs = torch.log(torch.clamp(found, min=LEAST))
    return _from_logs(logs, torch.log(torch.clamp(wanted, min=LEAST)), axis)


def _from_logs(found: Tensor, wanted: Tensor, axis: int) -> Sums:
    """The same of log-probabilities; what hardly ever happens counts for nothing."""
    happens = wanted > math.log(LEAST)
    whole = torch.where(happens, wanted, 0.0)
    ours = torch.where(happens, torch.clamp(found, min=LEAST_LOG), 0.0)
    divergence = torch.exp(whole) * (whole - ours)
    return Sums(divergence.sum(), max(1, wanted.numel() // _size(wanted, axis)))


def _size(tensor: Tensor, axis: int) -> int:
    return max(1, tensor.shape[axis]) if tensor.ndim else 1


def _chances(found: Tensor, wanted: Tensor, axis: int) -> Sums:
    """Between chances of single events."""
    ours, whole = (torch.clamp(each, LEAST, 1 - LEAST) for each in (found, wanted))
    divergence = whole * torch.log(whole / ours) + (1 - whole) * torch.log((1 - whole) / (1 - ours))
    return Sums(divergence.sum(), wanted.numel())


_MEASURES = {
    "numbers": _squares,
    "probabilities": _divergence,
    "log-probabilities": _from_logs,
    "chances": _chances,
}


def _spread(wanted: list[Tensor], kind: OutputKind) -> float:
    """What the best constant answer loses, per row or number."""
    if kind.family == "numbers":
        values = torch.cat([each[torch.isfinite(each)].double() for each in wanted])
        # A constant output is told in terms of its size, zeros in units.
        spread = float(values.var(correction=0)) if values.numel() else 0.0
        return spread or (float(torch.square(values).mean()) if values.numel() else 0.0) or 1.0
    if kind.family == "chances":
        mean = torch.cat([each.flatten() for each in wanted]).mean()
        answers = [mean.expand_as(each) for each in wanted]
    else:
        taken = torch.exp if kind.family == "log-probabilities" else torch.clone
        rows = [taken(each).movedim(kind.axis, -1).flatten(0, -2) for each in wanted]
        mean = torch.cat(rows).mean(0)
        if kind.family == "log-probabilities":
            mean = torch.log(mean)
        shaped = [mean.expand(*each.movedim(kind.axis, -1).shape) for each in wanted]
        answers = [each.movedim(-1, kind.axis) for each in shaped]
    measure = _MEASURES[kind.family]
    pairs = zip(answers, wanted, strict=True)
    sums = [measure(answer, each, kind.axis) for answer, each in pairs]
    lost = sum(float(each.total) for each in sums) / max(sum(each.count for each in sums), 1)
    return max(lost, LEAST_SPREAD)
