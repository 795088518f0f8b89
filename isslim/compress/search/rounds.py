"""Learn mode: rounds of removing and distilling on a training corpus, within the budget.

A round removes components and trains the rest, with the original as teacher. The learner determines
how components are removed:

- `calibrated`: structured OBS and repair at once, as deep as a slack of quality above the budget
  allows, then distillation;
- `proximal`, `l0`: training drives components to zero and shrinks the network on the way, then
  repair as far as the budget allows, then distillation;
- `group_lasso`: the same with the paper's subgradient, loss scale and threshold at the recipe's
  strength.

With `start: scratch` a learner begins at random weights instead, in one round of all the epochs,
and the original only teaches.

A round that ends within the budget is kept and followed by another; one that exceeds it is rolled
back and retried with half the removal. A budget on size or speed needs one round: its depth is
known. The last kept model is the result, and every round is a point of the curve. The state after
each round and the checkpoint within it are stored in the job's folder: a killed job resumes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from isslim.compress.contract import Candidate, ModelTask, Quality
from isslim.compress.errors import BudgetNotMet, TrainingDiverged
from isslim.compress.progress import Lines, Progress, ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.pruning.narrow import declared_like
from isslim.compress.pruning.network import Model, Network
from isslim.compress.pruning.ranking import Pruned
from isslim.compress.search.budget import MIN_GAIN, find_within_budget, gain
from isslim.compress.search.order import removal_plan_of
from isslim.compress.search.round_state import RoundState, read_state, write_state
from isslim.compress.training.trainer import Trainer, TrainingResult
from isslim.types.manifest import CurvePoint, EpochPoint
from isslim.types.quality import SLACK, compared_loss, metric_format_of
from isslim.types.recipe import Recipe

ROUNDS = 6
INITIAL_STEP = {"calibrated": 1.0, "proximal": 0.3, "l0": 0.3, "group_lasso": 0.3}
"""How bold the first round is: share of the trainer's slack of quality, or share of the
components."""
MIN_STEP = 0.1
"""Share of `INITIAL_STEP` of the last try; there a calibrated cut stays within the budget
without any training."""
FREE = 2e-3
"""Loss that a cut may add to a network that exceeds the budget already, until it is distilled: what
a learner drove to zero costs nearly nothing, but rarely nothing at all."""
LEARNING_SHARE = 0.6
"""Share of a round's epochs that a learner uses before distillation."""


def iterate_rounds(
    task: ModelTask[Model], trainer: Trainer[Model], work: Path, progress: Progress
) -> Iterator[Candidate[Model]]:
    """Candidates by rounds of training, the boldest first.

    Args:
        task: the original and its recipe.
        trainer: of its kind of networks.
        work: the job's folder.
        progress: receives what is done, in the stage of learning.

    Raises:
        BudgetNotMet: with the curve.
    """
    original, recipe = task.original, task.recipe
    for allowance in (0.97, 0.85):
        folder = work / "learn" / f"{allowance:g}"
        folder.mkdir(parents=True, exist_ok=True)
        found = run_rounds(task, trainer, folder, progress, allowance)
        description = (
            f"{recipe.learn_epochs:g} epochs of learning with '{recipe.learner}' in "
            f"{found.round} rounds, distilling from "
            "the original"
        )
        # The last network with all that the rounds removed put back as zeros: indices and algebra
        # of the whole way.
        arrays, small = found.network.arrays(), found.network.declaration()
        declaration = declared_like(original.declaration(), small)
        whole = Pruned(
            found.kept,
            arrays,
            small,
            axes.scatter_components(arrays, declaration, found.kept),
            0.0,
            "inputs",
        )
        yield Candidate(
            found.network,
            found.kept,
            [task.verify_removal(original, whole)],
            found.curve,
            description,
            found.epochs,
        )
        if recipe.budget.quality is None:
            return
        progress.enter("learn", "learning again, more careful")


def run_rounds(
    task: ModelTask[Model],
    trainer: Trainer[Model],
    work: Path,
    progress: Progress,
    allowance: float = 1.0,
) -> RoundState[Model]:
    """The smallest model that the rounds find within the budget.

    Args:
        task: the original, which is the teacher and where the rounds begin; its recipe says budget,
            learner and epochs.
        trainer: of its kind of networks.
        work: the job's folder.
        progress: receives what is done, every round as a point, and the epochs of a round.
        allowance: share of a budget of quality that a round has to keep to.

    Raises:
        BudgetNotMet: with the curve, when no round ended within it.
        VerificationFailed: when the proof of a cut fails.
    """
    original, recipe = task.original, task.recipe
    state_file = work / "learning.state"
    state = read_state(original, state_file) or RoundState(
        original if recipe.start == "uploaded" else trainer.fresh(),
        original.declaration().all_components(),
        0,
        INITIAL_STEP[recipe.learner],
    )
    # A share of the epochs is not enough for random weights.
    by_rounds = (
        recipe.budget.quality is not None
        and recipe.learner != "group_lasso"
        and recipe.start == "uploaded"
    )
    rounds = ROUNDS if by_rounds else 1
    whole = original.declaration()

    def within(done: float, message: str) -> None:
        progress(min(1.0, (state.round + done) / rounds), message)

    while state.round < rounds and state.removal_step > 0:
        round_ = _Round(task, state, trainer, work, within, recipe.learn_epochs / rounds, allowance)
        progress(
            state.round / rounds, f"round {state.round + 1}: removal step {state.removal_step:.3g}"
        )
        candidate = round_.run()
        if candidate is None:
            state.round, state.removal_step = (
                state.round + 1,
                _halve_step(state.removal_step, recipe),
            )
            write_state(state_file, state)
            continue
        point = _point(candidate.network, whole, candidate.quality, recipe, allowance)
        epochs = [epoch for epoch in candidate.epochs if _is_finite(epoch)]
        state.epochs += epochs
        for epoch in epochs:
            progress.on_epoch(epoch)
        if math.isfinite(point.loss):
            # A record has no other numbers: neither the state nor a report could be read again.
            state.curve.append(point)
            progress.on_point(point)
        if point.within_budget:
            state.network, state.kept = candidate.network, candidate.kept
        else:
            state.removal_step = _halve_step(state.removal_step, recipe)
        state.round += 1
        progress(
            state.round / rounds,
            f"round {state.round}: "
            f"{metric_format_of(task.metric).describe(point.value, point.loss)}, {_verdict(point)}",
        )
        write_state(state_file, state)
    small = state.network.declaration()
    saved = gain(
        axes.parameters(small), axes.mult_adds(small), axes.parameters(whole), axes.mult_adds(whole)
    )
    if saved < MIN_GAIN:
        scale = metric_format_of(task.metric)
        closest = min((point.loss for point in state.curve), default=None)
        told = (
            "none of them left a smaller one whose loss is known"
            if closest is None
            else f"the closest is one {scale.in_sentence(closest)}"
        )
        raise BudgetNotMet(
            "learning found no smaller model within the budget "
            f"{recipe.budget.model_dump(exclude_none=True)} in {state.round} "
            f"{'round' if state.round == 1 else 'rounds'} of {recipe.learn_epochs / rounds:.3g} "
            f"epochs; {told}: allow more, or train longer",
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
    state: RoundState[Model]
    trainer: Trainer[Model]
    work: Path
    progress: ProgressCallback
    epochs: float
    allowance: float

    def run(self) -> _Found[Model] | None:
        """The round's network; None when nothing can be removed, or the rest cannot be trained."""
        number, learner = self.state.round, self.task.recipe.learner
        try:
            trained = None if learner == "calibrated" else self._train_with_learner(number)
            network = self.state.network if trained is None else trained.network
            kept = _composed(self.state.kept, {} if trained is None else trained.kept)
            slack = (
                self.state.removal_step - MIN_STEP * INITIAL_STEP[learner]
            ) * self.trainer.slack
            cut = self._cut(network, slack=slack if trained is None else 0.0)
            if cut is not None:
                network, kept = self.task.original.rebuilt(cut.arrays), _composed(kept, cut.keep)
            elif trained is None:
                return None
            share = 1.0 if trained is None else 1 - LEARNING_SHARE
            checkpoint = self.work / f"round-{number + 1}-distilled.checkpoint"
            tuned = self.trainer.distil(
                network, share * self.epochs, number, checkpoint, self.progress
            )
        except TrainingDiverged as diverged:
            self.progress(0.0, f"round {number + 1} diverges and is rolled back: {diverged}")
            return None
        # A short training may not make up for its own disturbance.
        evaluated = [(self.task.evaluate(each), each) for each in (tuned.network, network)]
        quality, best = min(evaluated, key=lambda each: _or_infinite(each[0].loss))
        return _Found(best, quality, kept, [*(trained.epochs if trained else ()), *tuned.epochs])

    def _cut(self, network: Model, slack: float) -> Pruned | None:
        """Cuts by structured OBS; None: nothing can go.

        Within a budget of quality: up to `slack` above the allowed share of it.
        """
        recipe, budget = self.task.recipe, self.task.recipe.budget
        declaration, whole = network.declaration(), self.task.original.declaration()
        observed = self.trainer.collect_activations(network)
        removal_plan, _ = removal_plan_of(
            self.task, network, observed, self.work, lambda _, message: self.progress(0.0, message)
        )
        if budget.quality is not None:
            (name,) = budget.limits
            limit = self.allowance * budget.quality
            lost = self.task.evaluate(network)
            allowed = max(limit, compared_loss(budget, lost.loss, lost.estimate) + FREE) + slack
            budget = budget.model_copy(update={name: allowed})
        elif budget.size_ratio is not None:
            ratio = budget.size_ratio * axes.parameters(whole) / axes.parameters(declaration)
            if ratio >= 1:
                return None
            budget = budget.model_copy(update={"size_ratio": ratio})
        try:
            asked = recipe.model_copy(update={"budget": budget})
            outcome = find_within_budget(
                removal_plan, self.task, asked, self.work, Lines(self.progress)
            )
        except BudgetNotMet:
            return None
        self.task.verify_removal(network, outcome.pruned)
        return outcome.pruned

    def _train_with_learner(self, number: int) -> TrainingResult[Model]:
        """Training with the recipe's learner."""
        checkpoint = self.work / f"round-{number + 1}-learnt.checkpoint"
        return self.trainer.learn(
            self.state.network,
            self.state.removal_step,
            LEARNING_SHARE * self.epochs,
            number,
            checkpoint,
            self.progress,
        )


def _halve_step(removal_step: float, recipe: Recipe) -> float:
    """Half as bold, down to the last try; 0 behind it."""
    least = MIN_STEP * INITIAL_STEP[recipe.learner]
    return 0.0 if removal_step <= least else max(removal_step / 2, least)


def _composed(kept: axes.Keep, further: axes.Keep) -> dict[str, NDArray[np.int64]]:
    """Which of the original's components are left, where `further` are left of those in `kept`."""
    composed = {
        axis: index[further[axis]] if axis in further else index for axis, index in kept.items()
    }
    # The width of a narrow layer is an axis that the original has not.
    return composed | {axis: index for axis, index in further.items() if axis not in composed}


def _point(
    network: Network, whole: axes.NetworkAxes, found: Quality, recipe: Recipe, allowance: float
) -> CurvePoint:
    declaration, budget = network.declaration(), recipe.budget
    parameters, work = axes.parameters(declaration), axes.mult_adds(declaration)
    kept = (parameters / axes.parameters(whole) + work / axes.mult_adds(whole)) / 2
    # Speed is measured where the cut depended on it, and again for the published figures.
    within = (
        budget.quality is None
        or compared_loss(budget, found.loss, found.estimate) <= allowance * budget.quality + SLACK
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


def _or_infinite(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _is_finite(epoch: EpochPoint) -> bool:
    return math.isfinite(epoch.training_value) and math.isfinite(epoch.held_out_value)


def _verdict(point: CurvePoint) -> str:
    return "kept" if point.within_budget else "rolled back"
