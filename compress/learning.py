"""Learn mode: rounds of removing and distilling on a training corpus, each smaller than the last, within the budget.

A round takes something away and trains what is left, with the original as teacher. How it takes away is the learner's
business:

- `calibrated`: structured OBS and repair at once, as deep as a slack of perplexity above the budget allows, then distillation;
- `proximal`, `l0`: training drives components to zero and shrinks the network on the way, then repair as far as the budget
  allows, then distillation;
- `group_lasso`: the same with the paper's subgradient, loss scale and threshold at the recipe's strength.

A round that ends within the budget is kept and followed by another; one that breaks it is rolled back and tried again half as
bold. A budget of size or speed needs one round: its depth is known. The last kept model is the answer, and every round is a
point of the curve. The state after each round and the checkpoint within it lie in the job's folder: a killed job goes on.

Legend: N tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress import axes
from compress.calibrate import Pruned, learn
from compress.errors import BudgetNotMet, CheckpointRefused, TrainingDiverged
from compress.learners.gates import HardConcreteGates
from compress.learners.group_lasso import PaperGroupLasso
from compress.learners.proximal import ProximalGroupLasso
from compress.networks.contract import LanguageModel
from compress.observation import observe
from compress.rounds import Learning, read_state, write_state
from compress.search import LEAST_GAIN, find
from compress.tasks.contract import ModelTask, Quality, Tell
from compress.texts import Texts
from compress.training.hooks import Learner
from compress.training.loop import train
from compress.training.plan import Trained, TrainingPlan, distilling, distilling_dropout
from store.manifest import CurvePoint, EpochPoint, Recipe

ROUNDS = 6
BOLD = {"calibrated": 0.12, "proximal": 0.3, "l0": 0.3, "group_lasso": 0.3}
"""How bold the first round is: slack of perplexity before distillation, or share of the components."""
LEAST_BOLD = 0.1
"""Share of `BOLD` of the last try; there a calibrated cut stays within the budget without any training."""
LEARNING_SHARE = 0.6
"""Of a round's epochs, what a learner takes before distillation."""

WARM_RATE = 0.2
"""Of `group_lasso`, in the scale of the summed loss: the paper's 1.0 is for weights that know nothing yet."""


def learn_structure(
    task: ModelTask[LanguageModel], texts: Texts, work: Path, tell: Tell, allowance: float = 1.0
) -> Learning:
    """The smallest model that the rounds find within the budget.

    Args:
        task: the original, which is the teacher and where the rounds begin; its recipe says budget, learner and epochs.
        texts: the corpus to train on, and the text that every round is judged on.
        work: the job's folder.
        tell: progress.
        allowance: share of a perplexity budget that a round has to keep to.

    Raises:
        BudgetNotMet: with the curve, when no round ended within it.
        VerificationFailed: when the proof of a cut fails.
    """
    original, recipe = task.original, task.recipe
    state_file = work / "learning.state"
    state = read_state(original, state_file) or Learning(
        original, original.declaration().everything(), 0, BOLD[recipe.learner]
    )
    by_rounds = recipe.budget.quality is not None and recipe.learner != "group_lasso"
    rounds = ROUNDS if by_rounds else 1
    whole = original.declaration()

    def within(done: float, message: str) -> None:
        tell(min(1.0, (state.round + done) / rounds), message)

    while state.round < rounds and state.boldness > 0:
        round_ = _Round(task, state, texts, work, within, recipe.learn_epochs / rounds)
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
            f"round {state.round}: perplexity {point.value:.2f} ({point.loss:+.1%}), {_verdict(point)}",
        )
        write_state(state_file, state)
    if axes.parameters(state.network.declaration()) > (1 - LEAST_GAIN) * axes.parameters(whole):
        closest = min((point.loss for point in state.curve), default=math.nan)
        raise BudgetNotMet(
            f"learning found no smaller model within the budget {recipe.budget.model_dump(exclude_none=True)} in "
            f"{state.round} rounds of {recipe.learn_epochs / rounds:.3g} epochs; the closest changes perplexity by "
            f"{closest:+.2%}: allow more, or train longer",
            curve=state.curve,
        )
    return state


@dataclass(frozen=True)
class _Candidate:
    network: LanguageModel
    quality: Quality
    kept: dict[str, NDArray[np.int64]]
    epochs: list[EpochPoint]


@dataclass(frozen=True)
class _Round:
    """One round, from the last kept network."""

    task: ModelTask[LanguageModel]
    state: Learning
    texts: Texts
    work: Path
    tell: Tell
    epochs: float

    def run(self) -> _Candidate | None:
        """The round's network; None when nothing could be taken away, or what was left could not be trained."""
        number, recipe = self.state.round, self.task.recipe
        try:
            learnt = None if recipe.learner == "calibrated" else self._learnt(number)
            network = self.state.network if learnt is None else learnt.network
            kept = _composed(self.state.kept, {} if learnt is None else learnt.kept)
            bold = self.state.boldness - LEAST_BOLD * BOLD[recipe.learner]
            cut = self._cut(network, slack=bold if learnt is None else 0.0)
            if cut is not None:
                network, kept = self.task.original.rebuilt(cut.arrays), _composed(kept, cut.keep)
            elif learnt is None:
                return None
            share = 1.0 if learnt is None else 1 - LEARNING_SHARE
            student = self._student(network)
            plan = distilling(len(self.texts.training), seed=recipe.seed + number, epochs=share * self.epochs)
            tuned = self._trained(student, plan, None, f"round-{number + 1}-distilled")
        except TrainingDiverged as diverged:
            self.tell(0.0, f"round {number + 1} diverges and is rolled back: {diverged}")
            return None
        records = [*(learnt.epochs if learnt else ()), *tuned.epochs]
        points = [
            EpochPoint(
                round=number + 1, seconds=each.seconds, steps=each.steps, units=each.units,
                training_perplexity=each.training_perplexity, valid_perplexity=each.valid_perplexity or math.nan,
            )
            for each in records
        ]  # fmt: skip
        # A short training may not pay for its own disturbance.
        judged = [(self.task.judge(each), each) for each in (tuned.network, network)]
        quality, best = min(judged, key=lambda each: each[0].loss)
        return _Candidate(best, quality, kept, points)

    def _cut(self, network: LanguageModel, slack: float) -> Pruned | None:
        """Structured OBS and repair, as deep as `slack` above a perplexity budget; None when nothing (more) can go."""
        recipe, budget = self.task.recipe, self.task.recipe.budget
        declaration, whole = network.declaration(), self.task.original.declaration()
        prunable = self.task.prunable(declaration)
        observed = observe(network, self.texts.training[: recipe.calibration_tokens])
        learned = learn(network.arrays(), declaration, observed, prunable=prunable, turned=recipe.rotate_embedding)
        if budget.perplexity_rise is not None:
            allowed = max(budget.perplexity_rise, self.task.judge(network).loss) + slack
            budget = budget.model_copy(update={"perplexity_rise": allowed})
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

    def _learnt(self, number: int) -> Trained:
        """Training with the recipe's learner."""
        recipe, tokens = self.task.recipe, len(self.texts.training)
        plan = distilling(tokens, seed=recipe.seed + number, epochs=LEARNING_SHARE * self.epochs)
        steps = max(1, round((tokens // plan.batch - 1) // plan.steps * plan.epochs))
        student = self._student(self.state.network)
        learner: Learner
        if recipe.learner == "group_lasso":
            plan = replace(
                plan, loss="sum_over_steps", optimizer="sgd", schedule="paper_iss", learning_rate=WARM_RATE, clip=10.0
            )
            learner = PaperGroupLasso(recipe.strength, shrink=True)
        elif recipe.learner == "l0":
            learner = HardConcreteGates(
                self.state.boldness, steps, embedding=recipe.prune_embedding, seed=recipe.seed + number
            )
        else:
            learner = ProximalGroupLasso(self.state.boldness, steps, embedding=recipe.prune_embedding)
        return self._trained(student, plan, learner, f"round-{number + 1}-learnt")

    def _student(self, network: LanguageModel) -> LanguageModel:
        size = axes.parameters(network.declaration())
        return network.rebuilt(network.arrays(), distilling_dropout(size, len(self.texts.training)))

    def _trained(self, student: LanguageModel, plan: TrainingPlan, learner: Learner | None, name: str) -> Trained:
        checkpoint = self.work / f"{name}.checkpoint"

        def go() -> Trained:
            return train(
                student, self.texts.training, plan, teacher=self.task.original, learner=learner, valid=self.texts.held_out,
                checkpoint=checkpoint, progress=self.tell,
            )  # fmt: skip

        try:
            trained = go()
        except CheckpointRefused:
            # The clock may cut to another size when a killed job is taken up: that one is trained from its start.
            checkpoint.unlink()
            trained = go()
        return trained


def _less_bold(boldness: float, recipe: Recipe) -> float:
    """Half as bold, down to the last try; 0 behind it."""
    least = LEAST_BOLD * BOLD[recipe.learner]
    return 0.0 if boldness <= least else max(boldness / 2, least)


def _composed(kept: axes.Keep, further: axes.Keep) -> dict[str, NDArray[np.int64]]:
    """Which of the original's components are left when `further` says which of the kept ones are."""
    return {axis: index[further[axis]] if axis in further else index for axis, index in kept.items()}


def _point(
    network: LanguageModel, whole: axes.Declaration, found: Quality, recipe: Recipe, allowance: float
) -> CurvePoint:
    declaration, budget = network.declaration(), recipe.budget
    parameters, work = axes.parameters(declaration), axes.mult_adds(declaration)
    kept = (parameters / axes.parameters(whole) + work / axes.mult_adds(whole)) / 2
    # A speed is judged by the clock where it was cut for it, and again by the measurement that is published.
    within = budget.quality is None or found.loss <= allowance * budget.quality
    if budget.size_ratio is not None:
        within = parameters <= budget.size_ratio * axes.parameters(whole)
    return CurvePoint(
        sizes=dict(declaration.axes),
        removed_share=1 - kept,
        parameters=parameters,
        mult_adds=work,
        value=found.value,
        loss=found.loss,
        within_budget=within,
    )


def _verdict(point: CurvePoint) -> str:
    return "kept" if point.within_budget else "rolled back"
