"""Learn mode: rounds of removing and distilling on a training corpus, each smaller than the last, within the budget.

A round takes something away and trains what is left, with the original as teacher. How it takes
away is the learner's business:

- `calibrated`: structured OBS and repair at once, as deep as a slack of quality above the budget
  allows, then distillation;
- `proximal`, `l0`: training drives components to zero and shrinks the network on the way, then
  repair as far as the budget allows, then distillation;
- `group_lasso`: the same with the paper's subgradient, loss scale and threshold at the recipe's
  strength.

With `start: scratch` a learner begins at random weights instead, in one round of all the epochs,
and the original only teaches.

A round that ends within the budget is kept and followed by another; one that breaks it is rolled
back and tried again half as bold. A budget of size or speed needs one round: its depth is known.
The last kept model is the answer, and every round is a point of the curve. The state after each
round and the checkpoint within it lie in the job's folder: a killed job goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from isslim.compress.contract import (
    Candidate,
    Model,
    ModelTask,
    Quality,
    StageReport,
    Taught,
    Tell,
    Trainer,
)
from isslim.compress.errors import BudgetNotMet, TrainingDiverged
from isslim.compress.pruning import axes, bottleneck
from isslim.compress.pruning.network import Network
from isslim.compress.pruning.ranking import Pruned, learn
from isslim.compress.search.budget import LEAST_GAIN, find, gain
from isslim.compress.search.round_state import Learning, read_state, write_state
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.quality import SCALES, SLACK, weighed
from isslim.types.recipe import Recipe

ROUNDS = 6
BOLD = {"calibrated": 1.0, "proximal": 0.3, "l0": 0.3, "group_lasso": 0.3}
"""How bold the first round is: share of the trainer's slack of quality, or share of the
components."""
LEAST_BOLD = 0.1
"""Share of `BOLD` of the last try; there a calibrated cut stays within the budget without any
training."""
LEARNING_SHARE = 0.6
"""Of a round's epochs, what a learner takes before distillation."""


def learnt(
    task: ModelTask[Model], trainer: Trainer[Model], work: Path, stages: StageReport
) -> Iterator[Candidate[Model]]:
    """Candidates by rounds of training, the boldest first.

    Args:
        task: the original and what is asked for.
        trainer: of its kind of networks.
        work: the job's folder.
        stages: progress, in the stage of learning.

    Raises:
        BudgetNotMet: with the curve.
    """
    original, recipe = task.original, task.recipe
    for allowance in (0.97, 0.85):
        folder = work / "learn" / f"{allowance:g}"
        folder.mkdir(parents=True, exist_ok=True)
        found = learn_structure(task, trainer, folder, stages.tell, allowance)
        told = (
            f"{recipe.learn_epochs:g} epochs of learning with '{recipe.learner}' in {found.round} rounds, distilling from "
            "the original"
        )
        # The last network with all that the rounds removed put back as zeros: indices and algebra
        # of the whole way.
        arrays, small, declaration = (
            found.network.arrays(),
            found.network.declaration(),
            original.declaration(),
        )
        if small.axes.keys() != declaration.axes.keys():
            declaration = bottleneck.declared(declaration)
        whole = Pruned(
            found.kept, arrays, small, axes.put_back(arrays, declaration, found.kept), 0.0
        )
        yield Candidate(
            found.network,
            found.kept,
            [task.verify_removal(original, whole)],
            found.curve,
            told,
            found.epochs,
        )
        if recipe.budget.quality is None:
            return
        stages.enter("learn", "learning again, more careful")


def learn_structure(
    task: ModelTask[Model], trainer: Trainer[Model], work: Path, tell: Tell, allowance: float = 1.0
) -> Learning[Model]:
    """The smallest model that the rounds find within the budget.

    Args:
        task: the original, which is the teacher and where the rounds begin; its recipe says budget,
            learner and epochs.
        trainer: of its kind of networks.
        work: the job's folder.
        tell: progress.
        allowance: share of a budget of quality that a round has to keep to.

    Raises:
        BudgetNotMet: with the curve, when no round ended within it.
        VerificationFailed: when the proof of a cut fails.
    """
    original, recipe = task.original, task.recipe
    state_file = work / "learning.state"
    state = read_state(original, state_file) or Learning(
        original if recipe.start == "uploaded" else trainer.fresh(),
        original.declaration().everything(),
        0,
        BOLD[recipe.learner],
    )
    # A share of the epochs is not enough for weights that know nothing yet.
    by_rounds = (
        recipe.budget.quality is not None
        and recipe.learner != "group_lasso"
        and recipe.start == "uploaded"
    )
    rounds = ROUNDS if by_rounds else 1
    whole = original.declaration()

    def within(done: float, message: str) -> None:
        tell(min(1.0, (state.round + done) / rounds), message)

    while state.round < rounds and state.boldness > 0:
        round_ = _Round(task, state, trainer, work, within, recipe.learn_epochs / rounds)
        tell(state.round / rounds, f"round {state.round + 1}: boldness {state.boldness:.3g}")
        candidate = round_.run()
        if candidate is None:
            state.round, state.boldness = state.round + 1, _less_bold(state.boldness, recipe)
            write_state(state_file, state)
            continue
        point = _point(candidate.network, whole, candidate.quality, recipe, allowance)
        state.curve.append(point)
        state.epochs += candidate.epochs
        if point.within_budget:
            state.network, state.kept = candidate.network, candidate.kept
        else:
            state.boldness = _less_bold(state.boldness, recipe)
        state.round += 1
        tell(
            state.round / rounds,
            f"round {state.round}: {SCALES[task.metric].told(point.value, point.loss)}, {_verdict(point)}",
        )
        write_state(state_file, state)
    small = state.network.declaration()
    saved = gain(
        axes.parameters(small), axes.mult_adds(small), axes.parameters(whole), axes.mult_adds(whole)
    )
    if saved < LEAST_GAIN:
        scale = SCALES[task.metric]
        closest = min((point.loss for point in state.curve), default=math.nan)
        raise BudgetNotMet(
            f"learning found no smaller model within the budget {recipe.budget.model_dump(exclude_none=True)} in "
            f"{state.round} rounds of {recipe.learn_epochs / rounds:.3g} epochs; the closest is one "
            f"{scale.at(closest)}: allow more, or train longer",
            curve=state.curve,
        )
    return state


@dataclass(frozen=True)
class _Found(Generic[Model]):
    network: Model
    quality: Quality
    kept: dict[str, NDArray[np.int64]]
    epochs: list[EpochPoint]


@dataclass(frozen=True)
class _Round(Generic[Model]):
    """One round, from the last kept network."""

    task: ModelTask[Model]
    state: Learning[Model]
    trainer: Trainer[Model]
    work: Path
    tell: Tell
    epochs: float

    def run(self) -> _Found[Model] | None:
        """The round's network; None when nothing could be taken away, or what was left could not be trained."""
        number, learner = self.state.round, self.task.recipe.learner
        try:
            taught = None if learner == "calibrated" else self._taught(number)
            network = self.state.network if taught is None else taught.network
            kept = _composed(self.state.kept, {} if taught is None else taught.kept)
            bold = (self.state.boldness - LEAST_BOLD * BOLD[learner]) * self.trainer.slack
            cut = self._cut(network, slack=bold if taught is None else 0.0)
            if cut is not None:
                network, kept = self.task.original.rebuilt(cut.arrays), _composed(kept, cut.keep)
            elif taught is None:
                return None
            share = 1.0 if taught is None else 1 - LEARNING_SHARE
            checkpoint = self.work / f"round-{number + 1}-distilled.checkpoint"
            tuned = self.trainer.distil(network, share * self.epochs, number, checkpoint, self.tell)
        except TrainingDiverged as diverged:
            self.tell(0.0, f"round {number + 1} diverges and is rolled back: {diverged}")
            return None
        # A short training may not pay for its own disturbance.
        judged = [(self.task.judge(each), each) for each in (tuned.network, network)]
        quality, best = min(judged, key=lambda each: each[0].loss)
        return _Found(best, quality, kept, [*(taught.epochs if taught else ()), *tuned.epochs])

    def _cut(self, network: Model, slack: float) -> Pruned | None:
        """Structured OBS and repair, as deep as `slack` above a budget of quality; None when nothing (more) can go."""
        recipe, budget = self.task.recipe, self.task.recipe.budget
        declaration, whole = network.declaration(), self.task.original.declaration()
        prunable = self.task.prunable(declaration)
        observed = self.trainer.observe(network)
        learned = learn(
            network.arrays(),
            declaration,
            observed,
            prunable=prunable,
            turned=recipe.rotate_embedding,
            narrowed=recipe.narrow_softmax and self.task.may_narrow,
        )
        if budget.quality is not None:
            (name,) = budget.limits
            allowed = max(budget.quality, self.task.judge(network).loss) + slack
            budget = budget.model_copy(update={name: allowed})
        elif budget.size_ratio is not None:
            ratio = budget.size_ratio * axes.parameters(whole) / axes.parameters(declaration)
            if ratio >= 1:
                return None
            budget = budget.model_copy(update={"size_ratio": ratio})
        try:
            asked = recipe.model_copy(update={"budget": budget})
            outcome = find(learned, self.task, asked, self.work, self.tell)
        except BudgetNotMet:
            return None
        self.task.verify_removal(network, outcome.pruned)
        return outcome.pruned

    def _taught(self, number: int) -> Taught[Model]:
        """Training with the recipe's learner."""
        checkpoint = self.work / f"round-{number + 1}-learnt.checkpoint"
        return self.trainer.learn(
            self.state.network,
            self.state.boldness,
            LEARNING_SHARE * self.epochs,
            number,
            checkpoint,
            self.tell,
        )


def _less_bold(boldness: float, recipe: Recipe) -> float:
    """Half as bold, down to the last try; 0 behind it."""
    least = LEAST_BOLD * BOLD[recipe.learner]
    return 0.0 if boldness <= least else max(boldness / 2, least)


def _composed(kept: axes.Keep, further: axes.Keep) -> dict[str, NDArray[np.int64]]:
    """Which of the original's components are left when `further` says which of the kept ones are."""
    composed = {
        axis: index[further[axis]] if axis in further else index for axis, index in kept.items()
    }
    # A bottleneck is an axis that the original has not.
    return composed | {axis: index for axis, index in further.items() if axis not in composed}


def _point(
    network: Network, whole: axes.Declaration, found: Quality, recipe: Recipe, allowance: float
) -> CurvePoint:
    declaration, budget = network.declaration(), recipe.budget
    parameters, work = axes.parameters(declaration), axes.mult_adds(declaration)
    kept = (parameters / axes.parameters(whole) + work / axes.mult_adds(whole)) / 2
    # A speed is judged by the clock where it was cut for it, and again by the measurement that is
    # published.
    within = (
        budget.quality is None
        or weighed(budget, found.loss, found.estimate) <= allowance * budget.quality + SLACK
    )
    if budget.size_ratio is not None:
        within = parameters <= budget.size_ratio * axes.parameters(whole)
    return CurvePoint(
        sizes=dict(declaration.axes),
        removed_share=1 - kept,
        parameters=parameters,
        mult_adds=work,
        value=found.value,
        loss=found.loss,
        estimate=found.estimate,
        within_budget=within,
    )


def _verdict(point: CurvePoint) -> str:
    return "kept" if point.within_budget else "rolled back"
