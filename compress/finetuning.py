"""A short fine-tune of the small model by distillation from the original, resumable from the job's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compress.errors import CheckpointRefused
from compress.networks.contract import LanguageModel
from compress.texts import Texts
from compress.training.evaluation import perplexity
from compress.training.loop import train
from compress.training.plan import TrainingPlan
from store.manifest import Recipe

DROPOUT = 0.2


def plan(recipe: Recipe, tokens: int) -> TrainingPlan:
    """A gentle schedule for weights that are already good; the batch fits short texts."""
    batch = max(1, min(20, tokens // 36))
    return TrainingPlan(
        minutes=recipe.finetune_minutes,
        batch=batch,
        optimizer="adamw",
        learning_rate=1e-3,
        soft=0.5,
        clip=1.0,
        seed=recipe.seed,
    )


def finetune(
    network: LanguageModel,
    original: LanguageModel,
    texts: Texts,
    recipe: Recipe,
    work: Path,
    tell: Callable[[float, str], None],
) -> tuple[LanguageModel, str]:
    """Distils the original into a copy of the small model, on all of the calibration text.

    Returns:
        The better of the tuned and the given model on the held-out text, and a line that says what happened.
    """
    student = network.rebuilt(network.arrays(), dropout=DROPOUT)
    before = perplexity(network, texts.held_out)
    checkpoint = work / "finetune.checkpoint"

    def distil() -> LanguageModel:
        schedule = plan(recipe, len(texts.training))
        return train(student, texts.training, schedule, teacher=original, checkpoint=checkpoint, progress=tell).network

    try:
        tuned = distil()
    except CheckpointRefused:
        # A search by speed may choose another model when a killed job is taken up: that one is tuned from its start.
        checkpoint.unlink()
        tuned = distil()
    checkpoint.unlink(missing_ok=True)
    after = perplexity(tuned, texts.held_out)
    told = f"{recipe.finetune_minutes:g} minutes of distillation: perplexity {before:.2f} -> {after:.2f}"
    if after >= before:
        return network, f"{told}; not better, so the untuned model was kept"
    return tuned, told
