"""Measures what each axis loses when it alone is cut: on a short piece of data, in log-loss.

Losses in nats add up over axes nearly exactly while they are small (Penn Treebank, 2 x 400 units:
the product of two rises of perplexity 1.0369 * 1.0354 = 1.0737, both at once 1.0773), so that a few
measurements of each axis alone predict any combination.

What was measured is kept in the compression's folder: one that is killed does not measure it again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Generic

from isslim.compress.contract import ModelTask
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning.network import Model
from isslim.compress.pruning.ranking import RemovalPlan, cut
from isslim.compress.search.allocation.knobs import Knob
from isslim.store.files import atomic_file

SHARES = (0.3, 0.6, 0.15)
"""What is kept of an axis in the measurements of it, one round over all axes after the other."""
SECONDS = 30.0
"""CPU time after which no further round is begun that would end later; one is always made."""
MOST = 30.0
"""Nats at which a loss is cut off: worse than guessing, or not finite."""


@dataclass
class Probes(Generic[Model]):
    """The measurements of one network.

    Attributes:
        removal_plan: the order in which each axis shrinks.
        task: that measures.
        base: nats of the network before anything is cut.
        file: where measurements are kept.
        known: nats by what was cut.
        spent: CPU seconds that measuring took of all that was asked for, known already or not: so
            one that was killed ends after as many rounds as one that was not.
    """

    removal_plan: RemovalPlan
    task: ModelTask[Model]
    base: float
    file: Path
    known: dict[str, float] = field(default_factory=dict)
    spent: float = 0.0

    def __post_init__(self) -> None:
        order = json.dumps([self.removal_plan.order, dict(self.removal_plan.declaration.axes)])
        self._plan = sha256(order.encode()).hexdigest()
        self._ridges: dict[str, float] = {}
        self._seconds: dict[str, float] = {}  # of each measurement
        self._asked: set[str] = set()
        try:
            saved = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return
        if saved.get("plan") == self._plan:
            self.known, self._seconds = saved["losses"], saved.get("seconds", {})

    def loss(self, gone: Mapping[Knob, int]) -> float:
        """Nats that a cut loses, repaired in closed form; at most `MOST`.

        Args:
            gone: of each axis that is cut, the number of steps.
        """
        keep = self.removal_plan.declaration.all_components()
        for knob, count in gone.items():
            for axis, component in knob.removed(0, count):
                keep[axis] = keep[axis][keep[axis] != component]
        if not any(gone.values()):
            return 0.0
        name = ", ".join(
            f"{axis} {size}"
            for knob, count in gone.items()
            if count
            for axis, size in knob.sizes(count).items()
        )
        if name not in self.known:
            began = time.process_time()
            # A ridge depends little on which axis is cut how far.
            plan = self._with_narrow(gone)
            network = self.task.original.rebuilt(cut(plan, keep, ridges=self._ridges).arrays)
            found = self.task.probe_loss(network)
            lost = math.nan if found is None else found - self.base
            self.known[name] = min(lost, MOST) if math.isfinite(lost) else MOST
            self._seconds[name] = time.process_time() - began
            self._save()
        if name not in self._asked:
            self._asked.add(name)
            self.spent += self._seconds.get(name, 0.0)
        return self.known[name]

    def _with_narrow(self, gone: Mapping[Knob, int]) -> RemovalPlan:
        """The plan, in which a narrow layer that is cut stays, whether it pays or not.

        Of several axes at once those stay that pay, as in the search.
        """
        cut_axes = {axis for knob, count in gone.items() if count for axis in knob.axes}
        if len(gone) > 1:
            return self.removal_plan
        return replace(
            self.removal_plan,
            cost=lambda declaration: (
                -float(sum(place.axis in cut_axes for place in declaration.narrow))
            ),
        )

    def _save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.file) as partial:
            saved = {"plan": self._plan, "losses": self.known, "seconds": self._seconds}
            partial.write_text(json.dumps(saved))


def measured_losses(
    probes: Probes[Model], knobs: Sequence[Knob], progress: ProgressCallback
) -> list[dict[int, float]]:
    """Of each axis, nats by the number of steps of removal, at the sizes of `SHARES`.

    Args:
        probes: what measures.
        knobs: the axes.
        progress: called with the share done and a message.
    """
    found: list[dict[int, float]] = [{} for _ in knobs]
    before = probes.spent
    for round_, share in enumerate(SHARES):
        spent = probes.spent - before
        if round_ and spent * (round_ + 1) / round_ > SECONDS:
            break
        for number, (knob, losses) in enumerate(zip(knobs, found, strict=True)):
            gone = min(max(knob.size - round(share * knob.size), 1), len(knob.steps))
            losses[gone] = probes.loss({knob: gone})
            progress(
                (round_ + (number + 1) / len(knobs)) / len(SHARES),
                f"{' and '.join(knob.axes)} at {knob.size - gone} of {knob.size}: "
                f"{losses[gone]:+.4f} {probes.task.probe_scale.unit}",
            )
    return found
