"""Fine-tunes the small model for minutes by distillation, resumable from the job's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from isslim.compress.devices import placed
from isslim.compress.errors import CheckpointRefused
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.texts import Texts
from isslim.compress.kinds.language.training.evaluation import log_probs
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import distilling, distilling_dropout
from isslim.compress.pruning import axes
from isslim.compress.statistics.perplexity import perplexity_of
from isslim.compress.statistics.pieces import spread_pieces
from isslim.types.recipe import Recipe


def finetune(
    network: LanguageModel,
    original: LanguageModel,
    texts: Texts,
    recipe: Recipe,
    folder: Path,
    progress: Callable[[float, str], None],
) -> tuple[LanguageModel, str]:
    """Distils the original into a copy of the small model, on all of the calibration text.

    Args:
        network: the small model; it is left as it is.
        original: the teacher.
        texts: training and held-out text.
        recipe: its `finetune_minutes`, `held_out_tokens` and `seed` count.
        folder: of this pass alone; its checkpoint stays there, so that a job that is resumed in a
            later pass gets through this one quickly.
        progress: called with the share done and a message.

    Returns:
        The better of the tuned and the given model on the held-out text, and a line on the outcome.
        Where the fine-tune diverges, the small model is returned untuned.
    """
    pieces = spread_pieces(texts.held_out, recipe.held_out_tokens)

    def evaluate(each: LanguageModel) -> float:
        return perplexity_of(-float(log_probs(each, pieces).mean()))

    before = evaluate(network)
    description = f"{recipe.finetune_minutes:g} minutes of distillation"
    try:
        tuned = _distil(network, original, texts, recipe, _checkpoint(network, folder), progress)
    except FloatingPointError as diverged:
        return network, f"{description} diverged, so the untuned model was kept ({diverged})"
    after = evaluate(tuned)
    description = f"{description}: perplexity {before:.2f} -> {after:.2f} by the quick estimate"
    if not after < before:  # NaN is no better either
        return network, f"{description}; not better, so the untuned model was kept"
    return tuned, description


def _checkpoint(network: LanguageModel, folder: Path) -> Path:
    """The checkpoint of this candidate; those of other candidates in the folder are deleted.

    A search that depends on the clock may choose another model when a killed job is resumed, and a
    checkpoint holds one size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = "-".join(str(size) for size in network.declaration().axes.values())
    path = folder / f"{sizes}.checkpoint"
    for stale in folder.iterdir():
        if stale != path:
            stale.unlink()
    return path


def _distil(
    network: LanguageModel,
    original: LanguageModel,
    texts: Texts,
    recipe: Recipe,
    checkpoint: Path,
    progress: Callable[[float, str], None],
) -> LanguageModel:
    tokens, size = len(texts.training), axes.parameters(network.declaration())
    student = network.rebuilt(network.arrays(), distilling_dropout(size, tokens))
    schedule = distilling(tokens, seed=recipe.seed, minutes=recipe.finetune_minutes)

    def attempt() -> LanguageModel:
        with placed(student, original):
            tuned = train(
                student,
                texts.training,
                schedule,
                teacher=original,
                checkpoint=checkpoint,
                progress=progress,
            )
        return tuned.network.cpu()

    try:
        return attempt()
    except CheckpointRefused:
        # Damaged, or of another release: the candidate is tuned from its start.
        checkpoint.unlink()
        return attempt()
