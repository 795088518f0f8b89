"""A training run in a process of its own: to be killed, or to be one of several.

python -m tests.compress.training.child CHECKPOINT RESULT --dropout 0.1 --epochs 4
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import TrainingOutcome
from isslim.compress.training.ranks import joined
from tests.compress.kinds.language.training.language import PLAN, Executioner, fresh, noisy_text


def run(checkpoint: Path | None, dropout: float, epochs: int) -> TrainingOutcome:
    """Epochs of 50 steps; the network shrinks after the first."""
    plan = replace(PLAN, epochs=epochs, checkpoint_minutes=1e-3)
    valid = noisy_text(300)
    return train(
        fresh(dropout),
        noisy_text(2004),
        plan,
        learner=Executioner(),
        valid=valid,
        checkpoint=checkpoint,
    )


def main() -> None:
    """Runs, and saves weights and validations: of the first process, and of the last beside it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--dropout", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with joined() as group:
        trained = run(arguments.checkpoint, arguments.dropout, arguments.epochs)
        content = {
            "network": trained.network.state_dict(),
            "valid": [record.valid_perplexity for record in trained.epochs],
            "training": [record.training_perplexity for record in trained.epochs],
        }
        torch.save(content, arguments.result.with_name(f"{arguments.result.name}.{group.rank}"))


if __name__ == "__main__":
    main()
